"""Frame accounting across restarts, kills and a full disk: the journal, the spool and the seals agree."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yolo_assets.contracts.detection import DetectionRecord
from yolo_assets.contracts.frames import FrameId
from yolo_assets.contracts.spool import Seal
from yolo_assets.contracts.times import Hour
from yolo_assets.edge.pipeline.recorder import FrameRecorder
from yolo_assets.edge.types import Frame
from yolo_assets.spool.files import SpoolFullError
from yolo_assets.spool.frame_journal import CameraTotals, FrameJournal
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.spool.records import FrameRecord
from yolo_assets.spool.traces import INTERRUPTED
from yolo_assets.spool.writer import SpoolWriter
from yolo_assets_tests.edge.soak.books import CameraBooks, read_books
from yolo_assets_tests.support.records import record_of
from yolo_assets_tests.support.small_disk import small_disk as mounted_disk

START = datetime(2026, 1, 2, 3, 0, 0, tzinfo=UTC)
HOUR = Hour.of(START)
PIXELS = np.zeros((2, 2, 3), np.uint8)


def frame(number: int, **options: Any) -> Frame:
    return Frame(FrameId("cam1", number, START + timedelta(milliseconds=10 * number)), PIXELS, 0.0, **options)


def record_frame(recorder: FrameRecorder, frame: Frame, jpeg: bytes | None) -> DetectionRecord | None:
    return recorder.write(frame, record_of(frame), jpeg)


def open_recorder(root: Path) -> FrameRecorder:
    return FrameRecorder(root / "spool", ["cam1"], "box1", journal=root / "state" / "tally")


def run(root: Path, crash: Callable[[FrameRecorder], None], *, full_from_the_start: bool = False) -> None:
    """A run of the agent's book-keeping in a process that is killed at its end."""
    child = os.fork()
    if not child:
        try:
            recorder = open_recorder(root)
            if full_from_the_start:
                SpoolWriter.drop = full  # type: ignore[method-assign]
            recorder.recover("cam1", START)
            crash(recorder)
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) in (-signal.SIGKILL, -signal.SIGALRM)


def final_seal(root: Path) -> Seal:
    """What the next run makes of it."""
    recorder = open_recorder(root)
    assert recorder.recover("cam1", HOUR.end) == 1
    row = recorder.lifetime()["cam1"]
    recorder.close()
    seal = SpoolHour.of(root / "spool", "cam1", HOUR).seal()
    assert seal is not None and row.open == 0 and row.hours == {}
    assert (seal.captured, seal.processed) == (row.captured, row.processed)
    assert seal.captured == seal.processed + sum(seal.dropped.values())
    return seal


def settled(root: Path) -> tuple[CameraTotals, CameraBooks]:
    """What the next run's tally and all files say then."""
    recorder = open_recorder(root)
    recorder.recover("cam1", HOUR.end)
    row = recorder.lifetime()["cam1"]
    recorder.close()
    return row, read_books(root / "spool", root / "archive")["cam1"]


def test_frames_in_flight_at_a_kill_are_interrupted_in_seal_and_journal(tmp_path: Path) -> None:
    def crash(recorder: FrameRecorder) -> None:
        first = recorder.next_sequence("cam1")
        for number in range(first, first + 5):
            recorder.enter(frame(number))
        record_frame(recorder, frame(first), b"\xff\xd8\xff\xd9")
        recorder.drop(frame(first + 1), "stale")

    run(tmp_path, crash)
    run(tmp_path, crash)
    seal = final_seal(tmp_path)
    assert (seal.captured, seal.processed, seal.dropped) == (10, 2, {"stale": 2, INTERRUPTED: 6})


