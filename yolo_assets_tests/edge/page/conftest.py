"""A real browser in front of a real agent with two cameras whose boxes move."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from yolo_assets_tests.edge.plant import AgentProcess, Plant

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OpenPage = Callable[..., Any]
"""``open_page(url="…", width=…, height=…, scheme="dark", headers={…}, locale="zh-CN")`` gives a Playwright page."""


def moving_blobs(folder: Path, count: int = 16, width: int = 480, height: int = 360) -> Path:
    """Pictures of a red and a green blob that go round: the next is never where the last was."""
    folder.mkdir()
    for number in range(count):
        frame = np.full((height, width, 3), 40, np.uint8)
        turn = 2 * np.pi * number / count
        for phase, colour in ((0.0, (40, 40, 255)), (np.pi, (40, 255, 40))):
            x = int(width / 2 + width / 3 * np.cos(turn + phase))
            y = int(height / 2 + height / 4 * np.sin(turn + phase))
            cv2.rectangle(frame, (x - 26, y - 22), (x + 26, y + 22), colour, cv2.FILLED)
        cv2.imwrite(str(folder / f"{number:03d}.png"), frame)
    return folder


def camera(name: str, folder: Path, **options: Any) -> dict[str, Any]:
    """A folder of pictures that is shown for ever, as a camera."""
    return {"kind": "folder", "camera_id": name, "path": str(folder), "loop": True, "pace": "realtime"} | options


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Plant, AgentProcess]]:
    """An agent that serves version 1; version 2 is registered and not released."""
    plant = Plant(tmp_path_factory.mktemp("plant"))
    for version in "12":
        plant.register(version)
    plant.promote("1")
    blobs = moving_blobs(plant.root / "blobs")
    alarm = {"name": "crack_seen", "classes": ["crack"], "cameras": ["cam2"], "severity": "critical"}
    cameras = [camera("cam1", blobs, fps=8), camera("cam2", blobs, fps=5)]
    agent = AgentProcess(plant.config_file(cameras, alarms=[alarm]))
    try:
        agent.wait_for(lambda status: status["ready"])
        yield plant, agent
    finally:
        agent.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium of the system."""
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("CI must have a Chromium")
        pytest.skip("no Chromium on this machine")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[OpenPage]:
    """Pages, each in a context of its own; one that had an error of its own fails the test."""
    contexts: list[Any] = []
    errors: list[str] = []

    def make(
        url: str,
        width: int = 1600,
        height: int = 1000,
        scheme: str = "dark",
        headers: dict[str, str] | None = None,
        locale: str = "en-US",
    ) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            extra_http_headers=headers or {},
            locale=locale,
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: errors.append(said.text) if "Content Security" in said.text else None)
        page.goto(url, wait_until="domcontentloaded")
        return page

    yield make
    for context in contexts:
        context.close()
    assert not errors
