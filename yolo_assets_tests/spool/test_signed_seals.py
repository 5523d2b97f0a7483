"""From the lens to the receipt: the agent hashes, the device signs the hour, the archiver holds it against that."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pymerkle
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.archiving import archive_hour
from yolo_assets.contracts.dsse import signed_bytes
from yolo_assets.contracts.names import SEALED, SEALED_LIST, SEALED_SIGNATURE
from yolo_assets.contracts.receipt import Custody
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.spool.sealing import read_statement
from yolo_assets.spool.writer import SpoolWriter
from yolo_assets.storage import open_store
from yolo_assets_tests.support.records import frame_record
from yolo_assets_tests.support.small_disk import small_disk

HOUR = Hour.from_key("20260301_10")
RECORD = {"detections": [], "model_version": "line/1", "device_id": "box1"}


class SealedLine:
    """One hour of a device with a key, and its archive."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.device = Signer.load_or_create(root / "device.key")
        self.hour = SpoolHour.of(root / "spool", "cam1", HOUR)

    def writer(self) -> SpoolWriter:
        return SpoolWriter(self.root / "spool", "cam1", "box1", signer=self.device)

    def write(self, writer: SpoolWriter, *seconds: int) -> None:
        for second in seconds:
            writer.write(HOUR.start + timedelta(seconds=second), frame_record(RECORD), b"picture %d" % second)

    def sealed(self, *seconds: int) -> SealedLine:
        with self.writer() as writer:
            self.write(writer, *seconds)
            writer.seal(HOUR)
        return self

    def path(self, second: int) -> Path:
        return self.hour.path / f"20260301_1000{second:02d}_000.jpg"

    def archived(self) -> Custody | None:
        """What the receipt of the newest part says."""
        archiver = Signer.load_or_create(self.root / "archiver")
        archive = Archive(open_store((self.root / "archive").as_uri()), TrustedKeys.of(archiver))
        outcome = archive_hour(self.hour, archive, archiver)
        assert outcome.status == "archived" and outcome.receipt is not None
        assert archive.receipts("cam1", HOUR)[-1].custody == outcome.receipt.custody
        return outcome.receipt.custody


@pytest.fixture
def line(tmp_path: Path) -> SealedLine:
    return SealedLine(tmp_path)


def test_a_stranger_finds_every_file_under_the_devices_signature(line: SealedLine) -> None:
    line.sealed(1, 2, 3)
    envelope = json.loads((line.hour.path / SEALED_SIGNATURE).read_bytes())
    payload = base64.b64decode(envelope["payload"])
    statement = json.loads(payload)
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(statement["device_key"]))
    key.verify(base64.b64decode(envelope["signatures"][0]["sig"]), signed_bytes("seal", payload))
    assert statement["device_key"] == base64.b64encode(line.device.public_bytes()).decode()
    lines = (line.hour.path / SEALED_LIST).read_bytes().splitlines()
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    for one in lines:
        tree.append_entry(one)
    assert (statement["root"], statement["files"]) == (tree.get_root().hex(), len(lines))
    named = [json.loads(one)["name"] for one in lines]
    there = {path.name for path in line.hour.path.iterdir()} - {SEALED_LIST, SEALED_SIGNATURE}
    assert named == sorted(there) and SEALED in named


def test_the_receipt_says_that_the_archive_holds_what_was_sealed(line: SealedLine) -> None:
    custody = line.sealed(1, 2, 3).archived()
    assert custody is not None and custody.problem is None
    assert (custody.files, custody.key_id) == (5, line.device.key_id)


def replaced(line: SealedLine) -> None:
    line.path(2).write_bytes(b"another!!")


def removed(line: SealedLine) -> None:
    line.path(2).unlink()


def added_to_the_records(line: SealedLine) -> None:
    with (line.hour.path / "records.ndjson").open("ab") as file:
        file.write(b"{}\n")


def list_rewritten(line: SealedLine) -> None:
    path = line.hour.path / SEALED_LIST
    path.write_bytes(path.read_bytes().replace(b'"size":9', b'"size":8', 1))


def list_gone(line: SealedLine) -> None:
    (line.hour.path / SEALED_LIST).unlink()


