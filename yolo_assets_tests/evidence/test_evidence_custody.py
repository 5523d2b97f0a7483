"""From a frame in a pack to the device that took it: by us, and by a stranger with OpenSSL and coreutils."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pymerkle
import pytest

from yolo_assets.contracts.merkle import inclusion_proof, is_included, leaf_hash
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import utc_now
from yolo_assets.custody.enrolment import Registrar
from yolo_assets.evidence.custody import proof_of, proof_text
from yolo_assets.evidence.verify import Check, verify_pack
from yolo_assets_tests.evidence.evidence_world import START, STEM, Plant, forge

HEX = str.maketrans("0123456789abcdef", "1032547698badcfe")
"""Every digit becomes another one."""


class SealedPlant(Plant):
    """A plant whose device seals, with the key of promotion that enrols it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.device = Signer.load_or_create(folder / "keys" / "device")
        self.promotion = Signer.load_or_create(folder / "keys" / "promotion")
        self.enrolling = TrustedKeys.of(self.promotion)
        self.all_keys = TrustedKeys.of(self.office, self.signer, self.promotion)

    @property
    def registrar(self) -> Registrar:
        return Registrar(self.store, self.promotion, self.enrolling, "anna")

    def sealed(self, pack: Path, *, frames: int = 6) -> Path:
        self.hour(frames=frames, device=self.device)
        self.make(pack, store=True, enrolled_by=self.enrolling)
        return pack


def custody(pack: Path, keys: TrustedKeys) -> Check:
    return next(check for check in verify_pack(pack, keys).checks if check.name == "custody")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[SealedPlant, Path]:
    """A pack of six frames of an enrolled device, with its enrolment. Do not change it."""
    plant = SealedPlant(tmp_path_factory.mktemp("plant"))
    plant.registrar.enroll("box1", plant.device.private.public_key(), since=START)
    return plant, plant.sealed(plant.folder / "pack")


@pytest.fixture
def pack(made: tuple[SealedPlant, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made[1], tmp_path / "pack"))


def test_a_frame_leads_to_the_enrolled_device(made: tuple[SealedPlant, Path]) -> None:
    plant, pack = made
    done = verify_pack(pack, plant.all_keys)
    assert done.first_difference is None
    told = f"6 frames: sealed by box1 with its enrolled key {plant.device.key_id}"
    assert custody(pack, plant.all_keys) == Check("custody", "ok", told)
    page = (pack / "report.html").read_text()
    assert page.count(f"lens: held → seal: held, box1 with key {plant.device.key_id} → receipt: held, key ") == 6


def test_without_the_enrolling_key_the_walk_ends_at_the_seal(made: tuple[SealedPlant, Path]) -> None:
    plant, pack = made
    done = custody(pack, TrustedKeys.of(plant.office, plant.signer))
    assert done.verdict == "not checked" and "promotion's, with --key" in done.detail


def leaf_of_another_frame(pack: Path) -> None:
    one, other = sorted((pack / "seals" / STEM).glob("*.leaf"))[:2]
    one.write_bytes(other.read_bytes())


def proof_changed(pack: Path) -> None:
    path = next((pack / "seals" / STEM).glob("*.proof"))
    path.write_text(path.read_text().lower().translate(HEX).upper())


def proof_turned_round(pack: Path) -> None:
    path = next((pack / "seals" / STEM).glob("*.proof"))
    path.write_text(path.read_text().replace("left", "?").replace("right", "left").replace("?", "right"))


def statement_changed(pack: Path) -> None:
    path = pack / "seals" / f"{STEM}.statement"
    path.write_bytes(path.read_bytes().replace(b"box1", b"box2"))


def seal_of_a_stranger(pack: Path) -> None:
    seal = pack / "seals" / f"{STEM}.dsse"
    seal.write_bytes(seal.read_bytes()[:-20] + b"A" * 20)


def enrolment_changed(pack: Path) -> None:
    path = next((pack / "devices").glob("*.statement"))
    path.write_bytes(path.read_bytes().replace(b"box1", b"box2"))


def seal_taken_out(pack: Path) -> None:
    shutil.rmtree(pack / "seals")
    shutil.rmtree(pack / "devices")


def line_of_a_frame_that_is_not_there(pack: Path) -> None:
    path = next((pack / "seals" / STEM).glob("*.leaf"))
    shutil.copy(path, path.with_name("20260102_035959_999.jpg.leaf"))


DEEDS = (
    leaf_of_another_frame,
    proof_changed,
    proof_turned_round,
    statement_changed,
    seal_of_a_stranger,
    enrolment_changed,
    seal_taken_out,
    line_of_a_frame_that_is_not_there,
)


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
def test_a_signer_of_packs_cannot_change_the_way_to_the_device(
    deed: Callable[[Path], None], made: tuple[SealedPlant, Path], pack: Path
) -> None:
    deed(pack)
    forge(pack, made[0].office)
    assert custody(pack, made[0].all_keys).verdict == "differs"


