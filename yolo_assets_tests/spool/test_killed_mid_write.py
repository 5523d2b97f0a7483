"""kill -9 in the middle of each write: half an image, half a record, half a drop, half a seal. Then the next run."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from yolo_assets.contracts.signing import Signer
from yolo_assets.contracts.times import Hour
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.spool.records import BadRecord, FrameRecord
from yolo_assets.spool.traces import INTERRUPTED, UNREADABLE
from yolo_assets.spool.writer import SpoolWriter
from yolo_assets_tests.support.records import frame_record

START = datetime(2026, 1, 2, 3, 0, 0, tzinfo=UTC)
HOUR = Hour.of(START)
RECORD = frame_record({"detections": [], "model_version": "line/1", "device_id": "box1"})
IMAGE = bytes(range(256)) * 20


def die_writing(spool: Path, at: int, share: float) -> None:
    """Write three frames, a drop and a seal; be killed in write number ``at`` when ``share`` of it is done."""
    real, calls = os.write, 0

    def write(descriptor: int, data: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls == at:
            real(descriptor, data[: int(len(data) * share)])
            os.kill(os.getpid(), signal.SIGKILL)
        return real(descriptor, data)

    writer = SpoolWriter(spool, "cam1", "box1", signer=Signer.load_or_create(spool.parent / "device.key"))
    os.write = write
    for number in range(3):
        writer.write(START + timedelta(seconds=number), RECORD, IMAGE)  # writes 1 to 6: image, record
    writer.drop(START, "stale")  # write 7
    writer.seal(HOUR)  # writes 8 to 10: list, signature, seal


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.97])
@pytest.mark.parametrize("at", range(1, 11))
def test_the_next_run_finds_every_frame_or_counts_it(tmp_path: Path, at: int, share: float) -> None:
    child = os.fork()
    if not child:
        try:
            die_writing(tmp_path, at, share)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    key = Signer.load_or_create(tmp_path.parent / "device.key")
    with SpoolWriter(tmp_path, "cam1", "box1", signer=key) as writer:
        writer.write(START + timedelta(seconds=30), RECORD, IMAGE)
        seal = writer.seal(HOUR)
    hour = SpoolHour.of(tmp_path, "cam1", HOUR)
    found = list(hour.records())
    good = [read.record for read in found if isinstance(read, FrameRecord)]
    whole = min(3, (at - 1) // 2)
    assert [record.captured_at.second for record in good if record.captured_at] == [*range(whole), 30]
    assert all((tmp_path / record.image_path).read_bytes() == IMAGE for record in good)
    assert seal.processed == len(good) and seal.captured == seal.processed + sum(seal.dropped.values())
    if at in (2, 4, 6):  # an image whose record was torn or never begun: one frame, once
        assert seal.dropped == {INTERRUPTED: 1}
        assert sum(isinstance(record, BadRecord) for record in found) == (share > 0)
    if at == 7:
        assert seal.dropped == ({UNREADABLE: 1} if share else {})
    if at >= 8:
        assert seal.dropped == {"stale": 1}
