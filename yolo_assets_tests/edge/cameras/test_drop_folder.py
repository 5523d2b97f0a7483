"""Folders into which a machine drops pictures: each is read once, whole, in order, whatever is killed meanwhile."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from yolo_assets.contracts.times import format_time, utc_now
from yolo_assets.edge.cameras import drop_folder, drop_journal
from yolo_assets.edge.cameras.drop_folder import DropFolderSource
from yolo_assets.edge.cameras.drop_journal import DropJournal
from yolo_assets.edge.cameras.source import SourceError
from yolo_assets.edge.config.cameras import DropFolderCamera
from yolo_assets.edge.types import Capture
from yolo_assets_tests.edge.cameras.dropping_machine import DroppingMachine
from yolo_assets_tests.edge.plant import AgentProcess, Plant, until

JPEG = cv2.imencode(".jpg", np.full((30, 40, 3), 90, np.uint8))[1].tobytes()
LONG_AGO = datetime(2020, 5, 6, 7, 8, 9, tzinfo=UTC)


class Drops:
    """A drop folder with its source, used as the agent uses it, in this process."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.folder, self._root = root / "drops", root
        self.folder.mkdir(exist_ok=True)
        section = {"kind": "drop_folder", "camera_id": "cam1", "path": self.folder, "settle_s": 0, "poll_s": 0.02}
        self._section = DropFolderCamera.model_validate(section | options)
        self.restart()

    def restart(self) -> None:
        self.journal = DropJournal(self._root / "state" / "cam1.ndjson", self._root / "spool", "cam1")
        self.source = DropFolderSource(self._section, utc_now, self.journal)

    def drop(self, name: str, data: bytes = JPEG, at: datetime | None = None) -> Path:
        path = self.folder / name
        path.write_bytes(data)
        if at is not None:
            os.utime(path, (at.timestamp(), at.timestamp()))
        return path

    def read(
        self,
        done: Callable[[list[Capture]], bool] | None = None,
        outcome: str | None = "processed",
        seconds: float = 20,
    ) -> list[Capture]:
        """Every capture until ``done``, else until there is nothing new; all with one outcome, or with none."""
        stop, captures, end = Event(), list[Capture](), time.monotonic() + seconds
        for capture in self.source.captures(stop):
            if capture.origin is not None:
                captures.append(capture)
                if outcome is not None:
                    capture.origin.settled(outcome if capture.image is not None else "unreadable")
            assert time.monotonic() < end, captures
            if done(captures) if done else capture.quiet is not None:
                stop.set()
        return captures

    def left(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if path.is_file())

    def in_folder(self, name: str) -> list[str]:
        return sorted(path.name for path in (self.folder / name).glob("*/*"))


def names(captures: list[Capture]) -> list[str]:
    return [capture.origin.name for capture in captures if capture.origin is not None]


@pytest.mark.parametrize("after", ["move", "keep", "remove"])
def test_each_file_is_read_once_in_the_order_of_time_also_after_a_restart(tmp_path: Path, after: str) -> None:
    drops = Drops(tmp_path, after=after)
    for place, name in enumerate(["c.jpg", "a.jpg", "b.png"]):
        data = cv2.imencode(Path(name).suffix, np.zeros((20, 30, 3), np.uint8))[1].tobytes()
        drops.drop(name, data, LONG_AGO + timedelta(seconds=place))
    captures = drops.read()
    assert names(captures) == ["c.jpg", "a.jpg", "b.png"]
    assert [capture.captured_at for capture in captures] == [LONG_AGO + timedelta(seconds=n) for n in range(3)]
    assert drops.left() == (["a.jpg", "b.png", "c.jpg"] if after == "keep" else [])
    assert drops.in_folder("done") == (["a.jpg", "b.png", "c.jpg"] if after == "move" else [])
    drops.restart()
    drops.drop("d.jpg")
    drops.drop("c.jpg", JPEG + b"\0")  # the name is used again
    assert sorted(names(drops.read())) == ["c.jpg", "d.jpg"]
    drops.restart()
    assert drops.read() == []
    if after == "move":
        assert drops.in_folder("done") == ["a.jpg", "b.png", "c.jpg", "c_1.jpg", "d.jpg"]


def test_a_file_is_read_only_when_it_is_complete(tmp_path: Path) -> None:
    drops = Drops(tmp_path, settle_s=0.5)
    slow = drops.drop("slow.jpg", JPEG[:200])
    begun = time.monotonic()

    def grow(captures: list[Capture]) -> bool:
        if slow.exists() and slow.stat().st_size < len(JPEG) and time.monotonic() - begun > 0.2:
            slow.write_bytes(JPEG)
        return bool(captures)

    captures = drops.read(grow)
    assert names(captures) == ["slow.jpg"] and captures[0].image is not None
    assert time.monotonic() - begun > 0.7, "it was read before it had settled"


