"""Scanning spool hours: ours and foreign ones, closed or not, and what in them is not to be touched."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.times import Hour
from yolo_assets.spool.files import native_name, portable_name, write_atomic
from yolo_assets.spool.hours import SpoolHour, list_hours, scan
from yolo_assets.spool.records import LONGEST_RECORD, BadRecord, FrameRecord

HOUR = Hour.from_key("20260102_03")


def record(frame: str, model: str = "m") -> bytes:
    return orjson.dumps(
        {"image_path": f"cam1/{HOUR}/{frame}.jpg", "detections": [], "model_version": model, "device_id": "d"}
    )


@pytest.fixture
def hour(tmp_path: Path) -> SpoolHour:
    found = SpoolHour.of(tmp_path, "cam1", HOUR)
    found.path.mkdir(parents=True)
    return found


def age(hour: SpoolHour, at: float) -> None:
    for member in hour.members():
        os.utime(hour.path / member.name, (at, at))


def test_what_is_no_camera_and_no_hour_is_reported_and_the_rest_found(tmp_path: Path) -> None:
    for name in ("cam1/20260102_03", "cam1/20260102_25", "cam1/notes", "c m/20260102_03", "cam2/20260102_04"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "readme.txt").write_text("hello")
    (tmp_path / "cam3").symlink_to(tmp_path / "cam1")
    found = scan(tmp_path)
    assert [hour.name for hour in found.hours] == ["cam1 20260102_03", "cam2 20260102_04"]
    assert {problem.path.name for problem in found.problems} == {"20260102_25", "notes", "c m", "readme.txt", "cam3"}
    assert [hour.name for hour in list_hours(tmp_path, "cam2")] == ["cam2 20260102_04"]
    assert list_hours(tmp_path / "nothing") == []
    with pytest.raises(BadInputError):
        scan(tmp_path / "readme.txt")


def test_members_are_regular_files_and_nothing_else(hour: SpoolHour) -> None:
    for name in ("b.jpg", "a.json", ".hidden", ".sealed", "odd \n name.bin"):
        (hour.path / name).write_bytes(b"x")
    for name in (".archiving.json", ".uploaded", ".uploaded.p2", ".uploaded.members", ".tmp-1-1"):
        (hour.path / name).write_bytes(b"x")
    (hour.path / "folder").mkdir()
    (hour.path / "link.jpg").symlink_to("/etc/passwd")
    os.mkfifo(hour.path / "pipe.jpg")
    assert [member.name for member in hour.members()] == [".hidden", ".sealed", "a.json", "b.jpg", "odd \n name.bin"]
    assert {problem.path.name for problem in hour.oddities()} == {"folder", "link.jpg", "pipe.jpg"}


def test_a_foreign_hour_closes_when_it_is_over_and_quiet(hour: SpoolHour) -> None:
    (hour.path / "a.jpg").write_bytes(b"x")
    end = HOUR.end
    age(hour, (end + timedelta(seconds=100)).timestamp())
    assert not hour.is_closed(end - timedelta(seconds=1), 300)
    assert not hour.is_closed(end + timedelta(seconds=300), 300)  # over, but a file came 200 s ago
    assert hour.is_closed(end + timedelta(seconds=400), 300)
    age(hour, (end + timedelta(days=99)).timestamp())
    assert hour.is_closed(end, 0)  # grace 0 closes every past hour, whatever the clocks of files say
    assert not hour.is_closed(end - timedelta(seconds=1), 0)


def test_a_record_file_of_its_own_wins_over_a_line(hour: SpoolHour) -> None:
    (hour.path / "a.json").write_bytes(record("a", "own"))
    (hour.path / "b.json").write_bytes(b"{not json")
    (hour.path / "d.jpg.json").write_bytes(record("d", "own"))
    lines = [record(name, "line") for name in "abcd"]
    (hour.path / "records.ndjson").write_bytes(b"\n".join([*lines[:2], b"", b"[1]", *lines[2:]]))
    found = list(hour.records())
    good = {r.frame: r.record.model_version for r in found if isinstance(r, FrameRecord)}
    assert good == {"a.jpg": "own", "b.jpg": "line", "c.jpg": "line", "d.jpg": "own"}
    bad = {r.source: r.raw for r in found if isinstance(r, BadRecord)}
    assert bad == {f"cam1/{HOUR}/b.json": b"{not json", f"cam1/{HOUR}/records.ndjson:4": b"[1]"}


def test_an_endless_line_is_reported_and_the_next_one_read(hour: SpoolHour) -> None:
    (hour.path / "records.ndjson").write_bytes(b"x" * (3 * LONGEST_RECORD + 5) + b"\n" + record("a") + b"\n")
    bad, good = hour.records()
    assert isinstance(bad, BadRecord)
    assert len(bad.raw) < 10_000
    assert isinstance(good, FrameRecord)


def test_records_are_never_read_through_a_link(hour: SpoolHour, tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_bytes(record("secret"))
    (hour.path / "a.json").write_bytes(record("a"))
    files = hour.record_files()
    (hour.path / "a.json").unlink()
    (hour.path / "a.json").symlink_to(secret)
    with pytest.raises(OSError):
        files[0].open()


def test_the_fingerprint_follows_the_set(hour: SpoolHour) -> None:
    (hour.path / "a.jpg").write_bytes(b"x")
    age(hour, 1000)
    first = hour.fingerprint()
    (hour.path / ".uploaded").write_bytes(b"markers do not count")
    assert hour.fingerprint() == first
    (hour.path / "b.jpg").write_bytes(b"y")
    assert hour.fingerprint() != first
    (hour.path / "b.jpg").unlink()
    os.utime(hour.path / "a.jpg", (1001, 1001))
    assert hour.fingerprint() != first


@given(st.binary(min_size=1, max_size=60).filter(lambda b: b"/" not in b and b"\0" not in b and b not in (b".", b"..")))
def test_any_file_name_survives_json(raw: bytes) -> None:
    name = os.fsdecode(raw)
    portable = portable_name(name)
    portable.encode("utf-8")
    assert native_name(portable) == name
    if name.isascii() and "\\" not in name:
        assert portable == name


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/etc/passwd", "\\x2e\\x2e\\x2fx", "a\0b", "\\x00"])
def test_a_path_is_no_file_name(name: str) -> None:
    with pytest.raises(BadInputError):
        native_name(name)


def test_an_exclusive_write_never_replaces(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a", b"1", exclusive=True)
    with pytest.raises(FileExistsError):
        write_atomic(tmp_path / "a", b"2", exclusive=True)
    assert (tmp_path / "a").read_bytes() == b"1"
    write_atomic(tmp_path / "a", b"3")
    assert (tmp_path / "a").read_bytes() == b"3"
    assert os.listdir(tmp_path) == ["a"]