def signed_by_another(line: SealedLine) -> None:
    path = line.hour.path / SEALED_SIGNATURE
    statement, _ = read_statement(path.read_bytes())
    other = Signer.load_or_create(line.root / "another.key")
    path.write_bytes(other.seal(statement.to_json(), "seal").to_json())


def no_envelope(line: SealedLine) -> None:
    (line.hour.path / SEALED_SIGNATURE).write_bytes(b"?")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (replaced, "of 5 files that the device sealed 1 are not what was sealed: 20260301_100002_000.jpg"),
        (removed, "of 5 files that the device sealed 1 are missing: 20260301_100002_000.jpg"),
        (added_to_the_records, "of 5 files that the device sealed 1 are not what was sealed: records.ndjson"),
        (list_rewritten, ".sealed.list is not the list whose root the device signed; it was changed"),
        (list_gone, ".sealed.list is missing beside .sealed.dsse; it was taken away"),
        (signed_by_another, ".sealed.dsse is not signed by the device key that it names; it was changed"),
        (no_envelope, ".sealed.dsse is not a signed envelope; it was changed"),
    ],
)
def test_what_was_changed_before_the_archiver_is_archived_and_told(
    line: SealedLine, change: Callable[[SealedLine], None], told: str
) -> None:
    change(line.sealed(1, 2, 3))
    custody = line.archived()
    assert custody is not None and custody.problem == told


def test_the_hash_is_that_of_the_moment_of_writing(line: SealedLine) -> None:
    with line.writer() as writer:
        line.write(writer, 1, 2)
    line.path(2).write_bytes(b"swapped!!")
    custody = line.sealed(3).archived()
    assert custody is not None and custody.examples == ("20260301_100002_000.jpg",)


def test_a_frame_kept_without_a_model_is_hashed_when_it_is_written(line: SealedLine) -> None:
    with line.writer() as writer:
        writer.drop(HOUR.start + timedelta(seconds=2), "no_model", b"picture 2")
        line.path(2).write_bytes(b"swapped!!")
        writer.seal(HOUR)
    custody = line.archived()
    assert custody is not None and custody.examples == ("20260301_100002_000.jpg",)


def test_a_signature_without_its_seal_is_made_anew(line: SealedLine) -> None:
    with line.writer() as writer:
        line.write(writer, 1)
        for name in (SEALED_LIST, SEALED_SIGNATURE):  # killed before .sealed was written
            (line.hour.path / name).write_bytes(b"of an earlier attempt")
        writer.seal(HOUR)
    custody = line.archived()
    assert custody is not None and custody.problem is None and custody.files == 3


def test_late_frames_have_no_part_in_the_seal(line: SealedLine) -> None:
    assert line.sealed(1).archived() is not None
    with line.writer() as writer:
        line.write(writer, 2)
    assert line.archived() is None


def test_frames_archived_before_the_seal_are_looked_for_there(line: SealedLine) -> None:
    with line.writer() as writer:
        line.write(writer, 1, 2)
    line.archived()
    with line.writer() as writer:
        line.write(writer, 3)
    assert line.archived() is None, "an hour that was archived before its seal gets none"


def test_without_a_key_nothing_is_signed(tmp_path: Path) -> None:
    line = SealedLine(tmp_path)
    with SpoolWriter(tmp_path / "spool", "cam1", "box1") as writer:
        line.write(writer, 1)
        writer.seal(HOUR)
    assert not (line.hour.path / SEALED_SIGNATURE).exists() and line.archived() is None


@pytest.mark.parametrize("pages", [1, 2])
def test_a_full_disk_costs_the_signature_and_never_the_seal(
    line: SealedLine, pages: int, caplog: pytest.LogCaptureFixture
) -> None:
    with small_disk(line.root / "spool", "64k") as problem:
        if problem is not None:
            pytest.skip(problem)
        with line.writer() as writer:
            line.write(writer, 1, 2)
            with (line.root / "spool" / "filler").open("wb", buffering=0) as filler:
                with pytest.raises(OSError, match="No space"):
                    while True:
                        filler.write(bytes(4096))
                filler.truncate(filler.tell() - pages * 4096)  # room for the list alone, or for the signature, too
            assert writer.seal(HOUR).frames == 2
        assert "is sealed without the device's signature" in caplog.text
        assert {path.name for path in line.hour.path.iterdir() if path.name.startswith(SEALED)} == {SEALED}
        assert line.archived() is None
