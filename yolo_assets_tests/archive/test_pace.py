"""Bytes are metered while they are sent, piece by piece, in every kind of store; waiting can be given up."""

from __future__ import annotations

import os
import signal
import struct
import threading
import time
from pathlib import Path

import pytest

from yolo_assets.archive.bandwidth.disk import DiskWatch
from yolo_assets.archive.bandwidth.limiter import Limiter, SharedLine
from yolo_assets.archive.bandwidth.rates import Timetable
from yolo_assets.archive.service.traffic import Stop, Stopped
from yolo_assets.cli.archive.run import HungError, run_stoppable
from yolo_assets.spool.files import SpoolFullError
from yolo_assets.storage import open_store

MB = 1_000_000


def test_a_single_put_goes_in_small_pieces_at_the_rate(store_url: str, tmp_path: Path) -> None:
    limiter = Limiter(Timetable.parse("4MB/s"), line=SharedLine(tmp_path / "line"))
    pieces: list[tuple[float, int]] = []

    def pace(count: int) -> None:
        limiter.take(count)
        pieces.append((time.monotonic(), count))

    store = open_store(store_url, pace=pace)
    data = os.urandom(4 * MB)
    store.put_if_absent("a", memoryview(data))
    begun, seconds = pieces[0][0], pieces[-1][0] - pieces[0][0]
    assert store.get("a") == data
    assert sum(count for _, count in pieces) == len(data), "each byte once: signing is not sending"
    assert max(count for _, count in pieces) <= 1 << 20
    half = next(n for n in range(len(pieces)) if sum(count for _, count in pieces[: n + 1]) >= len(data) / 2)
    assert 0.25 < (pieces[half][0] - begun) / seconds < 0.75, "not waited first and then sent at once"
    assert 0.6 < seconds < 3


def test_giving_up_ends_a_put_at_once_and_leaves_nothing(store_url: str, tmp_path: Path) -> None:
    stop = Stop()
    limiter = Limiter(Timetable.parse("100kB/s"), line=SharedLine(tmp_path / "line"), sleep=stop.wait)
    store = open_store(store_url, pace=limiter.take)
    timer = threading.Timer(0.5, stop.ask)
    timer.start()
    begun = time.monotonic()
    with pytest.raises(Stopped):
        store.put_if_absent("a", memoryview(os.urandom(2 * MB)))
    assert time.monotonic() - begun < 5, "it was to last twenty seconds"
    assert open_store(store_url).head("a") is None


def test_a_damaged_limit_file_delays_no_upload(tmp_path: Path) -> None:
    for wrong in (struct.pack("d", time.monotonic() + 1e9), struct.pack("d", float("nan")), b"abc", b"x" * 100):
        line = SharedLine(tmp_path)
        (file,) = tmp_path.iterdir()
        file.write_bytes(wrong)
        assert line.take(0.05) == 0
        assert 0 < line.take(0.05) <= 0.05
        line.close()


def test_others_may_share_a_folder_that_was_made_for_it(tmp_path: Path) -> None:
    mask = os.umask(0o077)
    try:
        SharedLine(tmp_path).close()
    finally:
        os.umask(mask)
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o660


def test_a_full_disk_is_still_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise SpoolFullError("no room")

    monkeypatch.setattr("yolo_assets.archive.bandwidth.disk.write_atomic", full)
    watch = DiskWatch(tmp_path, tmp_path / "metrics" / "disk.json")
    status = os.statvfs(tmp_path)
    free = iter(range(status.f_bavail, 0, -1000))

    class Shrinking:
        f_frsize, f_blocks = status.f_frsize, status.f_blocks

        @property
        def f_bavail(self) -> int:
            return next(free)

    monkeypatch.setattr("yolo_assets.archive.bandwidth.disk.os.statvfs", lambda _: Shrinking())
    outlooks = [watch.sample(60.0 * minute) for minute in range(1, 30)]
    assert outlooks[5].hours is None and outlooks[-1].hours is not None


def test_work_that_hangs_is_left_behind() -> None:
    hang, stop = threading.Event(), Stop()

    def work() -> None:
        os.kill(os.getpid(), signal.SIGTERM)  # from here: its handler is in place, whatever the machine does
        hang.wait(60)

    begun, before = time.monotonic(), signal.getsignal(signal.SIGTERM)
    with pytest.raises(HungError):
        run_stoppable(work, stop, patience=0.2)
    assert time.monotonic() - begun < 5 and stop.asked and signal.getsignal(signal.SIGTERM) is before
    hang.set()


def test_work_that_ends_gives_its_result_and_its_error() -> None:
    assert run_stoppable(lambda: 5, Stop()) == 5
    with pytest.raises(ZeroDivisionError):
        run_stoppable(lambda: 1 // 0, Stop())
    stop = Stop()

    def work() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        stop.wait(60)

    with pytest.raises(Stopped):
        run_stoppable(work, stop)
