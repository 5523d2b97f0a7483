"""Which lot a frame gets: by its capture time, whatever waits, whenever the change comes, whatever is killed."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.frames import FrameId
from yolo_assets.edge.lots import book as book_module
from yolo_assets.edge.lots.book import Lot, LotBook

START = datetime(2026, 1, 2, 3, 59, 59, tzinfo=UTC)
MS = timedelta(milliseconds=1)


class Camera:
    """A camera whose time a test sets."""

    def __init__(self, path: Path) -> None:
        self.time = START
        self.path = path / "lots.json"
        self.book = self.open()
        self.number = 0

    def open(self) -> LotBook:
        self.book = LotBook([("cam1", lambda: self.time)], self.path)
        return self.book

    def frame(self, at: datetime) -> FrameId:
        self.number += 1
        return FrameId("cam1", self.number, at)

    def batch(self, frame: FrameId) -> str | None:
        lot = self.book.lot_of(frame)
        return lot.batch_id if lot else None


@pytest.fixture
def camera(tmp_path: Path) -> Camera:
    return Camera(tmp_path)


def test_a_change_in_mid_second_at_the_border_of_an_hour(camera: Camera) -> None:
    camera.book.change("cam1", Lot(batch_id="A"), "plc")
    border = START + timedelta(seconds=1)
    camera.time = border + 500 * MS
    answer = camera.book.change("cam1", Lot(batch_id="B", part_id="7"), "plc", at=border)
    assert answer.change.at == border and not answer.late_s
    waiting = [camera.frame(border + offset * MS) for offset in (-1, 0, 1, 400)]  # captured before it was said
    assert [camera.batch(frame) for frame in waiting] == ["A", "B", "B", "B"]
    camera.time = border + timedelta(seconds=2, microseconds=345_678)
    begin = camera.book.change("cam1", Lot(batch_id="C"), "plc").change.at
    assert begin == border + timedelta(seconds=2, milliseconds=346)  # frames carry whole milliseconds, cut off
    assert camera.batch(camera.frame(begin - MS)) == "B" and camera.batch(camera.frame(begin)) == "C"


def test_a_change_before_frames_with_a_record_begins_after_them_and_says_so(camera: Camera) -> None:
    camera.book.change("cam1", Lot(batch_id="A"), "plc")
    camera.time = START + timedelta(seconds=1)
    assert camera.batch(camera.frame(START + 900 * MS)) == "A"
    answer = camera.book.change("cam1", Lot(batch_id="B"), "plc", at=START + 500 * MS)
    assert (answer.change.at, answer.late_s) == (START + 901 * MS, 0.401)
    assert camera.batch(camera.frame(START + 901 * MS)) == "B"


def test_a_change_that_is_planned_holds_from_its_moment_on_also_after_a_restart(camera: Camera) -> None:
    camera.book.change("cam1", Lot(batch_id="A"), "plc")
    camera.book.change("cam1", Lot(batch_id="B"), "plc", at=START + timedelta(hours=1))
    camera.open()
    current = camera.book.current("cam1")
    assert current is not None and current.batch_id == "A"
    assert [change.batch_id for change in camera.book.planned("cam1")] == ["B"]
    assert camera.batch(camera.frame(START + timedelta(minutes=59))) == "A"
    assert camera.batch(camera.frame(START + timedelta(minutes=60))) == "B"


def test_a_frame_of_the_change_waits_until_the_change_is_on_disk(
    camera: Camera, monkeypatch: pytest.MonkeyPatch
) -> None:
    camera.book.change("cam1", Lot(batch_id="A"), "plc")
    writes, go = threading.Event(), threading.Event()
    real = book_module.write_atomic

    def slowly(path: Path, data: bytes) -> None:
        writes.set()
        assert go.wait(10)
        real(path, data)

    monkeypatch.setattr(book_module, "write_atomic", slowly)
    camera.time = START + timedelta(seconds=1)
    change = threading.Thread(target=camera.book.change, args=("cam1", Lot(batch_id="B"), "plc"))
    change.start()
    assert writes.wait(10)
    assert camera.batch(camera.frame(camera.time - MS)) == "A"  # an earlier frame does not wait
    found: list[str | None] = []
    late = camera.frame(camera.time + MS)
    reader = threading.Thread(target=lambda: found.append(camera.batch(late)))
    reader.start()
    time.sleep(0.1)
    assert not found
    go.set()
    reader.join(10)
    change.join(10)
    assert found == ["B"]


def test_a_disk_that_does_not_take_it_changes_nothing(camera: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    camera.book.change("cam1", Lot(batch_id="A"), "plc")

    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr(book_module, "write_atomic", full)
        with pytest.raises(UserError, match=r"not changed: .*No space left"):
            camera.book.change("cam1", Lot(batch_id="B"), "plc")
    assert camera.batch(camera.frame(START + MS)) == "A"


def test_a_camera_whose_time_goes_back_keeps_what_is_in_front_of_it(camera: Camera) -> None:
    camera.book.change("cam1", Lot(batch_id="A"), "plc")
    camera.time = START + timedelta(minutes=10)
    camera.book.change("cam1", Lot(batch_id="B"), "plc")
    assert camera.batch(camera.frame(camera.time + MS)) == "B"
    camera.time = START + timedelta(minutes=5)  # its clock was set back
    assert camera.batch(camera.frame(camera.time)) == "B"
    camera.open()
    assert camera.batch(camera.frame(camera.time + MS)) == "B"


def test_a_recording_that_begins_again_keeps_what_was_in_front_last(camera: Camera) -> None:
    camera.book.change("cam1", Lot(batch_id="A"), "plc")
    camera.time = START + timedelta(minutes=10)
    camera.book.change("cam1", Lot(batch_id="B"), "plc")
    camera.book.change("cam1", Lot(batch_id="C"), "plc", at=camera.time + timedelta(minutes=5))
    camera.time = START
    camera.open()
    assert camera.batch(camera.frame(START + MS)) == "B"
    assert camera.batch(camera.frame(START + timedelta(minutes=15))) == "C"


def test_what_was_kept_by_a_broker_never_undoes_a_newer_change(camera: Camera) -> None:
    a, b, c = (Lot(batch_id=name) for name in "ABC")
    camera.book.change_by_broker("cam1", a, "broker", None, kept=False)
    camera.book.change("cam1", b, "plc")
    camera.open()
    assert camera.book.change_by_broker("cam1", a, "broker", None, kept=True) is None
    assert camera.batch(camera.frame(START + MS)) == "B"
    camera.book.change_by_broker("cam1", c, "broker", None, kept=True)  # came while the agent was off
    assert camera.batch(camera.frame(START + 2 * MS)) == "C"


@pytest.mark.parametrize("hours", [-2, 25])
def test_a_moment_too_far_away_is_refused(camera: Camera, hours: int) -> None:
    with pytest.raises(BadInputError, match="too far from"):
        camera.book.change("cam1", Lot(batch_id="A"), "plc", at=START + timedelta(hours=hours))


@pytest.mark.parametrize("name", ["", " A", "A\n", "A\x00", "A\x1b[2J", "x" * 129, "\u202e" + "A"])
def test_names_that_cannot_be_shown_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="printable"):
        Lot(batch_id=name)


def test_a_damaged_file_is_kept_and_the_book_begins_anew(camera: Camera) -> None:
    camera.path.write_bytes(b"{")
    assert camera.open().current("cam1") is None
    assert camera.path.with_suffix(".damaged").read_bytes() == b"{"


def test_many_parts_leave_a_small_file(camera: Camera) -> None:
    for number in range(700):
        camera.time += timedelta(seconds=1)
        camera.book.change("cam1", Lot(batch_id="A", part_id=str(number)), "plc")
        camera.batch(camera.frame(camera.time + MS))
    assert len(orjson.loads(camera.path.read_bytes())["cameras"]["cam1"]["changes"]) < 610


@given(st.lists(st.tuples(st.integers(0, 40), st.booleans()), min_size=1, max_size=40), st.randoms())
def test_every_frame_has_the_lot_that_its_change_was_confirmed_for(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, bool]], chance: random.Random
) -> None:
    """Random frames and changes; frames are asked for in another order than they were captured."""
    camera = Camera(tmp_path_factory.mktemp("lots"))
    confirmed: list[tuple[datetime, str]] = []
    waiting: list[FrameId] = []
    given_lots: dict[FrameId, str | None] = {}

    def ask(count: int) -> None:
        ready = sorted(waiting[:count], key=lambda frame: chance.random())
        for frame in ready:
            given_lots[frame] = camera.batch(frame)
        del waiting[:count]

    for number, (step, is_change) in enumerate(steps):
        camera.time += step * MS
        if is_change:
            done = camera.book.change(
                "cam1", Lot(batch_id=str(number)), "plc", at=camera.time - chance.randint(0, 30) * MS
            )
            confirmed = [(at, name) for at, name in confirmed if at != done.change.at]
            confirmed.append((done.change.at, str(number)))
        else:
            waiting.append(camera.frame(camera.time))
        if chance.random() < 0.5:
            ask(chance.randint(0, len(waiting)))
    ask(len(waiting))
    for frame, batch in given_lots.items():
        truth = [name for at, name in sorted(confirmed, key=lambda each: each[0]) if at <= frame.captured_at]
        assert batch == (truth[-1] if truth else None)


def test_kills_at_any_moment_never_lose_a_confirmed_change(tmp_path: Path) -> None:
    """A process confirms changes through a pipe and is killed; the next run has the last one confirmed, or a later."""
    chance = random.Random(5)
    last = -1
    for _ in range(6):
        read_end, write_end = os.pipe()
        child = os.fork()
        if not child:
            try:
                camera = Camera(tmp_path)
                number = last
                while True:
                    number += 1
                    camera.time = START + number * MS
                    camera.book.change("cam1", Lot(batch_id=str(number)), "plc")
                    os.write(write_end, f"{number}\n".encode())
            finally:
                os._exit(1)
        os.close(write_end)
        with os.fdopen(read_end) as confirmed:
            seen = confirmed.readline()
            time.sleep(chance.uniform(0.0, 0.1))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            lines = [seen, *confirmed.read().splitlines()]
        camera = Camera(tmp_path)
        current = camera.open().lot_of(camera.frame(START + timedelta(minutes=30)))
        assert current is not None and current.batch_id is not None
        assert int(lines[-1]) <= int(current.batch_id) <= int(lines[-1]) + 1
        last = int(current.batch_id)
