"""kill -9 anywhere in a checkpoint or in the work of a witness: no receipt is lost or twice, no second history."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SEED = 20261127


def run(folder: Path, kills: int) -> None:
    program = [sys.executable, "-m", "yolo_assets_tests.transparency.killed_steps", str(folder), str(kills), str(SEED)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and f"{kills} kills" in done.stdout, done.stderr


def test_checkpoints_and_witness_survive_kills(tmp_path: Path) -> None:
    run(tmp_path, 15)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_checkpoints_and_witness_survive_200_kills(tmp_path: Path) -> None:
    run(tmp_path, 200)
