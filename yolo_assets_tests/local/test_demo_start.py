"""The demo takes only what is its own, says how it starts, and starts clean after a kill at any moment."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from yolo_assets.contracts.errors import UsageError, UserError
from yolo_assets.contracts.settings import Settings
from yolo_assets.local.demo.home import DemoMark, alone, read_mark, take_home, write_mark
from yolo_assets.local.demo.loop import DemoPlan, Loop
from yolo_assets.local.demo.screen import Screen

SEED = 20261121


def test_a_new_folder_is_taken(tmp_path: Path) -> None:
    home = tmp_path / "var"
    assert "new folder" in take_home(home)
    assert read_mark(home) == DemoMark(step="start")


def test_what_no_demo_made_is_never_touched(tmp_path: Path) -> None:
    precious = tmp_path / "spool" / "frame.jpg"
    precious.parent.mkdir()
    precious.write_bytes(b"evidence")
    with pytest.raises(UsageError, match="YOLO_ASSETS_HOME"):
        take_home(tmp_path)
    assert precious.read_bytes() == b"evidence" and sorted(p.name for p in tmp_path.iterdir()) == ["spool"]


@pytest.mark.parametrize(("finished", "word"), [(True, "finished"), (False, "interrupted at 'the hot reload'")])
def test_an_earlier_demo_is_replaced_and_it_says_which(finished: bool, word: str, tmp_path: Path) -> None:
    take_home(tmp_path)
    write_mark(tmp_path, DemoMark(finished=finished, step="the hot reload"))
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "old.jpg").write_bytes(b"old")
    said = take_home(tmp_path)
    assert "starts clean" in said and word in said
    assert [path.name for path in tmp_path.iterdir()] == ["demo.json"]


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    home = tmp_path / "var"
    with alone(home), pytest.raises(UserError, match="another demo or make up"), alone(home):
        pass
    with alone(home):
        pass


def test_from_outside_it_is_one_line_and_exit_1_or_2(tmp_path: Path) -> None:
    foreign, home = tmp_path / "foreign", tmp_path / "var"
    foreign.mkdir()
    (foreign / "evidence").write_bytes(b"evidence")
    take_home(home)
    before = (home / "demo.json").read_bytes()
    with alone(home):
        for folder, code, words in (
            (foreign, 2, "is not empty and no demo made it"),
            (home, 1, "another demo or make up"),
        ):
            log = tmp_path / "log"
            assert start(folder, log).wait(60) == code
            assert [line for line in log.read_text().splitlines() if line.startswith("error: ") and words in line]
            assert "Traceback" not in log.read_text()
            log.unlink()
    assert [path.name for path in foreign.iterdir()] == ["evidence"]
    assert (home / "demo.json").read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"finished": "perhaps"}', b"\xff"])
def test_an_unreadable_marker_file_deletes_nothing(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "demo.json").write_bytes(content)
    (tmp_path / "evidence").write_bytes(b"evidence")
    with pytest.raises(UserError, match=r"demo\.json"):
        take_home(tmp_path)
    assert (tmp_path / "evidence").read_bytes() == b"evidence"


def test_killed_while_it_clears_the_home_is_still_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take_home(tmp_path)
    write_mark(tmp_path, DemoMark(step="the hot reload"))
    for name in ("archive", "spool", "store"):
        (tmp_path / name).mkdir()
    removed: list[Path] = []

    def power_cut(path: Path) -> None:
        if removed:
            raise SystemExit
        removed.append(path)
        path.rmdir()

    with monkeypatch.context() as patch:
        patch.setattr("yolo_assets.local.demo.home.shutil.rmtree", power_cut)
        with pytest.raises(SystemExit):
            take_home(tmp_path)
    assert "interrupted at 'the hot reload'" in take_home(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["demo.json"]


def test_ctrl_c_while_a_sensor_looks_is_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dagster raises an error of its own then, which the command line would not know."""
    import dagster as dg

    from yolo_assets.local.driver import Graph

    @dg.sensor(target="*")
    def interrupted() -> None:
        raise dg.DagsterExecutionInterruptedError

    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("YOLO_ASSETS_HOME", str(tmp_path))
    with Graph() as graph:
        monkeypatch.setattr(graph, "_defs", dg.Definitions(sensors=[interrupted]))
        with pytest.raises(KeyboardInterrupt):
            graph.look()


def start(home: Path, log: Path) -> subprocess.Popen[bytes]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("YOLO_ASSETS_", "DAGSTER_"))}
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "yolo_assets.cli.main", "demo"],
            env={**env, "YOLO_ASSETS_HOME": str(home)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def wait_for(log: Path, text: str, process: subprocess.Popen[bytes], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while text not in log.read_text():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


@pytest.mark.timeout(240)
def test_killed_and_started_again_it_starts_clean_and_gets_on(tmp_path: Path) -> None:
    home, chance = tmp_path / "var", random.Random(SEED)
    # Somewhere in the recording of the first hour and in what the graph does with it.
    first = start(home, tmp_path / "first.log")
    wait_for(tmp_path / "first.log", "1/8", first, 180)
    time.sleep(chance.uniform(0.5, 8))
    family = psutil.Process(first.pid).children(recursive=True)
    first.kill()
    first.wait()
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive, "a child survived the kill"
    log = tmp_path / "second.log"
    second = start(home, log)
    try:
        wait_for(log, "starts clean: an earlier demo was interrupted at 'a line without a model", second, 150)
        wait_for(log, "3 SIMULATED cameras", second, 90)
        wait_for(log, "2/8", second, 90)
        wait_for(log, "frames labelled", second, 150)
    finally:
        family = psutil.Process(second.pid).children(recursive=True) if second.poll() is None else []
        second.send_signal(signal.SIGINT)
        code = second.wait(150)
    assert code == 130 and "interrupted; run the same command again" in log.read_text()
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive, "a child survived the demo"


def test_an_hour_without_frames_ends_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that is too busy the agent may process nothing in an hour; then there is nothing to label."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    loop = Loop.open(Settings.from_env({"YOLO_ASSETS_HOME": str(tmp_path)}), DemoPlan.now(), Screen())
    monkeypatch.setattr(loop.graph, "run", lambda *_, **__: {"annotation_batch": {"summary": "no frame"}})
    with pytest.raises(UserError, match="nothing to label: this machine was too busy"):
        loop.ask_and_label(10, "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z")
