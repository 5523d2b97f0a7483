"""The writer of a spool hour: accounting that adds up, also after kill -9, a torn line and a full disk."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from yolo_assets.contracts.detection import DetectionRecord
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.runtime.files import FolderBusyError, lock_folder
from yolo_assets.spool.files import SpoolFullError
from yolo_assets.spool.hours import SpoolHour, list_hours
from yolo_assets.spool.records import BadRecord, FrameRecord
from yolo_assets.spool.traces import INTERRUPTED
from yolo_assets.spool.writer import SpoolWriter
from yolo_assets_tests.support.records import frame_record

START = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
HOUR = Hour.of(START)
RECORD = frame_record({"detections": [], "model_version": "line/1", "device_id": "box1"})


def _with(**fields: Any) -> DetectionRecord:
    return RECORD.model_copy(update=fields)


def hour_of(spool: Path) -> SpoolHour:
    return SpoolHour.of(spool, "cam1", HOUR)


def test_a_frame_reads_back_as_it_was_written(tmp_path: Path) -> None:
    with SpoolWriter(tmp_path, "cam1", "box1") as writer:
        path = writer.write(START, _with(sequence=7), b"\xff\xd8picture").image_path
    assert path == "cam1/20260102_03/20260102_030405_678.jpg"
    assert (tmp_path / path).read_bytes() == b"\xff\xd8picture"
    (found,) = hour_of(tmp_path).records()
    assert isinstance(found, FrameRecord)
    record = found.record
    assert (record.image_path, record.image_saved, record.camera_id) == (path, True, "cam1")
    assert (record.sequence, record.captured_at) == (7, START)
    line = (tmp_path / "cam1/20260102_03/records.ndjson").read_bytes()
    assert orjson.loads(line)["captured_at"] == "2026-01-02T03:04:05.678Z"


def test_frames_of_one_millisecond_get_names_of_their_own_also_after_a_restart(tmp_path: Path) -> None:
    with SpoolWriter(tmp_path, "cam1", "box1") as writer:
        first = [writer.write(START, RECORD, image).image_path for image in (None, b"b", None)]
    with SpoolWriter(tmp_path, "cam1", "box1") as writer:
        second = [writer.write(START, RECORD, image).image_path for image in (b"d", None)]
    names = [path.rsplit("/", 1)[-1] for path in first + second]
    assert names == [f"20260102_030405_678{end}.jpg" for end in ("", "_1", "_2", "_3", "_4")]


def test_the_seal_accounts_for_every_frame(tmp_path: Path) -> None:
    with SpoolWriter(tmp_path, "cam1", "box1") as writer:
        for index in range(10):
            image = b"x" * 100 if index % 2 else None
            writer.write(START + timedelta(seconds=index), _with(model_version=f"line/{index % 2}"), image)
        writer.drop(START, "queue_full")
        writer.drop(START, "queue_full")
        writer.drop(START, "camera_stalled")
        seal = writer.seal(HOUR)
    assert (seal.captured, seal.processed, seal.records, seal.frames) == (13, 10, 10, 5)
    assert seal.dropped == {"queue_full": 2, "camera_stalled": 1}
    assert seal.model_versions == ("line/0", "line/1")
    assert seal.bytes == 500 + (tmp_path / "cam1/20260102_03/records.ndjson").stat().st_size
    assert hour_of(tmp_path).seal() == seal
    assert hour_of(tmp_path).is_closed(utc_now(), 300)


def test_an_hour_is_sealed_once(tmp_path: Path) -> None:
    with SpoolWriter(tmp_path, "cam1", "box1") as writer:
        writer.write(START, RECORD, b"x")
        first = writer.seal(HOUR)
        assert writer.seal(HOUR) == first


def test_closing_leaves_the_hour_open_for_the_next_writer(tmp_path: Path) -> None:
    with SpoolWriter(tmp_path, "cam1", "box1") as writer:
        writer.write(START, RECORD, b"x")
    assert hour_of(tmp_path).seal() is None
    with SpoolWriter(tmp_path, "cam1", "box1") as writer:
        writer.write(START + timedelta(seconds=1), RECORD, b"y")
        assert writer.seal(HOUR).processed == 2


def test_a_late_frame_adds_files_and_touches_none(tmp_path: Path) -> None:
    with SpoolWriter(tmp_path, "cam1", "box1") as writer:
        writer.write(START, RECORD, b"x")
        writer.seal(HOUR)
        before = {m: (tmp_path / "cam1/20260102_03" / m.name).read_bytes() for m in hour_of(tmp_path).members()}
        os.utime(tmp_path / "cam1/20260102_03/.sealed", ns=(1, 1))  # the seal is older than what comes now
        late = writer.write(START, RECORD, b"late").image_path
        writer.drop(START, "late_drop")
        writer.drop(START, "late_drop")
    after = hour_of(tmp_path)
    assert (tmp_path / late).read_bytes() == b"late"
    assert all((after.path / member.name).read_bytes() == data for member, data in before.items())
    assert len(list(after.records())) == 2
    assert len([m for m in after.members() if m.name.endswith(".late-drop.log")]) == 2
    assert not after.is_closed(utc_now(), 300)  # quiet first
    assert after.is_closed(utc_now() + timedelta(seconds=301), 300)


def test_late_notes_that_say_the_same_are_never_the_same_file(tmp_path: Path) -> None:
    """The first one may be archived and reclaimed by then: the second must not be taken for it, and deleted."""
    seen = set()
    for _ in range(3):
        with SpoolWriter(tmp_path, "cam1", "box1") as writer:
            writer.seal(hour_of(tmp_path).hour)
            writer.drop(START, "disk_full", count=27)
        [note] = hour_of(tmp_path).path.glob("*.late-drop.log")
        seen |= {note.name, note.read_bytes()}
        note.unlink()
    assert len(seen) == 6


def test_a_frame_while_the_archiver_holds_the_hour_is_late(tmp_path: Path) -> None:
    with SpoolWriter(tmp_path, "cam1", "box1") as writer:
        writer.write(START, RECORD, b"x")
    held = lock_folder(hour_of(tmp_path).path, "held by the archiver")
    try:
        with SpoolWriter(tmp_path, "cam1", "box1") as writer:
            writer.write(START, RECORD, b"y")
            with pytest.raises(FolderBusyError, match="archived before it was sealed"):
                writer.seal(HOUR)
    finally:
        os.close(held)
    names = [member.name for member in hour_of(tmp_path).members()]
    assert "20260102_030405_678_1.late.ndjson" in names
    assert ".sealed" not in names


def test_an_open_hour_cannot_be_taken_by_the_archiver(tmp_path: Path) -> None:
    with SpoolWriter(tmp_path, "cam1", "box1") as writer:
        writer.write(START, RECORD, b"x")
        with pytest.raises(FolderBusyError):
            lock_folder(hour_of(tmp_path).path, "still written")
        writer.seal(HOUR)
        os.close(lock_folder(hour_of(tmp_path).path, "still written"))


def test_a_second_writer_is_refused_in_one_line(tmp_path: Path) -> None:
    with SpoolWriter(tmp_path, "cam1", "box1"), pytest.raises(FolderBusyError, match="already has a writer"):
        SpoolWriter(tmp_path, "cam1", "box1")
    SpoolWriter(tmp_path, "cam1", "box1").close()


def test_a_camera_id_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError):
        SpoolWriter(tmp_path, "../cam", "box1")


@pytest.mark.parametrize("cut", [1, 40, 120])
def test_a_torn_last_line_costs_one_frame_and_is_counted(tmp_path: Path, cut: int) -> None:
    with SpoolWriter(tmp_path, "cam1", "box1") as writer:
        for index in range(3):
            writer.write(START + timedelta(seconds=index), RECORD, b"x")
    path = tmp_path / "cam1/20260102_03/records.ndjson"
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    with SpoolWriter(tmp_path, "cam1", "box1") as writer:
        writer.write(START + timedelta(seconds=9), RECORD, b"y")
        seal = writer.seal(HOUR)
    good = [read.record for read in hour_of(tmp_path).records() if isinstance(read, FrameRecord)]
    bad = [record for record in hour_of(tmp_path).records() if isinstance(record, BadRecord)]
    lost = 0 if cut == 1 else 1  # a line that lacks only its newline is whole
    assert (len(good), len(bad)) == (4 - lost, lost)
    assert (seal.captured, seal.processed) == (4, 4 - lost)
    assert seal.dropped == ({INTERRUPTED: 1} if lost else {})


KILLED = """
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from yolo_assets.contracts.detection import DetectionRecord
from yolo_assets.spool.writer import SpoolWriter
start = datetime(2026, 1, 2, 3, 0, 0, tzinfo=UTC)
record = {"image_path": "x", "detections": [], "model_version": "line/1", "device_id": "box1"}
image = b"x" * 5000
writer = SpoolWriter(Path(sys.argv[1]), "cam1", "box1")
for index in range(int(sys.argv[2]), 10**9):
    at = start + timedelta(milliseconds=index)
    if index % 10 == 9:
        writer.drop(at, "queue_full")
    else:
        writer.write(at, DetectionRecord.model_validate({**record, "sequence": index}), image if index % 2 else None)
    sys.stdout.write(f"{index}\\n")
    sys.stdout.flush()
