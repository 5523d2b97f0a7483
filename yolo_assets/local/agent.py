"""The demo's edge agent: its configuration over the simulated line, its process, and what it says of itself."""

from __future__ import annotations

import secrets
import socket
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.times import format_time
from yolo_assets.local.processes import LocalService, get_json, wait_for_http

DEVICE = "box01"
WATCH_SECONDS = 20
"""Length of the watch window, shorter than the agent's own: a demo wants to see the end of it."""
PAGE_PORT = 8080


@dataclass(frozen=True)
class SimulatedLine:
    """What the cameras of this installation see.

    Attributes:
        cameras: camera ids.
        seed: of the simulator.
        start: simulated time of the first frame, a whole past hour.
        speed: simulated seconds per second; never passes wall time.
        fps: frames a second of real time, of each camera.
        change_at: simulated moment at which the line changes; None for never.
        truth: folder for the truth of the kept frames, outside the spool.
    """

    cameras: tuple[str, ...]
    seed: int
    start: datetime
    speed: float
    fps: float
    change_at: datetime | None
    truth: Path | None = None


def free_port(preferred: int) -> int:
    """``preferred`` when nobody listens there on loopback, else any free port."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return probe.getsockname()[1]
    raise UserError("no port is free on this machine")


def token(settings: Settings) -> Path:
    """File with the bearer token of this installation's agent, made at first use, readable by its owner only."""
    path = settings.home / "edge" / "token"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(24) + "\n")
    return path


def write_config(settings: Settings, line: SimulatedLine, port: int) -> Path:
    """Write ``<home>/edge/edge.yaml`` and return it."""
    cameras: dict[str, Any] = {
        "kind": "simulated",
        "camera_ids": list(line.cameras),
        "seed": line.seed,
        "fps": line.fps,
        "clock": {"start": format_time(line.start), "speed": line.speed},
        "changes": {"line_change_at": format_time(line.change_at)} if line.change_at else {},
    }
    if line.truth is not None:
        cameras["truth"] = str(line.truth)
    config = {
        "device_id": DEVICE,
        "spool": str(settings.spool),
        "store": settings.store_url,
        "model": settings.model_name,
        "channel": "stable",
        "trusted_keys": [str(settings.promotion_key) + ".pub"],
        "token_file": str(token(settings)),
        "listen": {"host": "127.0.0.1", "port": port},
        "engine": {"kind": "openvino", "threads": 1, "workers": 1},
        "sampling": {"normal_every": 2},
        "watch": {"seconds": WATCH_SECONDS},
        "cameras": [cameras],
    }
    path = settings.home / "edge" / "edge.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "# Written by make demo / make up; the cameras are SIMULATED.\n" + yaml.safe_dump(config, sort_keys=False)
    )
    return path


class Agent:
    """A running agent process and its API on loopback."""

    def __init__(self, settings: Settings, line: SimulatedLine, *, start_seconds: float = 60) -> None:
        """Start it and wait until it answers."""
        self.port = free_port(PAGE_PORT)
        self.url = f"http://127.0.0.1:{self.port}"
        config = write_config(settings, line, self.port)
        command = [sys.executable, "-m", "yolo_assets.cli.main", "edge", "run", "--config", str(config)]
        self.process = LocalService("the edge agent", command, settings.home / "logs" / "edge.log")
        try:
            wait_for_http(self.process, f"{self.url}/healthz", start_seconds)
        except BaseException:
            self.process.stop()
            raise

    def status(self) -> dict[str, Any]:
        """``/v1/status``."""
        self.process.check()
        return get_json(f"{self.url}/v1/status")

    def __enter__(self) -> Agent:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()
