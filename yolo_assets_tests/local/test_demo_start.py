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
from yolo_assets.local.memory import DemoMark, alone, read_mark, take_home, write_mark

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
    wait_for(tmp_path / "first.log", "1/8", first, 60)
    time.sleep(chance.uniform(0.5, 8))
    first.kill()
    first.wait()
    log = tmp_path / "second.log"
    second = start(home, log)
    try:
        wait_for(log, "starts clean: an earlier demo was interrupted at 'a line without a model", second, 60)
        wait_for(log, "3 SIMULATED cameras", second, 90)
        wait_for(log, "2/8", second, 90)
        wait_for(log, "frames labelled", second, 60)
    finally:
        family = psutil.Process(second.pid).children(recursive=True) if second.poll() is None else []
        second.send_signal(signal.SIGINT)
        code = second.wait(60)
    assert code == 130 and "interrupted; run the same command again" in log.read_text()
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive, "a child survived the demo"