def test_an_hour_that_a_restart_found_open_is_sealed_when_it_is_over_also_without_a_frame(tmp_path: Path) -> None:
    def crash(recorder: FrameRecorder) -> None:
        recorder.enter(frame(0))
        record_frame(recorder, frame(0), None)
        recorder.enter(frame(1))

    run(tmp_path, crash)
    recorder = open_recorder(tmp_path)
    assert recorder.recover("cam1", START + timedelta(minutes=59)) == 0  # started again within the hour
    assert recorder.seal_over("cam1", START + timedelta(minutes=59)) == []
    assert recorder.seal_over("cam1", HOUR.end + timedelta(seconds=1)) == [HOUR]  # the next frame came after its end
    row = recorder.lifetime()["cam1"]
    recorder.close()
    seal = SpoolHour.of(tmp_path / "spool", "cam1", HOUR).seal()
    assert seal is not None and (seal.captured, seal.processed, seal.dropped) == (2, 1, {INTERRUPTED: 1})
    assert (row.captured, row.processed) == (2, 1)


def test_a_result_after_the_end_is_counted_and_left_to_the_next_start(tmp_path: Path) -> None:
    recorder = open_recorder(tmp_path)
    for number in range(2):
        recorder.enter(frame(number))
    recorder.close()
    assert record_frame(recorder, frame(0), None) is None
    recorder.drop(frame(1), "inference_error")
    counts = recorder.journal.counts()["cam1"]
    assert counts.balanced and counts.dropped == {"stopped": 1, "inference_error": 1}
    assert final_seal(tmp_path).dropped == {INTERRUPTED: 2}


def test_a_kill_between_a_record_and_its_count_counts_the_frame_as_processed(tmp_path: Path) -> None:
    def crash(recorder: FrameRecorder) -> None:
        for number in range(3):
            recorder.enter(frame(number))
        record_frame(recorder, frame(0), None)
        FrameJournal.processed = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
        record_frame(recorder, frame(1), None)

    run(tmp_path, crash)
    seal = final_seal(tmp_path)
    assert (seal.captured, seal.processed, seal.dropped) == (3, 2, {INTERRUPTED: 1})


def test_a_kill_between_image_and_record_counts_the_frame_once(tmp_path: Path) -> None:
    def crash(recorder: FrameRecorder) -> None:
        recorder.enter(frame(0))
        record_frame(recorder, frame(0), None)
        recorder.enter(frame(1))
        real, calls = os.write, [0]

        def write(descriptor: int, data: bytes) -> int:
            calls[0] += 1
            if calls[0] == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(descriptor, data)

        os.write = write
        record_frame(recorder, frame(1), b"\xff\xd8\xff\xd9")

    run(tmp_path, crash)
    seal = final_seal(tmp_path)
    assert (seal.captured, seal.frames, seal.dropped) == (2, 1, {INTERRUPTED: 1})


def test_kills_at_any_moment_never_lose_a_frame(tmp_path: Path) -> None:
    chance = random.Random(11)
    for _ in range(8):

        def crash(recorder: FrameRecorder, seconds: float = chance.uniform(0.005, 0.06)) -> None:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # its default ends the process as SIGKILL does
            signal.setitimer(signal.ITIMER_REAL, seconds)
            number = recorder.next_sequence("cam1")
            while True:
                recorder.enter(frame(number))
                recorder.enter(frame(number + 1))
                image = b"\xff\xd8\xff\xd9" if number % 3 else None
                record_frame(recorder, frame(number), image)
                recorder.drop(frame(number + 1), "queue_full")
                number += 2

        run(tmp_path, crash)
    seal = final_seal(tmp_path)
    hour = SpoolHour.of(tmp_path / "spool", "cam1", HOUR)
    sequences = [found.record.sequence for found in hour.records() if isinstance(found, FrameRecord)]
    assert len(set(sequences)) == len(sequences) == seal.processed > 20
    assert seal.dropped.get(INTERRUPTED, 0) <= 16


