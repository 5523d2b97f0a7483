"""The demo, and what it consists of, in a network namespace without a route: nothing tries to leave this machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from yolo_assets_tests.cli.command_line import clean_env
from yolo_assets_tests.edge.test_no_egress import needs_namespace
from yolo_assets_tests.support.no_route import nothing_left

pytestmark = needs_namespace
OURS = f"{sys.executable} -m yolo_assets.cli.main"
PARTS = f"""
{OURS} --help
{OURS} simulate --out $YOLO_ASSETS_HOME/spool --cameras 1 --hours 1 --fps 0.01 --json
{OURS} archive run --json
{OURS} catalog rebuild --json
{sys.executable} -c "from yolo_assets.definitions import defs; defs().get_repository_def()"
"""


def in_namespace(tmp_path: Path, seconds: float, *command: str) -> tuple[dict[str, Any], str]:
    """What the witnesses found, and what the command printed."""
    report = tmp_path / "report.json"
    box = ["unshare", "-rn", sys.executable, "-m", "yolo_assets_tests.support.no_route", str(report), *command]
    env = {**clean_env(tmp_path / "home"), "YOLO_ASSETS_GRACE_SECONDS": "0"}
    done = subprocess.run(box, env=env, capture_output=True, text=True, check=False, timeout=seconds)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(report.read_text())
    assert found["exit"] == 0, done.stderr[-3000:] + done.stdout[-2000:]
    return found, done.stdout


def test_no_part_of_the_demo_looks_for_a_way_out(tmp_path: Path) -> None:
    found, _ = in_namespace(tmp_path, 200, "bash", "-ec", PARTS)
    nothing_left(found)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_the_demo_needs_no_network(tmp_path: Path) -> None:
    """`make demo` once everything is installed."""
    found, printed = in_namespace(tmp_path, 3000, *OURS.split(), "demo", "--json")
    nothing_left(found)
    figures = json.loads(printed)
    print(figures)
    assert figures["lost_in_switch"] == 0
