"""Thirty-two cameras that start together on a small and busy machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from yolo_assets_tests.edge.cameras.camera_box import CameraBox
from yolo_assets_tests.edge.plant import until
from yolo_assets_tests.support.picture_files import saved, scene
from yolo_assets_tests.support.played_file import PlayedFile


@pytest.fixture
def busy() -> Iterator[None]:
    """Every core has four times the work that it can do."""
    spinners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4 * (os.cpu_count() or 1))]
    yield
    for spinner in spinners:
        spinner.kill()
        spinner.wait()


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("busy")
def test_cameras_that_start_together_come_up_without_a_restart(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    (tmp_path / "film.mjpeg").write_bytes(saved(scene(), "JPEG"))
    with ExitStack() as stack:
        cameras = [stack.enter_context(closing(PlayedFile(tmp_path / "film.mjpeg", fps=1))) for _ in range(32)]
        begun = time.monotonic()
        box = stack.enter_context(
            closing(CameraBox(tmp_path, {f"cam{number:02}": {"url": one.url} for number, one in enumerate(cameras)}))
        )
        until(lambda: all(thread.state == "live" for thread in box.threads.values()), 200)
        seconds = time.monotonic() - begun
        record_property("seconds", seconds)
        assert sum(thread.restarts for thread in box.threads.values()) == 0, "a process was killed for starting slowly"
        assert seconds < 60