def test_late_frames_in_flight_at_a_kill_are_noted_next_to_the_seal(tmp_path: Path) -> None:
    def crash(recorder: FrameRecorder) -> None:
        first = recorder.next_sequence("cam1")
        for number in range(first, first + 4):
            recorder.enter(frame(number))
        record_frame(recorder, frame(first), None)
        recorder.drop(frame(first + 1), "stale")

    run(tmp_path, crash)
    sealed = final_seal(tmp_path)
    run(tmp_path, crash)  # the same hour again, by a clock that was set back: all of it is late
    row, book = settled(tmp_path)
    assert row.dropped == {"stale": 2, INTERRUPTED: 4}
    hour = SpoolHour.of(tmp_path / "spool", "cam1", HOUR)
    assert hour.seal() == sealed
    assert book.captured == 8 and dict(book.dropped) == {"stale": 2, INTERRUPTED: 4}


def test_late_drops_that_a_full_disk_refused_to_note_outlive_a_kill(tmp_path: Path) -> None:
    def first(recorder: FrameRecorder) -> None:
        recorder.enter(frame(0))
        record_frame(recorder, frame(0), None)

    def crash(recorder: FrameRecorder) -> None:
        for number in (1, 2, 3):
            recorder.enter(frame(number))
        recorder.drop(frame(1), "stale")
        SpoolWriter.drop = full  # type: ignore[method-assign]
        recorder.drop(frame(2), "disk_full")
        recorder.drop(frame(3), "disk_full")

    run(tmp_path, first)
    final_seal(tmp_path)
    run(tmp_path, crash)
    row, book = settled(tmp_path)
    assert row.captured == book.captured == 4 and row.open == 0 and row.hours == {}
    assert dict(book.dropped) == {"stale": 1, "disk_full": 2}


def frames_of(recorder: FrameRecorder) -> None:
    """Four frames of everything that can become of one, and a full disk for two more."""
    first = recorder.next_sequence("cam1")
    for number in range(first, first + 6):
        recorder.enter(frame(number))
    record_frame(recorder, frame(first), b"\xff\xd8\xff\xd9")
    recorder.drop(frame(first + 1), "stale")
    record_frame(recorder, frame(first + 2), None)
    real = SpoolWriter.drop
    SpoolWriter.drop = full  # type: ignore[method-assign]
    recorder.drop(frame(first + 3), "disk_full")
    recorder.drop(frame(first + 4), "disk_full")
    SpoolWriter.drop = real  # type: ignore[method-assign]
    recorder.write_pending_drops()
    recorder.drop(frame(first + 5), "queue_full")


def one_more(recorder: FrameRecorder) -> None:
    recorder.enter(frame(recorder.next_sequence("cam1")))


def full(*_: object, **__: object) -> None:
    raise SpoolFullError("no room")


def kill_in_call(at: int, share: float) -> None:
    """Be killed in one of the next calls that change a disk, records' and notes' and the tally's alike."""
    calls = [0]

    def count(name: str) -> None:
        real = getattr(os, name)

        def call(descriptor: Any, data: Any, *rest: Any, **options: Any) -> Any:
            calls[0] += 1
            if calls[0] == at:
                if name == "write":
                    real(descriptor, data[: int(len(data) * share)])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(descriptor, data, *rest, **options)

        setattr(os, name, call)

    for name in ("write", "pwrite", "link", "rename", "replace"):
        count(name)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5])