def test_a_key_that_nobody_enrolled_is_told(tmp_path: Path) -> None:
    plant = SealedPlant(tmp_path)
    other = Signer.load_or_create(tmp_path / "other")
    plant.registrar.enroll("box2", other.private.public_key(), since=START)
    pack = plant.sealed(tmp_path / "pack", frames=1)
    assert custody(pack, plant.all_keys).verdict == "not held"
    assert f"seal: not held, key {plant.device.key_id} is not enrolled" in (pack / "report.html").read_text()
    assert verify_pack(pack, plant.all_keys).first_difference is None


def test_a_key_revoked_before_the_receipt_is_told(tmp_path: Path) -> None:
    plant = SealedPlant(tmp_path)
    plant.registrar.enroll("box1", plant.device.private.public_key(), since=START)
    plant.registrar.close(plant.device.key_id, "revoked", since=utc_now() - timedelta(hours=1))
    pack = plant.sealed(tmp_path / "pack", frames=1)
    found = custody(pack, plant.all_keys)
    assert found.verdict == "not held" and "is revoked from" in found.detail
    assert f"seal: not held, key {plant.device.key_id} of box1 is revoked" in (pack / "report.html").read_text()


def test_frames_without_a_seal_say_so(tmp_path: Path) -> None:
    plant = SealedPlant(tmp_path)
    plant.hour(frames=1)
    plant.make(tmp_path / "pack")
    assert custody(tmp_path / "pack", plant.all_keys) == Check(
        "custody", "ok", "no device sealed the hours of its 1 frame"
    )
    assert "seal: not there, no device sealed this hour" in (tmp_path / "pack" / "report.html").read_text()


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with openssl and coreutils alone."""
    folder = tmp_path_factory.mktemp("tools")
    for tool in [
        "openssl",
        "base64",
        "basenc",
        "cat",
        "comm",
        "cut",
        "printf",
        "sha256sum",
        "sort",
        "tail",
        "test",
        "tr",
        "wc",
    ]:
        found = shutil.which(tool)
        assert found, tool
        (folder / tool).symlink_to(found)
    return folder


def run(line: str, pack: Path, tools: Path) -> subprocess.CompletedProcess[str]:
    command = ["/usr/bin/env", "-i", f"PATH={tools}", "/bin/sh", "-c", line.replace("/tmp/", f"{pack.parent}/tmp-")]
    return subprocess.run(command, cwd=pack, capture_output=True, text=True, timeout=60)


def steps(pack: Path) -> list[str]:
    lines = [line[4:] for line in (pack / "VERIFY.txt").read_text("utf-8").splitlines() if line.startswith("    ")]
    return [line for line in lines if not line.startswith("yolo-assets ")]


def test_a_stranger_walks_to_the_device(made: tuple[SealedPlant, Path], pack: Path, tools: Path) -> None:
    plant = made[0]
    for signer in (plant.office, plant.signer, plant.promotion):
        (pack.parent / f"{signer.key_id}.pub").write_bytes(signer.public_pem())
    lines = steps(pack)
    about_seals = [line for line in lines if "seals/" in line or "devices/" in line]
    assert len(about_seals) == 7
    for line in lines:
        done = run(line, pack, tools)
        assert done.returncode == 0, (line, done)
    assert '"device_id":"box1"' in run(about_seals[-1], pack, tools).stdout
    for deed in DEEDS[:-1]:
        if deed not in (seal_of_a_stranger, seal_taken_out):  # what openssl reads lies beside it
            copy = Path(shutil.copytree(pack, pack.parent / f"of-{deed.__name__}"))
            deed(copy)
            assert any(run(line, copy, tools).returncode != 0 for line in about_seals), deed.__name__


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13])
def test_a_proof_says_on_which_side_each_neighbour_stands(size: int) -> None:
    entries = [b"%d" % number for number in range(size)]
    leaves, tree = [leaf_hash(entry) for entry in entries], pymerkle.InmemoryTree(algorithm="sha256")
    for entry in entries:
        tree.append_entry(entry)
    for place in range(size):
        text = proof_text(place, size, inclusion_proof(leaves, place))
        found = leaves[place]
        for line in text.decode().splitlines()[1:]:
            side, sibling = line.split(" ")
            pair = (bytes.fromhex(sibling), found) if side == "left" else (found, bytes.fromhex(sibling))
            found = hashlib.sha256(b"\1" + pair[0] + pair[1]).digest()
        assert found == tree.get_root()
        assert is_included(leaves[place], *proof_of(text), tree.get_root())
