"""The services of one machine: Dagster and the demo's edge agent, as child processes that end with their parent.

Belongs here: starting them, waiting until they answer, stopping them. Does not belong here: what the demo does with
them.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import urllib3
import yaml

from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.times import format_time
from yolo_assets.runtime.processes import ChildProcess, last_line

DEVICE = "box01"
WATCH_SECONDS = 15
"""Length of the watch window, shorter than the agent's own: a demo wants to see the end of it."""
PAGE_PORT = 8080


class LocalService:
    """One process with its output in a file. Use as a context manager; leaving it ends the process gracefully."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        env: Mapping[str, str] | None = None,
        stop_seconds: float = 20,
    ) -> None:
        """Start it.

        Args:
            name: for messages.
            command: program and arguments.
            log: file that its output is appended to.
            env: variables on top of this process's.
            stop_seconds: how long it may take to end.
        """
        self.name = name
        self.log = log
        self._stop_seconds = stop_seconds
        self._process = ChildProcess(
            name,
            command,
            environment={**os.environ, **(env or {})},
            output=log,
            errors=log,
            end_with_parent=signal.SIGTERM,
            new_session=True,  # Ctrl-C reaches us alone; we stop the services in order
        )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def check(self) -> None:
        """Raise ``UserError`` with the last line of its log when the process has ended."""
        how = self._process.how_it_ended()
        if how is not None:
            raise UserError(f"{self.name} ended {how}: {last_line(self.log)} (full log: {self.log})")

    def stop(self) -> None:
        """SIGTERM, time to finish, then SIGKILL; and whatever it had started ends too.

        Dagster leaves its run workers running when it stops: a training would continue, and promote, unseen.
        """
        self._process.end(self._stop_seconds, descendants=True)

    def __enter__(self) -> LocalService:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def wait_for_http(service: LocalService, url: str, seconds: float) -> None:
    """Wait until ``url`` (loopback) answers 200, while the service runs.

    Raises:
        UserError: the service ended, or nothing answered in time.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        service.check()
        with contextlib.suppress(urllib3.exceptions.HTTPError):
            if urllib3.request("GET", url, timeout=2, retries=False).status == 200:
                return
        time.sleep(0.1)
    raise UserError(f"{service.name} did not answer at {url} within {seconds:.0f} s: {last_line(service.log)}")


def get_json(url: str, seconds: float = 10) -> Any:
    """GET a JSON document from a loopback address.

    Raises:
        UserError: no answer, or an error status.
    """
    try:
        answer = urllib3.request("GET", url, timeout=seconds, retries=False)
        if answer.status != 200:
            raise UserError(f"{url} answers {answer.status}")
        return answer.json()
    except (urllib3.exceptions.HTTPError, ValueError) as error:
        raise UserError(f"{url} does not answer: {error}") from None


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


def agent_token(settings: Settings) -> Path:
    """File with the bearer token of this installation's agent, made at first use, readable by its owner only."""
    path = settings.home / "edge" / "token"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(24) + "\n")
    return path


def write_agent_config(settings: Settings, line: SimulatedLine, port: int) -> Path:
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
        "token_file": str(agent_token(settings)),
        "listen": {"host": "127.0.0.1", "port": port, "page": f"http://127.0.0.1:{port}"},
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


class AgentService:
    """A running agent process and its API on loopback."""

    def __init__(self, settings: Settings, line: SimulatedLine, *, start_seconds: float = 60) -> None:
        """Start it and wait until it answers."""
        self.port = free_port(PAGE_PORT)
        self.url = f"http://127.0.0.1:{self.port}"
        config = write_agent_config(settings, line, self.port)
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

    def __enter__(self) -> AgentService:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()