@pytest.mark.parametrize("late", [False, True], ids=["open", "late"])
def test_a_kill_in_any_call_to_the_disk_counts_every_frame_once(tmp_path: Path, late: bool, share: float) -> None:
    def quiet(recorder: FrameRecorder) -> None:
        frames_of(recorder)

    root, at = tmp_path, 0
    finished = False
    while not finished:
        at += 1
        root = tmp_path / str(at)
        run(root, quiet)
        if late:  # by a clock that was set back, as late frames are: the seal is younger than they
            final_seal(root)
            os.utime(SpoolHour.of(root / "spool", "cam1", HOUR).path / ".sealed", (2e9, 2e9))

        def crash(recorder: FrameRecorder, root: Path = root, at: int = at) -> None:
            kill_in_call(at, share)
            frames_of(recorder)
            (root / "finished").touch()

        run(root, crash)
        finished = (root / "finished").exists()

        def again(recorder: FrameRecorder, at: int = at) -> None:
            kill_in_call(at % 12 + 1, share)
            frames_of(recorder)

        run(root, again, full_from_the_start=bool(at % 2))  # the disk has no room for a note of what the kill caught
        run(root, again, full_from_the_start=bool(at % 3))
        row, book = settled(root)
        what = f"killed in call {at}: {row}, {book}"
        assert row.open == 0 and row.hours == {}, what
        assert book.captured == row.captured, what
        assert sorted(set(book.sequences)) == sorted(book.sequences) and len(book.sequences) == row.processed, what
        dropped = dict(book.dropped)
        if book.interrupted:
            dropped[INTERRUPTED] = dropped.get(INTERRUPTED, 0) + book.interrupted
        assert dropped == row.dropped, what
        if not late:
            seal = SpoolHour.of(root / "spool", "cam1", HOUR).seal()
            assert seal is not None and (seal.captured, seal.processed) == (row.captured, row.processed), what
            assert seal.dropped == row.dropped, what
    assert at > 20


def test_a_lost_journal_deletes_nothing_and_the_spool_is_sealed_as_it_is(tmp_path: Path) -> None:
    def crash(recorder: FrameRecorder) -> None:
        for number in range(3):
            recorder.enter(frame(number))
            record_frame(recorder, frame(number), b"\xff\xd8\xff\xd9")

    run(tmp_path, crash)
    (tmp_path / "state" / "tally").unlink()
    recorder = open_recorder(tmp_path)
    assert recorder.recover("cam1", HOUR.end) == 1
    seal = SpoolHour.of(tmp_path / "spool", "cam1", HOUR).seal()
    assert seal is not None and (seal.captured, seal.processed, seal.frames) == (3, 3, 3)
    recorder.close()


def test_images_of_two_kills_are_two_frames_even_on_a_full_disk(tmp_path: Path) -> None:
    def crash(recorder: FrameRecorder) -> None:
        number = recorder.next_sequence("cam1")
        one_more(recorder)
        kill_in_call(3, 0.0)  # image, its link, record
        record_frame(recorder, frame(number), b"\xff\xd8\xff\xd9")

    run(tmp_path, crash)
    run(tmp_path, crash, full_from_the_start=True)
    run(tmp_path, lambda _: None, full_from_the_start=True)
    assert len(list((tmp_path / "spool").rglob("*.jpg"))) == 2
    assert final_seal(tmp_path).dropped == {INTERRUPTED: 2}


def test_what_a_crash_left_before_the_seal_is_not_taken_for_a_late_frame(tmp_path: Path) -> None:
    def crash(recorder: FrameRecorder) -> None:
        recorder.enter(frame(recorder.next_sequence("cam1")))
        kill_in_call(1, 0.0)
        record_frame(recorder, frame(recorder.next_sequence("cam1") - 1), None)

    run(tmp_path, one_more)
    (tmp_path / "state" / "tally").unlink()
    stray = SpoolHour.of(tmp_path / "spool", "cam1", HOUR).path / "20260102_030007_000.jpg"
    stray.parent.mkdir(parents=True, exist_ok=True)
    stray.write_bytes(b"\xff\xd8\xff\xd9")
    recorder = open_recorder(tmp_path)
    assert recorder.recover("cam1", HOUR.end) == 1
    recorder.close()
    run(tmp_path, crash)
    row, book = settled(tmp_path)
    assert row.dropped == {INTERRUPTED: 1}
    hour = SpoolHour.of(tmp_path / "spool", "cam1", HOUR)
    seal = hour.seal()
    assert seal is not None and seal.dropped == {INTERRUPTED: 1}
    assert book.captured == 2


