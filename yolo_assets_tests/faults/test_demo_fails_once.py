"""The whole demo, all its processes over stores in which each operation fails once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from yolo_assets.storage.faults import Effect
from yolo_assets_tests.cli.command_line import clean_env
from yolo_assets_tests.support.faulty_stores import FaultLog, FaultOrder, faulty_environment

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("effect", ["before", "after"])
def test_the_demo_succeeds_although_each_operation_fails_once(tmp_path: Path, effect: Effect) -> None:
    log = tmp_path / "faults.log"
    order = FaultOrder(each_once=effect, log=str(log))
    env = faulty_environment(tmp_path / "hook", order, clean_env(tmp_path / "home"))
    command = [sys.executable, "-m", "yolo_assets.cli.main", "demo", "--json"]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-2000:]
    figures = json.loads(done.stdout)
    print(len(FaultLog(log).faults()), "faults;", figures)
    assert {operation for operation, _ in FaultLog(log).faults()} >= {"get", "put_if_absent", "compare_and_swap"}
    assert figures["lost_in_switch"] == 0