"""


@pytest.mark.slow
def test_killed_writers_lose_at_most_the_frame_in_hand(tmp_path: Path) -> None:
    chance = random.Random(20261121)
    done = 0
    acknowledged = 0
    for _ in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path), str(done)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first.strip() == str(done)
        killer = threading.Timer(chance.uniform(0.02, 0.25), process.send_signal, [signal.SIGKILL])
        killer.start()
        lines = [first, *process.stdout.readlines()]
        process.wait(timeout=30)
        killer.join()
        acknowledged += len([line for line in lines if line.endswith("\n")])
        done = int(lines[-1] if lines[-1].endswith("\n") else lines[-2]) + 2  # one may be written and not acknowledged
    with SpoolWriter(tmp_path, "cam1", "box1") as writer:
        seal = writer.seal(HOUR)
    good = [read.record for read in hour_of(tmp_path).records() if isinstance(read, FrameRecord)]
    assert seal.processed == len(good)
    assert seal.captured == seal.processed + sum(seal.dropped.values())
    assert acknowledged <= seal.captured <= acknowledged + 4
    for record in good:
        if record.image_saved:
            assert (tmp_path / record.image_path).read_bytes() == b"x" * 5000


def test_a_full_disk_loses_only_the_frame_it_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    room = [20_000]

    def write(descriptor: int, data: bytes) -> int:
        """The kernel's behaviour on a full disk: what fits is written, then ENOSPC."""
        if room[0] == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = real(descriptor, data[: room[0]])
        room[0] -= written
        return written

    monkeypatch.setattr(os, "write", write)
    kept: list[str] = []
    with SpoolWriter(tmp_path, "cam1", "box1") as writer:
        for index in range(100):
            try:
                kept.append(writer.write(START + timedelta(seconds=index), RECORD, b"x" * 900).image_path)
            except SpoolFullError as error:
                assert "no space on the disk" in str(error)
        assert 0 < len(kept) < 100
        room[0] = 10_000  # somebody made room
        kept.append(writer.write(START + timedelta(seconds=200), RECORD, b"y" * 900).image_path)
        seal = writer.seal(HOUR)
    records = list(hour_of(tmp_path).records())
    assert [r.record.image_path for r in records if isinstance(r, FrameRecord)] == kept
    assert not any(isinstance(record, BadRecord) for record in records)
    assert {f"cam1/20260102_03/{m.name}" for m in hour_of(tmp_path).frames()} == set(kept)
    assert (seal.frames, seal.processed, seal.captured) == (len(kept), len(kept), len(kept))
    assert not list(hour_of(tmp_path).path.glob(".tmp-*"))


def test_threads_may_write_at_the_end_of_the_hour(tmp_path: Path) -> None:
    end = HOUR.end
    with SpoolWriter(tmp_path, "cam1", "box1") as writer:

        def work(offset: int) -> None:
            for index in range(50):
                writer.write(end + timedelta(milliseconds=(index - 25) * 4 + offset), RECORD, b"x")

        threads = [threading.Thread(target=work, args=(offset,)) for offset in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.005)
        writer.seal(HOUR)
        for thread in threads:
            thread.join()
        writer.seal(HOUR.next())
    frames = [member for hour in list_hours(tmp_path) for member in hour.frames()]
    records = [record for hour in list_hours(tmp_path) for record in hour.records()]
    assert len(frames) == len(records) == 200
    assert all(isinstance(record, FrameRecord) for record in records)


def test_every_frame_is_durable_when_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.readlink(f"/proc/self/fd/{fd}")), real(fd))[1])
    with SpoolWriter(tmp_path, "cam1", "box1", fsync="frame") as writer:
        writer.write(START, RECORD, b"x")
        names = [Path(path).name for path in synced]
    assert any(name.startswith(".tmp-") for name in names)
    assert "records.ndjson" in names
    assert HOUR.key in names