@pytest.mark.parametrize("kept", [None, "older"], ids=["lost", "older than the records"])
def test_no_number_is_given_twice_even_without_the_journal(tmp_path: Path, kept: str | None) -> None:
    tally = tmp_path / "state" / "tally"

    def crash(recorder: FrameRecorder) -> None:
        first = recorder.next_sequence("cam1")
        for number in range(first, first + 5):
            recorder.enter(frame(number))
            record_frame(recorder, frame(number), None)
            if number == first + 1 and first:
                (tmp_path / "older").write_bytes(tally.read_bytes())

    run(tmp_path, crash)
    run(tmp_path, crash)
    tally.unlink()
    if kept:
        (tmp_path / kept).rename(tally)

    def again(recorder: FrameRecorder) -> None:
        crash(recorder)
        one_more(recorder)

    run(tmp_path, again)
    row, book = settled(tmp_path)
    assert book.sequences == list(range(15)) and dict(book.dropped) == {INTERRUPTED: 1}
    assert row.next == 16 and row.open == 0 and row.dropped == {INTERRUPTED: 1}


def test_an_untrusted_time_is_marked_in_the_record(tmp_path: Path) -> None:
    recorder = open_recorder(tmp_path)
    for number, trusted in enumerate((True, False)):
        one = frame(number, time_trusted=trusted, boot_id="b", monotonic_s=7.5)
        recorder.enter(one)
        record_frame(recorder, one, None)
    good, guessed = SpoolHour.of(tmp_path / "spool", "cam1", HOUR).records()
    assert "time_trusted" not in (good.record.model_extra or {})  # type: ignore[union-attr]
    extra = guessed.record.model_extra or {}  # type: ignore[union-attr]
    assert (extra["time_trusted"], extra["boot_id"], extra["monotonic_s"]) == (False, "b", 7.5)
    recorder.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted_disk(disk := tmp_path / "disk", "2m", lazy=True) as refused:
        if refused:
            pytest.skip(refused)
        yield disk


def test_on_a_full_disk_every_frame_is_counted_and_the_seal_says_so_later(tmp_path: Path, small_disk: Path) -> None:
    recorder = FrameRecorder(small_disk / "spool", ["cam1"], "box1", journal=small_disk / "state" / "tally")
    written = 0
    for number in range(60):
        recorder.enter(frame(number))
        if number == 30:  # somebody else takes the rest
            with (small_disk / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space"):
                while True:
                    filler.write(bytes(4096))
        record = record_frame(recorder, frame(number), b"\xff\xd8" + bytes(2000) + b"\xff\xd9")
        written += record is not None
        assert record is None or record.image_saved
    assert written == 30 and recorder.trouble
    recorder.enter(frame(60))
    recorder.drop(frame(60), "stale")
    counts = recorder.journal.counts()["cam1"]
    assert counts.balanced and counts.dropped == {"disk_full": 30, "stale": 1}
    assert recorder.seal_over("cam1", HOUR.end) == []  # no room for the notes: the hour stays open, nothing is lost
    (small_disk / "filler").unlink()
    recorder.write_pending_drops()
    assert recorder.seal_over("cam1", HOUR.end) == [HOUR]
    seal = SpoolHour.of(small_disk / "spool", "cam1", HOUR).seal()
    assert seal is not None and (seal.captured, seal.processed) == (61, 30)
    assert seal.dropped == {"disk_full": 30, "stale": 1}
    recorder.close()


def test_the_record_is_kept_when_only_the_image_does_not_fit(tmp_path: Path, small_disk: Path) -> None:
    recorder = FrameRecorder(small_disk / "spool", ["cam1"], "box1", journal=tmp_path / "tally")
    recorder.enter(frame(0))
    written = record_frame(recorder, frame(0), bytes(3 << 20))
    assert written is not None and written.image_saved is False
    (found,) = SpoolHour.of(small_disk / "spool", "cam1", HOUR).records()
    assert found.record.image_saved is False  # type: ignore[union-attr]
    assert not list((small_disk / "spool").rglob("*.jpg")) and not list((small_disk / "spool").rglob(".tmp-*"))
    assert recorder.journal.counts()["cam1"].processed == 1
    recorder.close()
