"""A tick of the spool sensor costs what is new, and its memory in Dagster's database stays small."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from yolo_assets.contracts.times import Hour
from yolo_assets.defs.intake import folders as folders_module
from yolo_assets.defs.intake.folders import Folders, SpoolLook
from yolo_assets.defs.intake.memory import Memory, SpoolCursor
from yolo_assets.defs.intake.spool_diff import ClosedHour, find_changes
from yolo_assets.spool.hours import SpoolHour, scan

FIRST = Hour(datetime(2026, 3, 1, tzinfo=UTC))
NOW = FIRST.next(500).start
CAMERAS, HOURS, FILES = 10, 10, 20
LONG_AGO = NOW.timestamp() - 3600


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """Two thousand files of hours that were closed long ago."""
    root = tmp_path / "spool"
    for camera in range(CAMERAS):
        for offset in range(HOURS):
            folder = root / f"cam{camera:02}" / FIRST.next(offset).key
            folder.mkdir(parents=True)
            for number in range(FILES):
                (folder / f"{number:03}.jpg").touch()
            settle(folder)
    return root


def settle(folder: Path) -> None:
    """As if nothing had happened in it for an hour."""
    for file in folder.iterdir():
        os.utime(file, (LONG_AGO, LONG_AGO))
    os.utime(folder, (LONG_AGO, LONG_AGO))


def look(spool: Path, known: Folders) -> SpoolLook:
    return known.look(scan(spool).hours, NOW)


def watched(spool: Path) -> Folders:
    return Folders.of(spool.parent / "cache.json", spool, 300)


def process_ends() -> None:
    folders_module._IN_PROCESS.clear()


def test_an_unchanged_spool_is_read_once(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders_module, "SWEEP_SECONDS", 0.0)
    first = look(spool, watched(spool))
    assert len(first.closed) == CAMERAS * HOURS and first.read >= CAMERAS * HOURS
    listed: list[Path] = []
    real = os.scandir
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", lambda path: listed.append(Path(path)) or real(path))
        again = look(spool, watched(spool))
    assert again.read == 1, "the slow sweep's turn alone"
    assert len([path for path in listed if path.parent.parent == spool]) <= 3
    assert sorted(again.closed, key=str) == sorted(first.closed, key=str)


def test_what_comes_and_goes_is_seen_at_once(spool: Path) -> None:
    before = {(item.camera_id, item.hour): item for item in look(spool, watched(spool)).closed}
    changed = spool / "cam03" / FIRST.key
    (changed / "late.jpg").touch()
    os.utime(changed / "late.jpg", (LONG_AGO, LONG_AGO))
    for file in (spool / "cam04" / FIRST.key).iterdir():
        file.unlink()
    after = {(item.camera_id, item.hour): item for item in look(spool, watched(spool)).closed}
    assert set(before) - set(after) == {("cam04", FIRST)}
    assert [key for key in after if after[key] != before[key]] == [("cam03", FIRST)]


def test_a_file_that_is_rewritten_in_place_is_seen_by_the_sweep(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders_module, "SWEEP_SECONDS", 0.0)
    before = look(spool, watched(spool)).closed
    file = spool / "cam09" / FIRST.next(9).key / "000.jpg"
    file.write_bytes(b"other")
    os.utime(file, (LONG_AGO, LONG_AGO))
    ticks = 0
    while {item.size for item in look(spool, watched(spool)).closed} == {0}:
        ticks += 1
        assert ticks <= CAMERAS * HOURS, "each folder has its turn"
    assert len(before) == CAMERAS * HOURS


def test_the_next_process_reads_nothing_again(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders_module, "SWEEP_SECONDS", 0.0)
    before = look(spool, watched(spool)).closed
    process_ends()
    after = look(spool, watched(spool))
    assert after.read == 1 and sorted(after.closed, key=str) == sorted(before, key=str)
    process_ends()
    (spool.parent / "cache.json").write_text("[1, 300, [[")
    assert len(look(spool, watched(spool)).closed) == CAMERAS * HOURS, "a damaged file is no file"


def test_an_hour_closes_without_a_change_of_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "spool" / "cam01" / FIRST.key
    folder.mkdir(parents=True)
    (folder / "a.jpg").touch()
    last = FIRST.end.timestamp() + 100
    os.utime(folder / "a.jpg", (last, last))
    os.utime(folder, (last, last))
    known, hours = Folders.of(tmp_path / "cache.json", tmp_path / "spool", 300), scan(tmp_path / "spool").hours
    closed = [len(known.look(hours, FIRST.end + timedelta(seconds=after)).closed) for after in (200, 399, 401)]
    assert closed == [0, 0, 1]


def test_what_changed_a_moment_ago_is_read_again(tmp_path: Path) -> None:
    """Two changes within one tick of the file system's clock have one time."""
    folder = tmp_path / "spool" / "cam01" / FIRST.key
    folder.mkdir(parents=True)
    (folder / "a.jpg").touch()
    os.utime(folder / "a.jpg", (LONG_AGO, LONG_AGO))
    known, hours = Folders.of(tmp_path / "cache.json", tmp_path / "spool", 300), scan(tmp_path / "spool").hours
    status = folder.stat()
    assert known.look(hours, NOW).closed[0].frames == 1
    (folder / "b.jpg").touch()
    os.utime(folder / "b.jpg", (LONG_AGO, LONG_AGO))
    os.utime(folder, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert known.look(hours, NOW).closed[0].frames == 2


def test_a_full_spool_is_read_over_several_ticks(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders_module, "READ_SECONDS", 0.0)
    hours = scan(spool).hours
    found = Folders(spool.parent / "x.json", 300).look(hours, NOW)
    assert not found.closed and found.unread == {hour.hour for hour in hours}
    changes = find_changes(found.closed, SpoolCursor(), NOW, 24, found.unread)
    assert not changes.changed, "an hour of which only some cameras were read is not reported"


def test_one_folder_that_cannot_be_read_is_named(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = SpoolHour.members

    def members(hour: SpoolHour) -> list:
        if hour.camera_id == "cam02":
            raise PermissionError(13, "Permission denied", str(hour.path))
        return real(hour)

    monkeypatch.setattr(SpoolHour, "members", members)
    found = Folders(spool.parent / "x.json", 300).look(scan(spool).hours, NOW)
    assert len(found.closed) == (CAMERAS - 1) * HOURS
    assert "cam02" in found.problems[0] and "make it readable" in found.problems[0]


def backlog(hours: int) -> list[ClosedHour]:
    return [
        ClosedHour(f"cam{camera:03}", FIRST.next(offset), "f", f"{camera:06}{offset:06}", 1, 1)
        for offset in range(hours)
        for camera in range(200)
    ]


def test_the_cursor_of_a_backlog_of_weeks_is_small(tmp_path: Path) -> None:
    memory, text = Memory(tmp_path / "memory"), None
    spool = backlog(504)
    for _ in range(3):
        found = find_changes(spool, memory.load(text), NOW, 200)
        text = memory.keep(found.cursor, text)
        assert len(text) < 20_000
    assert not find_changes(spool, memory.load(text), NOW, 200).changed
    assert memory.keep(memory.load(text), text) == text and len(list((tmp_path / "memory").iterdir())) <= 2


def test_a_tick_that_came_to_nothing_is_repeated(tmp_path: Path) -> None:
    """The daemon died after the sensor had written its file, and before its reports were stored."""
    memory, spool = Memory(tmp_path / "memory"), backlog(30)
    before = memory.keep(find_changes(spool, SpoolCursor(), NOW, 10).cursor, None)
    lost = find_changes(spool, memory.load(before), NOW, 10)
    memory.keep(lost.cursor, before)
    again = find_changes(spool, Memory(tmp_path / "memory").load(before), NOW, 10)
    assert [item.hour for item in again.changed] == [item.hour for item in lost.changed]
