"""Runs a program that loads Ultralytics in a process of its own, offline and quiet. No test lives here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import yolo_assets_tests


def run_ultralytics(program: str | None, *arguments: str, folder: Path, seconds: float) -> None:
    """Run it to its end; an error of it fails the test with what it said.

    Args:
        program: path of a module of these tests.
        arguments: of the program.
        folder: where Ultralytics keeps its settings, and where the program runs.
        seconds: that it may take.
    """
    assert program is not None
    environment = os.environ | {
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
        "YOLO_VERBOSE": "false",
        "YOLO_CONFIG_DIR": str(folder),
        "MPLCONFIGDIR": str(folder),
        "PYTHONPATH": str(Path(yolo_assets_tests.__file__).parents[1]),
    }
    done = subprocess.run(
        [sys.executable, program, *arguments],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert done.returncode == 0, f"{program} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
