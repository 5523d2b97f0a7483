"""A plant's Dagster as processes: the commands of the shipped units, with ports and folders of a test.

with PlantServices(home, environment) as services:
    services.ui, services.readers        # URLs on loopback
    services["code"].pid
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from yolo_assets.local.services import LocalService, free_port, wait_for_http
from yolo_assets.shipped import shipped_file

ALL = ("code", "daemon", "ui", "ui-readers")


class PlantServices:
    """Running services. Leaving the block ends them in the opposite order."""

    def __init__(self, home: Path, environment: Mapping[str, str], names: Sequence[str] = ALL) -> None:
        """Prepare; entering the block starts them.

        Args:
            home: of the installation; logs go to ``<home>/logs``.
            environment: ``DAGSTER_HOME``, the database and ``YOLO_ASSETS_*``.
            names: which of the units, in the order of their start. With ``pages`` the links in the UI lead to them.
        """
        self._home, self._names = home, names
        bare = {name: value for name, value in os.environ.items() if not name.startswith(("YOLO_ASSETS_", "DAGSTER_"))}
        self.environment = {**bare, **environment}
        self._ports = {"4000": 0, "3000": 0, "3001": 0, "3002": 0}
        self._running: dict[str, LocalService] = {}
        self._stack = contextlib.ExitStack()

    @property
    def ui(self) -> str:
        """The operators' UI."""
        return f"http://127.0.0.1:{self._ports['3000']}"

    @property
    def readers(self) -> str:
        """The read-only UI."""
        return f"http://127.0.0.1:{self._ports['3001']}"

    @property
    def pages(self) -> str:
        """What links in the UI lead to."""
        return f"http://127.0.0.1:{self._ports['3002']}"

    def port(self, shipped: str) -> int:
        """The port that stands for one of the shipped files, like 3000."""
        return self._ports[shipped]

    def __getitem__(self, name: str) -> LocalService:
        return self._running[name]

    def __enter__(self) -> PlantServices:
        for port in self._ports:
            self._ports[port] = free_port(0)
        if "pages" in self._names:
            self.environment["YOLO_ASSETS_PAGES"] = self.pages
        workspace = self._home / "workspace.yaml"
        workspace.parent.mkdir(parents=True, exist_ok=True)
        workspace.write_text(self._own(shipped_file("plant/workspace.yaml").read_text()))
        self._run_all("ExecStartPre")
        with contextlib.ExitStack() as stack:
            for name in self._names:
                self._running[name] = stack.enter_context(self.start(name))
                if name == "code":
                    self._run_all("ExecStartPost")
                if name == "ui":
                    wait_for_http(self[name], f"{self.ui}/server_info", 120)
                if name == "pages":
                    wait_for_http(self[name], f"{self.pages}/healthz", 120)
                if name == "ui-readers":
                    wait_for_http(self[name], f"{self.readers}/server_info", 120)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def kill(self, name: str) -> None:
        """SIGKILL to the main process of one, and what systemd then does: the rest of its control group is killed."""
        main = psutil.Process(self[name].pid)
        family = main.children(recursive=True)
        for process in (main, *family):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self[name].stop()  # has ended: this only collects it
        _, alive = psutil.wait_procs(family, timeout=30)
        assert not alive, alive

    def restart(self, name: str) -> None:
        """Start one again that was killed, with what systemd runs around the start. Does not wait until it answers."""
        if name == "code":
            self._run_all("ExecStartPre")
        self._running[name] = self._stack.enter_context(self.start(name))

    def _run_all(self, kind: str) -> None:
        """What systemd runs around the start of the code server."""
        for command in commands_of("code", kind):
            words = [self._own(word) for word in command]
            subprocess.run(words, env=self.environment, check=True, capture_output=True, timeout=300)

    def start(self, name: str) -> LocalService:
        """Start one of them, again for one that was killed."""
        (command,) = commands_of(name)
        command = [self._own(word) for word in command]
        log = self._home / "logs" / f"{name}.log"
        return LocalService(f"the service {name}", command, log, env=self.environment, stop_seconds=30)

    def _own(self, text: str) -> str:
        text = text.replace("/opt/yolo-assets/bin/", f"{Path(sys.executable).parent}/")
        text = text.replace("/etc/yolo-assets/workspace.yaml", str(self._home / "workspace.yaml"))
        for shipped, port in self._ports.items():
            text = text.replace(shipped, str(port))
        return text


def commands_of(name: str, kind: str = "ExecStart") -> list[list[str]]:
    """The words of each ``ExecStart``, or of another kind of command, of a unit."""
    unit = shipped_file(f"plant/yolo-assets-{name}.service").read_text()
    return [shlex.split(line.partition("=")[2]) for line in unit.splitlines() if line.startswith(f"{kind}=")]
