"""A root whose receipts have vanished is told from one that is new, by what this machine remembers of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.archive.known import KnownArchives, KnownHour
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.times import Hour
from yolo_assets_tests.cli.command_line import cli

FOREIGN = Path(__file__).parents[1] / "foreign" / "spool"
FIRST = Hour.from_key("20241015_00")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
cameras = st.sampled_from(["cam1", "cam2", "line_A-3"])
camera_hours = st.lists(st.tuples(cameras, st.integers(0, 70)), max_size=30)


@given(known=camera_hours, listed=camera_hours, bounds=st.tuples(st.integers(0, 70), st.integers(1, 70)))
def test_what_is_known_and_not_listed_has_vanished(
    known: list[tuple[str, int]],
    listed: list[tuple[str, int]],
    bounds: tuple[int, int],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    memory = KnownArchives(tmp_path_factory.mktemp("known") / "x", "file:///x")
    half = len(known) // 2
    for some in (known[:half], known[half:], known[:1]):
        memory.note(KnownHour(camera, FIRST.next(hour)) for camera, hour in some)
    names = [ArchiveName(camera, FIRST.next(hour)) for camera, hour in listed]
    gone = [(one.hour, one.camera_id) for one in memory.vanished(names, NOW)]
    expected = {(FIRST.next(hour), camera) for camera, hour in set(known) - set(listed)}
    assert gone == sorted(expected)
    start, end = FIRST.next(bounds[0]).start, FIRST.next(bounds[0] + bounds[1]).start
    some = memory.vanished(names, NOW, start=start, end=end, camera_id="cam2")
    assert {(one.hour, one.camera_id) for one in some} == {
        (hour, camera) for hour, camera in expected if camera == "cam2" and start <= hour.start < end
    }


def test_what_may_be_gone_after_its_retention_is_no_alarm(tmp_path: Path) -> None:
    memory = KnownArchives(tmp_path / "x", "file:///x")
    later = NOW + timedelta(days=1)
    memory.note([KnownHour("cam1", FIRST, later), KnownHour("cam2", FIRST, NOW)])
    assert [one.camera_id for one in memory.vanished([], NOW)] == ["cam1", "cam2"]
    assert memory.vanished([], later) == []
    memory.note([KnownHour("cam3", FIRST.next(), None)])
    assert len(memory.vanished([], later)) == 3, "one of the day was written without retention"


def test_a_memory_that_is_damaged_or_refused_is_no_error(tmp_path: Path) -> None:
    memory = KnownArchives(tmp_path / "x", "file:///x")
    memory.note([KnownHour("cam1", FIRST)])
    (tmp_path / "x" / "2024-10-15.json").write_bytes(b"\xff")
    (tmp_path / "x" / "0000-99-99.json").write_bytes(b"{}")
    assert memory.vanished([], NOW) == []
    (tmp_path / "file").write_text("")
    KnownArchives(tmp_path / "file", "file:///x").note([KnownHour("cam1", FIRST)])


@pytest.fixture
def plant(tmp_path: Path) -> Path:
    shutil.copytree(FOREIGN / "hour_border", tmp_path / "spool")
    done = cli("archive", "run", "--grace", "0", home=tmp_path)
    assert done.returncode == 0, done.stderr
    return tmp_path


RANGE = ("--from", "2024-10-15T14:00Z", "--to", "2024-10-15T16:00Z")


@pytest.mark.parametrize(
    "remove",
    [
        lambda root: [shutil.rmtree(child) for child in root.glob("[!.]*")],
        lambda root: [shutil.rmtree(root / name) for name in ("receipts", "archives", "index")],
    ],
    ids=["everything", "what-expires"],
)
def test_an_emptied_root_is_told_loudly(plant: Path, remove: Callable[[Path], object]) -> None:
    def ran(*command: str) -> CompletedProcess[str]:
        return cli(*command, home=plant)

    assert ran("archive", "ls").returncode == 0
    assert ran("catalog", "rebuild").returncode == 0
    remove(plant / "archive")
    (plant / "archive" / "receipts").mkdir(exist_ok=True)
    commands = [
        ("archive", "ls"),
        ("archive", "ls", "--json"),
        ("archive", "ls", "--camera", "late"),
        ("archive", "ls", "--date", "2024-10-15"),
        ("restore", *RANGE, "--out", str(plant / "out")),
        ("restore", *RANGE, "--camera", "late", "--dry-run", "--out", str(plant / "out")),
        ("catalog", "rebuild"),
        ("catalog", "rebuild"),
    ]
    for command in commands:
        done = ran(*command)
        assert done.returncode == 1, (command, done)
        assert "RECEIPTS HAVE VANISHED" in done.stderr and "late 20241015_14 and 1 more" in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
    assert json.loads(ran("archive", "ls", "--json").stdout) == []
    assert ran("archive", "ls", "--date", "2024-10-16").returncode == 0, "of that day nothing is known"
    (memory,) = (plant / "known-archives").iterdir()
    shutil.rmtree(memory)
    assert ran("archive", "ls").returncode == 0, "forgotten on purpose"


def test_one_receipt_that_vanished_is_named_and_a_new_root_is_not(plant: Path) -> None:
    (gone,) = (plant / "archive").rglob("yolo_late_20241015_15*.receipt.json")
    shutil.rmtree(gone.parent)
    done = cli("archive", "ls", home=plant)
    assert done.returncode == 1 and "late 20241015_15 had one" in done.stderr
    assert "yolo_late_20241015_14" in done.stdout, "what is there is listed"
    (plant / "new").mkdir()
    new = cli("archive", "ls", "--archive", str(plant / "new"), home=plant)
    assert "VANISHED" not in new.stderr
