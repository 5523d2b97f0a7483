"""Packs lead from their receipts to the log of all receipts, to a witness and to a time stamp, where there are some."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from yolo_assets.archive.archive import Archive
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.contracts.times import utc_now
from yolo_assets.evidence.history import HistoryTrust
from yolo_assets.evidence.verify import Check, verify_pack
from yolo_assets.storage import open_store
from yolo_assets.transparency.checkpointing import make_checkpoint, stamp_checkpoint
from yolo_assets.transparency.log import read_receipts
from yolo_assets.transparency.timestamps import load_roots
from yolo_assets.transparency.witness import Witness, collect_cosignatures
from yolo_assets_tests.evidence.evidence_world import STEM, Plant, forge
from yolo_assets_tests.transparency.authority import Authority
from yolo_assets_tests.transparency.by_specification import checkpoint_lines, proven_root, verified_times


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Authority]:
    made = Authority(tmp_path / "authority")
    yield made
    made.stop()


def checkpoint(plant: Plant, authority: Authority | None) -> Witness:
    """A checkpoint that a witness co-signed."""
    archive, now = Archive(plant.archive, plant.trusted), utc_now()
    made = make_checkpoint(archive, plant.signer, list(read_receipts(archive)), now)
    folder = plant.folder / "witness"
    folder.mkdir(exist_ok=True)
    witness = Witness.open(folder, "example.com/quality")
    witness.look(archive, now)
    collect_cosignatures(archive, open_store((folder / "cosigned").as_uri()))
    if authority is not None:
        stamp_checkpoint(archive, made.stored, authority.url)
    return witness


def history(folder: Path, trusted: TrustedKeys, trust: HistoryTrust | None = None) -> Check:
    return next(check for check in verify_pack(folder, trusted, trust).checks if check.name == "history")


def test_a_pack_holds_proof_co_signature_and_stamp(plant: Plant, authority: Authority, tmp_path: Path) -> None:
    plant.hour(frames=2)
    keys = TrustedKeys.of(plant.office, plant.signer)
    plant.make(tmp_path / "before")
    assert "No independent time stamp is part" in (tmp_path / "before" / "VERIFY.txt").read_text()
    assert history(tmp_path / "before", keys).detail == "no proof of the log of receipts is in this pack"

    witness = checkpoint(plant, None)
    plant.make(tmp_path / "cosigned")
    said = " ".join((tmp_path / "cosigned" / "VERIFY.txt").read_text().split())
    assert "history/ has what example.com/quality co-signed" in said
    assert history(tmp_path / "cosigned", keys, HistoryTrust([witness.key])).verdict == "ok"
    no_stamp = history(tmp_path / "cosigned", keys, HistoryTrust(roots=load_roots(authority.roots)))
    assert no_stamp.verdict == "differs" and "without a time stamp" in no_stamp.detail

    checkpoint(plant, authority)
    made, pack = plant.make(tmp_path / "stamped"), tmp_path / "stamped"
    assert made.history is not None and made.history.receipts == 1 and made.history.stamped_at is not None
    how = " ".join((pack / "VERIFY.txt").read_text().split())
    assert "No independent time stamp" not in how and "that the receipts were there by" in how
    assert "(the authority was not checked)" in history(pack, keys).detail
    trust = HistoryTrust([witness.key], load_roots(authority.roots))
    assert history(pack, keys, trust).detail.startswith(
        "1 receipt of 1 in signed checkpoints, co-signed by example.com"
    )

    proof, entry = (pack / f"history/{STEM}.tlog-proof").read_bytes(), pack / f"receipts/{STEM}.receipt.json"
    note = proof.partition(b"\n\n")[2]
    assert len(proof) < 2048 and checkpoint_lines(note)[2] == proven_root(
        proof, hashlib.sha256(entry.read_bytes()).digest()
    )
    assert set(verified_times(note, "example.com/quality", witness.signer.public_bytes())) == {4}
    script = next(line.strip() for line in (pack / "VERIFY.txt").read_text().splitlines() if "openssl ts" in line)
    (tmp_path / "authority.pem").write_bytes(authority.roots.read_bytes())
    assert subprocess.run(["sh", "-c", script], cwd=pack, capture_output=True, check=False).returncode == 0


def test_a_proof_or_a_witness_that_does_not_fit_is_found(plant: Plant, tmp_path: Path) -> None:
    plant.hour(frames=1)
    checkpoint(plant, None)
    plant.make(tmp_path / "pack")
    keys = TrustedKeys.of(plant.office, plant.signer)
    other = Witness.open(plant.folder / "archive", "example.com/other")
    missing = history(tmp_path / "pack", keys, HistoryTrust([other.key]))
    assert missing.verdict == "differs" and missing.detail.endswith("is not co-signed by example.com/other")
    path = tmp_path / "pack" / f"history/{STEM}.tlog-proof"
    data = path.read_bytes()
    path.write_bytes(data.replace(b"index 0", b"index 1"))
    forge(tmp_path / "pack", plant.office)
    assert history(tmp_path / "pack", keys).verdict == "differs"
    path.write_bytes(data.replace(b"\n1\n", b"\n2\n"))
    forge(tmp_path / "pack", plant.office)
    assert "does not fit its content" in history(tmp_path / "pack", keys).detail
