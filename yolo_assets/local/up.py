"""``make up``: Dagster's UI and daemon, the pages it links to and one agent over the simulated line, until Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable

from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.signing import Signer
from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.local.dagster_home import prepare_dagster_home
from yolo_assets.local.demo.home import alone, remembered_line
from yolo_assets.local.services import AgentService, LocalService, SimulatedLine, free_port, wait_for_http
from yolo_assets.shipped import shipped_file
from yolo_assets.simulator.appearance import CLASS_NAMES

UI_PORT = 3000
PAGES_PORT = 3002
CATCH_UP = 60.0
"""The simulated clock runs so fast until it has reached the present, then as fast as time."""


def serve(settings: Settings, *, cameras: int, fps: float, say: Callable[[str], None]) -> None:
    """Run everything until SIGINT or SIGTERM, or until a part ends.

    Args:
        settings: locations.
        cameras: how many are simulated when no demo ran here; else the demo's.
        fps: frames a second of each.
        say: prints one line.

    Raises:
        UserError: a part did not start or ended by itself; the message is its last line.
    """
    os.environ["DAGSTER_HOME"] = str(prepare_dagster_home(settings.home))
    os.environ["YOLO_ASSETS_HOME"] = str(settings.home)
    os.environ.setdefault("YOLO_ASSETS_CLASSES", ",".join(CLASS_NAMES))
    for name, file in (("YOLO_ASSETS_RECIPE", "recipe.json"), ("YOLO_ASSETS_GATE", "gate.json")):
        if (settings.home / file).exists():  # the demo's: what follows it trains and judges as it did
            os.environ.setdefault(name, str(settings.home / file))
    for key in (settings.archiver_key, settings.promotion_key):
        Signer.load_or_create(key)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    port, pages_port = free_port(UI_PORT), free_port(PAGES_PORT)
    pages_url = f"http://127.0.0.1:{pages_port}"
    os.environ.setdefault("YOLO_ASSETS_PAGES", pages_url)
    command = dagster_command(port)
    with (
        alone(settings.home),
        LocalService("Dagster", command, settings.home / "logs" / "dagster.log", stop_seconds=30) as dagster,
        LocalService("the pages", pages_command(pages_port), settings.home / "logs" / "pages.log") as pages,
        AgentService(settings, _line(settings, cameras, fps)) as agent,
    ):
        say(f"live page   {agent.url}/   (cameras are SIMULATED; token in {settings.home / 'edge' / 'token'})")
        wait_for_http(dagster, f"http://127.0.0.1:{port}/server_info", 120)
        say(f"Dagster UI  http://127.0.0.1:{port}/")
        wait_for_http(pages, f"{pages_url}/healthz", 60)
        say(f"pages       {pages_url}/   (sample frames, gate reports, stored objects)")
        say(f"logs        {settings.home / 'logs'}")
        say("Ctrl-C stops everything.")
        while not stop.wait(1.0):
            dagster.check()
            pages.check()
            agent.process.check()
        say("stopping ...")


def pages_command(port: int) -> list[str]:
    """The pages that links in the UI lead to."""
    return [sys.executable, "-m", "yolo_assets.cli.main", "pages", "--port", str(port)]


def dagster_command(port: int) -> list[str]:
    """UI, daemon and a standing code server in one; its log says what went wrong, and not that nothing happened."""
    command = [sys.executable, "-m", "dagster", "dev", "-w", str(shipped_file("workspace.yaml"))]
    return [*command, "--log-level", "warning", "-h", "127.0.0.1", "-p", str(port)]


def _line(settings: Settings, cameras: int, fps: float) -> SimulatedLine:
    start = Hour.of(utc_now()).start
    known = remembered_line(settings.home)
    if known is not None:
        return SimulatedLine(known.cameras, known.seed, start, CATCH_UP, fps, known.change_at, known.truth)
    names = tuple(f"lineA_cam{number:02d}" for number in range(1, cameras + 1))
    return SimulatedLine(names, 1, start, CATCH_UP, fps, None, settings.home / "truth")
