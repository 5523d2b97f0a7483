"""Real receivers for tests: HTTP servers of every temper, a mosquitto that can be killed and started again."""

from __future__ import annotations

import datetime
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from yolo_assets_tests.edge.plant import Plant

MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
CAMERAS = ("cam1", "cam2")
Answer = int | tuple[int, dict[str, str]]


class Receiver:
    """Takes webhooks on a free loopback port; ``answer`` decides about each."""

    def __init__(self, answer: Callable[[int], Answer] = lambda _: 204, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append(({name.lower(): value for name, value in self.headers.items()}, body))
                found = answer(len(outer.requests) - 1)
                status, headers = (found, {}) if isinstance(found, int) else found
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def events(self) -> list[dict[str, Any]]:
        found = [orjson.loads(body) for _, body in list(self.requests)]
        return [event for one in found for event in (one if isinstance(one, list) else [one])]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Hole:
    """Accepts connections, reads what comes, and never answers."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections.append(connection)

    def close(self) -> None:
        self._socket.close()
        for connection in self.connections:
            connection.close()


def live_camera(plant: Plant, **options: Any) -> dict[str, Any]:
    """A camera that shows pictures with four blobs, again and again."""
    folder = str(plant.photos("photos", 6))
    fixed = {"kind": "folder", "camera_id": "cam1", "path": folder, "start": "2026-01-02T03:30:00Z"}
    return fixed | {"loop": True, "pace": "realtime", "fps": 40} | options


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate that signs itself, for ``name``; it is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    cert, private = folder / f"{name}.pem", folder / f"{name}.key"
    cert.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert, private


class Mosquitto:
    """A real broker on a loopback port of its own."""

    def __init__(self, folder: Path, *lines: str, port: int | None = None) -> None:
        if not Path(MOSQUITTO).exists():
            if os.environ.get("CI") == "true":
                raise AssertionError("CI needs mosquitto: apt-get install mosquitto")
            pytest.skip("no mosquitto here: apt-get install mosquitto")
        self.port = port or free_port()
        self._config = folder / "mosquitto.conf"
        own = [f"listener {self.port} 127.0.0.1", "persistence false", *(lines or ("allow_anonymous true",))]
        self._config.write_text("\n".join(own) + "\n")
        self.log = folder / "mosquitto.log"
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([MOSQUITTO, "-c", str(self._config), "-v"], stdout=log, stderr=log)
        end = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert self.process.poll() is None and time.monotonic() < end, self.log.read_text()
                time.sleep(0.02)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)
