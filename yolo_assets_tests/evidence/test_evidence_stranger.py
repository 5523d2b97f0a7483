"""A stranger checks a pack with what VERIFY.txt says, word for word: OpenSSL, coreutils, a shell, nothing of ours."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from yolo_assets.contracts.errors import SignatureError
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.evidence import manifest as names
from yolo_assets.evidence.verify import verify_pack
from yolo_assets_tests.evidence.evidence_world import HOUR, Plant, detection, files_of, picture, record_line
from yolo_assets_tests.support.signed import content, signed_by_0_1

FIRST_FORM = Path(__file__).parents[1] / "signed_before"
FIRST_KEYS = [FIRST_FORM / "keys" / f"{name}.pub" for name in ("office", "pack-receipts", "promotion")]


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with openssl and coreutils alone."""
    folder = tmp_path_factory.mktemp("tools")
    for tool in ("openssl", "cat", "comm", "cut", "printf", "sha256sum", "sort", "tail", "test", "tr", "wc"):
        found = shutil.which(tool)
        assert found, tool
        (folder / tool).symlink_to(found)
    return folder


def give_keys(plant: Plant, beside: Path) -> None:
    for signer in (plant.office, plant.signer):
        (beside / f"{signer.key_id}.pub").write_bytes(signer.public_pem())


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the keys and a pack: confidence 1.0, Chinese classes, emoji, two parts, one signed as 0.1 did."""
    folder = tmp_path_factory.mktemp("odd")
    plant = Plant(folder / "plant")
    plant.hour(frames=2, detections=[detection("crack", 1.0), detection("焊缝裂纹", 0.5)], batch="客户🔥")
    late = "20260102_030030_000"
    plant.foreign({f"{late}.jpg": picture(9), f"{late}.json": record_line(f"{late}.jpg", detection("🔥", 1))})
    plant.make(folder / "pack")
    give_keys(plant, folder)
    return folder


def commands(pack: Path) -> list[str]:
    lines = [line[4:] for line in (pack / "VERIFY.txt").read_text("utf-8").splitlines() if line.startswith("    ")]
    assert lines
    return lines


def run(line: str, pack: Path, tools: Path) -> subprocess.CompletedProcess[str]:
    command = ["/usr/bin/env", "-i", f"PATH={tools}", "/bin/sh", "-c", line.replace("/tmp/", f"{pack.parent}/tmp-")]
    return subprocess.run(command, cwd=pack, capture_output=True, text=True, timeout=60)


def accepted(pack: Path, tools: Path) -> bool:
    """Whether every command of VERIFY.txt ends well."""
    stranger = [line for line in commands(pack) if not line.startswith("yolo-assets ")]
    return all(run(line, pack, tools).returncode == 0 for line in stranger)


def test_every_command_of_verify_txt_runs_as_it_is_written(odd: Path, tools: Path) -> None:
    pack = odd / "pack"
    lines = commands(pack)
    assert len([line for line in lines if line.startswith("openssl pkeyutl")]) == 2 and len(lines) == 11
    for line in lines:
        if not line.startswith("yolo-assets "):
            done = run(line, pack, tools)
            assert done.returncode == 0, (line, done)
    ids = [run(line, pack, tools).stdout.strip() for line in lines if line.startswith("openssl pkey -")]
    assert {f"{key}.pub" for key in ids} == {path.name for path in odd.glob("*.pub")}
    ours = next(line for line in lines if line.startswith("yolo-assets ")).split()
    keys = [pack / given for given in ours[5::2]]
    assert ours[:3] == ["yolo-assets", "evidence", "verify"] and set(ours[5::2]) == {f"../{key}.pub" for key in ids}
    assert verify_pack(pack, TrustedKeys.load(keys, pack=pack)).first_difference is None


def test_verify_txt_speaks_english_and_chinese(odd: Path) -> None:
    text = (odd / "pack" / "VERIFY.txt").read_text("utf-8")
    assert text.index("How to verify this pack") < text.index("如何验证本证据包")
    assert "A key that lies in a pack is refused" in text and "位于证据包内的密钥会被拒绝" in text
    assert max(map(len, (line for line in text.splitlines() if not line.startswith("    ")))) <= 100


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_stranger_finds_one_changed_byte_anywhere(odd: Path, tools: Path, data: st.DataObject) -> None:
    pack = odd / "pack"
    files = files_of(pack)
    path = data.draw(st.sampled_from(sorted(files)))
    place = data.draw(st.integers(0, len(files[path]) - 1))
    changed = bytearray(files[path])
    changed[place] ^= 1 << data.draw(st.integers(0, 7))
    recipe = commands(pack)
    try:
        (pack / path).write_bytes(bytes(changed))
        stranger = [line for line in recipe if not line.startswith("yolo-assets ")]
        assert not all(run(line, pack, tools).returncode == 0 for line in stranger), path
    finally:
        (pack / path).write_bytes(files[path])


@pytest.mark.parametrize("kind", ["frames", "annotated", "records", "receipts", "indexes", "keys", "report.pdf"])
def test_a_stranger_finds_a_missing_file(odd: Path, tools: Path, kind: str) -> None:
    pack = odd / "pack"
    victim = (
        pack / kind if (pack / kind).is_file() else next(path for path in (pack / kind).rglob("*") if path.is_file())
    )
    kept = victim.read_bytes()
    victim.unlink()
    try:
        assert not accepted(pack, tools)
    finally:
        victim.write_bytes(kept)
    assert accepted(pack, tools)


def test_the_keys_of_another_plant_do_not_verify(odd: Path, tools: Path, tmp_path: Path) -> None:
    shutil.copytree(odd / "pack", tmp_path / "pack")
    other = Plant(tmp_path / "other")
    for path in odd.glob("*.pub"):
        (tmp_path / path.name).write_bytes(other.office.public_pem())
    assert not accepted(tmp_path / "pack", tools)


def test_a_receipt_that_version_0_1_signed_is_checked_alike(tmp_path: Path, tools: Path) -> None:
    plant = Plant(tmp_path / "plant")
    plant.hour(frames=1, detections=[detection("裂纹", 1.0)])
    key = ArchiveName("cam1", HOUR).receipt_key
    old = orjson.dumps(signed_by_0_1(plant.signer, content(plant.archive.get(key))))
    plant.archive.delete(key)
    plant.archive.put(key, old)
    plant.make(tmp_path / "pack")
    give_keys(plant, tmp_path)
    assert accepted(tmp_path / "pack", tools)
    keys = TrustedKeys.of(plant.office, plant.signer)
    assert verify_pack(tmp_path / "pack", keys).first_difference is None


def test_a_pack_of_the_first_form_still_verifies() -> None:
    keys = TrustedKeys.load(FIRST_KEYS)
    done = verify_pack(FIRST_FORM / "pack", keys)
    assert [check for check in done.checks if check.verdict != "ok"] == []
    assert done.manifest is not None and done.manifest.schema_version == 1 and done.manifest.counts.frames == 5


def test_a_changed_pack_of_the_first_form_is_found(tmp_path: Path) -> None:
    pack = Path(shutil.copytree(FIRST_FORM / "pack", tmp_path / "pack"))
    keys = TrustedKeys.load(FIRST_KEYS)
    manifest = pack / names.MANIFEST
    manifest.write_bytes(manifest.read_bytes().replace(b'"schema_version": 1', b'"schema_version": 2'))
    first = verify_pack(pack, keys).first_difference
    assert first is not None and first.name == "signature"


# A key out of a pack is no trusted key, however it is named.


def inside(pack: Path, tmp_path: Path) -> Path:
    return next((pack / "keys").glob("*.pub"))


def the_folder(pack: Path, tmp_path: Path) -> Path:
    return pack / "keys"


def with_dots(pack: Path, tmp_path: Path) -> Path:
    return pack / "frames" / ".." / "keys" / inside(pack, tmp_path).name


def a_link_to_it(pack: Path, tmp_path: Path) -> Path:
    (tmp_path / "plant.pub").symlink_to(inside(pack, tmp_path))
    return tmp_path / "plant.pub"


def a_hard_link_to_it(pack: Path, tmp_path: Path) -> Path:
    (tmp_path / "plant.pub").hardlink_to(inside(pack, tmp_path))
    return tmp_path / "plant.pub"


def a_folder_of_links(pack: Path, tmp_path: Path) -> Path:
    (tmp_path / "trusted").mkdir()
    (tmp_path / "trusted" / "plant.pub").symlink_to(inside(pack, tmp_path))
    return tmp_path / "trusted"


def of_a_copy_of_the_pack(pack: Path, tmp_path: Path) -> Path:
    shutil.copytree(pack, tmp_path / "again")
    return inside(tmp_path / "again", tmp_path)


@pytest.mark.parametrize(
    "named",
    [inside, the_folder, with_dots, a_link_to_it, a_hard_link_to_it, a_folder_of_links, of_a_copy_of_the_pack],
    ids=lambda value: value.__name__,
)
def test_a_key_out_of_a_pack_is_refused(named: Callable[[Path, Path], Path], pack: Path, tmp_path: Path) -> None:
    with pytest.raises(SignatureError, match="lies in an evidence pack"):
        TrustedKeys.load([named(pack, tmp_path)], pack=pack)


def test_the_same_key_from_elsewhere_is_trusted(pack: Path, keys: TrustedKeys, tmp_path: Path) -> None:
    for path in (pack / "keys").glob("*.pub"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    given = TrustedKeys.load(sorted(tmp_path.glob("*.pub")), pack=pack)
    assert given.keys.keys() == keys.keys.keys() and verify_pack(pack, given).first_difference is None
