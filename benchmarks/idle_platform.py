"""What an idle platform costs: processor time and log lines of Dagster's processes while nothing comes in.

Four ways of running it over an empty home: the plant's services (a standing code server, the daemon, the UI, as their
units start them) over SQLite and over PostgreSQL, whose own processes are told apart; the Dagster of ``yolo-assets
up``; and the peer: a daemon and a UI that load the code themselves, each from the workspace of one machine.

Run: python benchmarks/idle_platform.py [--seconds 180] [--settle 90] [--only services|postgres|up|peer]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from yolo_assets.local.dagster_home import prepare_dagster_home
from yolo_assets.local.services import LocalService, free_port, wait_for_http
from yolo_assets.local.up import dagster_command
from yolo_assets.shipped import shipped_file
from yolo_assets_tests.support.plant_instance import plant_environment
from yolo_assets_tests.support.plant_services import PlantServices
from yolo_assets_tests.support.postgres_server import PostgresServer

MOST_CPU = 0.03
"""Share of one core."""
MOST_LINES = 5.0
"""A minute."""


@dataclass(frozen=True)
class Idle:
    """What was measured.

    Attributes:
        cpu: share of one core by service, children that ended included.
        lines: log lines a minute of all services.
        server: share of one core of the database server, which ``total`` leaves out; None where there is none.
    """

    cpu: dict[str, float]
    lines: float
    server: float | None = None

    @property
    def total(self) -> float:
        """Share of one core of all services."""
        return sum(self.cpu.values())

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {share:.1%}" for name, share in self.cpu.items())
        apart = f"; the database server {self.server:.1%}" if self.server is not None else ""
        return f"{self.total:7.2%} of a core ({parts}){apart}; {self.lines:.1f} log lines a minute"


@dataclass(frozen=True)
class Platform:
    """What runs while it is measured.

    Attributes:
        services: Dagster's, by name.
        server: the first process of the database server, where there is one.
    """

    services: Mapping[str, LocalService]
    server: int | None = None

    def seconds(self) -> dict[str, float]:
        """Processor time by service; of the server with an empty name."""
        found = {name: _seconds(service.pid) for name, service in self.services.items()}
        return found if self.server is None else {**found, "": _seconds(self.server)}


def measure(platform: Platform, settle: float, seconds: float) -> Idle:
    """Wait until the start is over, then measure.

    Args:
        platform: it runs.
        settle: seconds to wait first.
        seconds: seconds to measure for.
    """
    logs = {service.log for service in platform.services.values()}
    time.sleep(settle)
    before, lines = platform.seconds(), _lines(logs)
    time.sleep(seconds)
    cpu = {name: (spent - before[name]) / seconds for name, spent in platform.seconds().items()}
    return Idle({name: cpu[name] for name in platform.services}, (_lines(logs) - lines) / seconds * 60, cpu.get(""))


def _seconds(pid: int) -> float:
    """Processor time of a process, of the children it waited for, and of those that run."""
    total = 0.0
    root = psutil.Process(pid)
    for process in (root, *root.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def _lines(logs: set[Path]) -> int:
    return sum(len(log.read_bytes().splitlines()) for log in logs)


@contextlib.contextmanager
def services(home: Path) -> Iterator[Platform]:
    """The plant's, over SQLite."""
    environment = {"DAGSTER_HOME": str(prepare_dagster_home(home)), "YOLO_ASSETS_HOME": str(home)}
    names = ("code", "daemon", "ui")
    with PlantServices(home, environment, names) as running:
        yield Platform({name: running[name] for name in names})


@contextlib.contextmanager
def postgres(home: Path) -> Iterator[Platform]:
    """The plant's, over PostgreSQL."""
    with tempfile.TemporaryDirectory(prefix="idle-postgres-") as folder, contextlib.ExitStack() as stack:
        server = PostgresServer(Path(folder))
        stack.callback(server.stop)
        environment = {**plant_environment(home, server.new_database()), "YOLO_ASSETS_HOME": str(home)}
        names = ("code", "daemon", "ui")
        with PlantServices(home, environment, names) as running:
            yield Platform({name: running[name] for name in names}, server.pid)


@contextlib.contextmanager
def up(home: Path) -> Iterator[Platform]:
    """All in one command."""
    port = free_port(0)
    with _service("up", dagster_command(port), home) as running:
        wait_for_http(running, f"http://127.0.0.1:{port}/server_info", 180)
        yield Platform({"up": running})


@contextlib.contextmanager
def peer(home: Path) -> Iterator[Platform]:
    """Daemon and UI that load the code themselves."""
    port, folder = free_port(0), Path(sys.executable).parent
    workspace = str(shipped_file("workspace.yaml"))
    ui = [str(folder / "dagster-webserver"), "-w", workspace, "-h", "127.0.0.1", "-p", str(port)]
    with _service("ui", ui, home) as shown:
        wait_for_http(shown, f"http://127.0.0.1:{port}/server_info", 180)
        with _service("daemon", [str(folder / "dagster-daemon"), "run", "-w", workspace], home) as daemon:
            yield Platform({"ui": shown, "daemon": daemon})


def _service(name: str, command: list[str], home: Path) -> LocalService:
    environment = {"DAGSTER_HOME": str(prepare_dagster_home(home)), "YOLO_ASSETS_HOME": str(home)}
    return LocalService(name, command, home / "logs" / f"{name}.log", environment)


WAYS: dict[str, Callable[[Path], contextlib.AbstractContextManager[Platform]]] = {
    "services": services,
    "postgres": postgres,
    "up": up,
    "peer": peer,
}


def main() -> None:
    """Measures, prints, and exits 1 when one of our three is above the bounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--settle", type=float, default=90)
    parser.add_argument("--only", choices=list(WAYS))
    options = parser.parse_args()
    for name in [name for name in os.environ if name.startswith(("YOLO_ASSETS_", "DAGSTER_"))]:
        del os.environ[name]
    found: dict[str, Idle] = {}
    for name in [options.only] if options.only else WAYS:
        with tempfile.TemporaryDirectory(prefix="idle-") as folder, WAYS[name](Path(folder)) as running:
            found[name] = measure(running, options.settle, options.seconds)
            print(f"{name:9}{found[name]}", flush=True)
    own = [idle for name, idle in found.items() if name != "peer"]
    sys.exit(any(idle.total > MOST_CPU or idle.lines > MOST_LINES for idle in own))


if __name__ == "__main__":
    main()
