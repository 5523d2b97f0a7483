"""The soak's own check: it must find a lost frame, a lost image, a frame recorded twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from yolo_assets.contracts.times import Hour
from yolo_assets.spool.writer import SpoolWriter
from yolo_assets_tests.edge.soak.books import CameraBooks, read_books
from yolo_assets_tests.support.records import frame_record

START = datetime(2026, 1, 2, 3, 0, 0, tzinfo=UTC)
RECORD = frame_record({"detections": [], "model_version": "line/1", "device_id": "box1"})


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    with SpoolWriter(tmp_path / "spool", "cam1", "box1") as writer:
        for number in range(4):
            at = START + timedelta(seconds=number)
            writer.write(at, RECORD.model_copy(update={"sequence": number}), b"\xff\xd8\xff\xd9")
        writer.drop(START, "stale", count=3)
        writer.seal(Hour.of(START))
    return tmp_path / "spool"


def judge(spool: Path) -> CameraBooks:
    return read_books(spool, spool.parent / "archive")["cam1"]


def test_a_complete_run_has_no_findings(spool: Path) -> None:
    book = judge(spool)
    assert book.captured == 7 and book.sequences == [0, 1, 2, 3] and not book.saved - book.images
    assert book.interrupted == 0 and dict(book.dropped) == {"stale": 3}


def test_a_lost_image_a_broken_one_and_a_lost_record_are_found(spool: Path) -> None:
    images = sorted(spool.rglob("*.jpg"))
    images[0].unlink()
    images[1].write_bytes(b"\xff\xd8half")
    records = next(spool.rglob("records.ndjson"))
    lines = records.read_bytes().splitlines(keepends=True)
    records.write_bytes(b"".join(lines[:-1]) + lines[-1][:80])
    book = judge(spool)
    assert len(book.saved - book.images) == 2 and len(book.broken) == 1
    assert book.sequences == [0, 1, 2] and book.interrupted == 1 and book.captured == 7


def test_a_frame_recorded_twice_is_found(spool: Path) -> None:
    records = next(spool.rglob("records.ndjson"))
    records.write_bytes(records.read_bytes() * 2)
    assert len(judge(spool).sequences) != len(set(judge(spool).sequences))
