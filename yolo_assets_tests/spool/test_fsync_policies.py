"""What is durable when: by frame, by interval, by hour."""

from __future__ import annotations

import errno
import os
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from yolo_assets.contracts.times import Hour
from yolo_assets.spool.writer import Fsync, SpoolWriter
from yolo_assets_tests.support.records import frame_record

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HOUR = Hour.of(START)
RECORD = frame_record({"detections": [], "model_version": "line/1", "device_id": "box1"})


class Syncs:
    """Names of what was fsynced, in order; may fail, may hang."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        self.fails = False
        self.hang = threading.Event()
        self.hang.set()
        self._real = os.fsync
        patch.setattr(os, "fsync", self)

    def __call__(self, descriptor: int) -> None:
        self.hang.wait(10)
        if self.fails:
            raise OSError(errno.EIO, "Input/output error")
        self.names.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        self._real(descriptor)

    def take(self) -> list[str]:
        taken, self.names = self.names, []
        return taken


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> Syncs:
    return Syncs(monkeypatch)


def test_by_interval_images_come_before_the_records_that_name_them_and_once(tmp_path: Path, syncs: Syncs) -> None:
    with SpoolWriter(tmp_path, "cam1", "box1", fsync="interval") as writer:
        writer.write(START, RECORD, b"x")
        writer.write(START, RECORD, None)
        writer.drop(START, "stale")
        assert syncs.take() == []
        writer.sync()
        assert syncs.take() == ["20260102_030405_000.jpg", "records.ndjson", "drops.log", HOUR.key]
        writer.sync()
        assert "20260102_030405_000.jpg" not in syncs.take()


def test_what_a_failing_disk_did_not_take_is_tried_again(tmp_path: Path, syncs: Syncs) -> None:
    with SpoolWriter(tmp_path, "cam1", "box1", fsync="interval") as writer:
        writer.write(START, RECORD, b"x")
        syncs.fails = True
        with pytest.raises(OSError, match="Input/output"):
            writer.sync()
        syncs.fails = False
        writer.sync()
        assert syncs.take()[0] == "20260102_030405_000.jpg"


def test_no_writer_waits_for_a_slow_disk(tmp_path: Path, syncs: Syncs) -> None:
    with SpoolWriter(tmp_path, "cam1", "box1", fsync="interval") as writer:
        writer.write(START, RECORD, b"x")
        syncs.hang.clear()
        syncing = threading.Thread(target=writer.sync)
        syncing.start()
        writing = threading.Thread(target=writer.write, args=(START, RECORD, b"y"))
        writing.start()
        writing.join(5)
        written = not writing.is_alive()
        syncs.hang.set()
        syncing.join(10)
        assert written


def test_an_hour_that_was_reclaimed_meanwhile_is_no_error(tmp_path: Path, syncs: Syncs) -> None:
    with SpoolWriter(tmp_path, "cam1", "box1", fsync="interval") as writer:
        path = writer.write(START, RECORD, b"x").image_path
        (tmp_path / path).unlink()
        writer.sync()


@pytest.mark.parametrize("policy", ["interval", "hour"])
def test_a_seal_makes_everything_durable(tmp_path: Path, syncs: Syncs, policy: Fsync) -> None:
    with SpoolWriter(tmp_path, "cam1", "box1", fsync=policy) as writer:
        writer.write(START, RECORD, b"x")
        assert syncs.take() == []
        writer.seal(HOUR)
        assert {"20260102_030405_000.jpg", "records.ndjson", HOUR.key} <= set(syncs.take())