def test_foreign_and_damaged_files_stop_nothing_and_are_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(drop_folder, "_SECOND_TRY_S", 0.5)
    drops = Drops(tmp_path)
    drops.drop("report.txt", b"all good")
    drops.drop(".hidden.jpg")
    drops.drop("empty.jpg", b"")
    drops.drop("cut.jpg", JPEG[:-40])
    drops.drop("late.jpg", JPEG[:-40])
    drops.drop("good.jpg")
    begun = time.monotonic()

    def finish_late(captures: list[Capture]) -> bool:
        if "good.jpg" in names(captures) and "late.jpg" in drops.left() and time.monotonic() - begun > 0.1:
            drops.drop("late.jpg")
        return len(captures) == 4

    captures = drops.read(finish_late)
    assert {capture.origin.name: capture.image is not None for capture in captures if capture.origin} == {
        "good.jpg": True,
        "late.jpg": True,
        "empty.jpg": False,
        "cut.jpg": False,
    }
    assert drops.left() == [".hidden.jpg", "report.txt"] and drops.in_folder("rejected") == ["cut.jpg", "empty.jpg"]
    facts = drops.source.facts()
    assert (facts["rejected_files"], facts["other_files"]) == (2, 1) and facts["waiting_files"] == 0
    drops.read()
    assert len([record for record in caplog.records if "report.txt" in record.message]) == 1


def test_what_a_full_disk_refused_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drop_folder, "_TROUBLE_PAUSE_S", 0.1)
    drops = Drops(tmp_path)
    drops.drop("a.jpg")
    assert len(drops.read(lambda captures: len(captures) == 3, outcome="disk_full")) == 3
    assert drops.left() == ["a.jpg"]
    assert names(drops.read()) == ["a.jpg"] and drops.in_folder("done") == ["a.jpg"]


def test_what_a_kill_left_open_is_judged_by_the_spool(tmp_path: Path) -> None:
    drops = Drops(tmp_path)
    drops.drop("a.jpg", at=LONG_AGO)
    drops.drop("b.jpg", at=LONG_AGO)
    recorded, lost = drops.read(outcome=None)
    hour = tmp_path / "spool" / "cam1" / "20200506_07"
    hour.mkdir(parents=True)
    record = {"source_file": names([recorded])[0], "captured_at": format_time(recorded.captured_at)}
    other = {"source_file": names([lost])[0], "captured_at": "2020-05-06T07:00:00.000Z"}  # of another day's file
    (hour / "records.ndjson").write_text(f"{json.dumps(record)}\n{json.dumps(other)}\n" + '{"source_file":"b')
    drops.restart()
    assert names(drops.read()) == ["b.jpg"] and drops.in_folder("done") == ["a.jpg", "b.jpg"]


def test_a_full_disk_below_the_journal_loses_no_file(tmp_path: Path) -> None:
    drops = Drops(tmp_path)
    drops.drop("a.jpg")
    journal = tmp_path / "state" / "cam1.ndjson"
    journal.unlink()
    journal.mkdir()  # nothing can be written there
    for _ in range(2):
        with pytest.raises(SourceError, match="cannot write the journal"):
            drops.read()
    journal.rmdir()
    assert names(drops.read()) == ["a.jpg"] and drops.in_folder("done") == ["a.jpg"]


@pytest.mark.parametrize("year", [1970, 2090])
def test_times_that_cannot_be_are_not_taken(tmp_path: Path, year: int) -> None:
    drops = Drops(tmp_path)
    drops.drop("a.jpg", at=datetime(year, 1, 2, tzinfo=UTC))
    drops.drop("b.jpg", at=datetime(year, 1, 2, tzinfo=UTC))
    captures = drops.read()
    assert all(abs(capture.captured_at - utc_now()) < timedelta(minutes=1) for capture in captures)
    assert len({capture.captured_at for capture in captures}) == 2, "no two have the same time"
    assert drops.source.facts()["times_not_taken"] == 2


def test_the_time_of_exif_with_its_zone_or_the_configured_one(tmp_path: Path) -> None:
    drops = Drops(tmp_path, time="exif", timezone="Asia/Shanghai")
    for name, zone in (("named.jpg", "+02:00"), ("unnamed.jpg", None), ("unnamed.png", None)):
        exif = Image.Exif()
        exif[0x0112] = 1
        exif.get_ifd(0x8769)[0x9003] = "2024:03:04 12:00:00"
        exif.get_ifd(0x8769)[0x9291] = "25"
        if zone:
            exif.get_ifd(0x8769)[0x9011] = zone
        Image.new("RGB", (40, 30)).save(drops.folder / name, exif=exif)
    drops.drop("without.jpg")
    found = {capture.origin.name: capture.captured_at for capture in drops.read() if capture.origin is not None}
    assert found["named.jpg"] == datetime(2024, 3, 4, 10, 0, 0, 250_000, UTC)
    shanghai = {found["unnamed.jpg"], found["unnamed.png"]}
    assert shanghai == {datetime(2024, 3, 4, 4, 0, 0, milliseconds, UTC) for milliseconds in (250_000, 251_000)}
    assert utc_now() - found["without.jpg"] < timedelta(minutes=1)


def test_a_folder_that_is_away_is_an_error_that_may_pass(tmp_path: Path) -> None:
    drops = Drops(tmp_path)
    drops.folder.rename(tmp_path / "elsewhere")
    with pytest.raises(SourceError, match="cannot list the folder"):
        drops.read()
    (tmp_path / "elsewhere").rename(drops.folder)
    drops.drop("a.jpg")
    assert names(drops.read()) == ["a.jpg"]


def test_the_journal_stays_as_small_as_what_lies_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drop_journal, "_SPARE_LINES", 30)
    drops = Drops(tmp_path, after="keep")
    for _ in range(4):
        for number in range(40):
            drops.drop(f"{number}.jpg")
        assert len(drops.read()) == 40
        for path in drops.folder.iterdir():
            path.unlink()
        drops.read()
    assert (tmp_path / "state" / "cam1.ndjson").stat().st_size < 20_000 and not drops.journal.files


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kills", [1, pytest.param(8, marks=pytest.mark.soak)])
def test_no_frame_twice_and_none_lost_when_machine_and_agent_are_killed(tmp_path: Path, kills: int) -> None:
    plant = Plant(tmp_path)
    plant.register("1")
    plant.promote("1")
    folder = tmp_path / "drops"
    folder.mkdir()
    camera = {"kind": "drop_folder", "camera_id": "cam1", "path": str(folder), "settle_s": 0.3, "poll_s": 0.05}
    config = plant.config_file([camera], sampling={"normal_every": 1})
    agent, dropped, first = AgentProcess(config), list[str](), 0
    try:
        for _ in range(kills):
            machine = DroppingMachine(folder, first, 100, 0.06)
            dropped += [machine.next() for _ in range(12)]
            os.kill(agent.process.pid, signal.SIGKILL)
            agent.process.wait()
            dropped += [machine.next() for _ in range(6)]
            agent = AgentProcess(config)
            dropped += [machine.next() for _ in range(6)]
            machine.kill()  # in the middle of the next one
            first += 100
        until(lambda: not set(dropped) & {path.name for path in folder.iterdir()}, 90)
        status = agent.wait_for(lambda status: status["cameras"]["cam1"]["state"] == "waiting")
        assert status["ready"] and status["cameras"]["cam1"]["balanced"]
    finally:
        agent.stop()
    found = Counter(record["source_file"] for record in plant.records())
    assert {name: found[name] for name in dropped} == dict.fromkeys(dropped, 1)
    assert set(found) - set(dropped) <= {f"part_{number:05}.jpg" for number in range(first)}, "whole before the kill"
    assert max(found.values()) == 1
    assert set(dropped) <= {path.name for path in (folder / "done").glob("*/*")}


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_a_hundred_thousand_files_do_not_take_the_processor(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    drops = Drops(tmp_path, after="keep", poll_s=0.5)
    moment = utc_now()
    for number in range(100_000):
        drops.drop(f"{number:06}.jpg", b"x")
        status = (drops.folder / f"{number:06}.jpg").stat()
        read = drop_folder.ReadFile(1, status.st_mtime_ns, moment, done=True)
        drops.journal.files[f"{number:06}.jpg"] = read
    drops.read()
    stop, begun, cpu = Event(), time.monotonic(), time.process_time()
    for number, _ in enumerate(drops.source.captures(stop)):
        drops.drop(f"new_{number}.txt", b"x")  # the folder changes all the time
        if time.monotonic() - begun > 20:
            stop.set()
    share = (time.process_time() - cpu) / (time.monotonic() - begun)
    record_property("share of a core", share)
    assert share < 0.1
