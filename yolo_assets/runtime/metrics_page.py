"""Figures for Prometheus: pages over HTTP from threads of a process, or a file for node_exporter.

Belongs here: serving what collectors give. Does not belong here: the figures themselves, and the agent's page, which
has an application of its own.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import (
    CollectorRegistry,
    make_wsgi_app,  # pyright: ignore[reportUnknownVariableType] - it returns a bare Callable
    write_to_textfile,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from yolo_assets.contracts.errors import UsageError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


class _MetricsServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, host: str, port: int) -> None:
        addresses = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, _, _, _, address = addresses[0]
        super().__init__((str(address[0]), port), _QuietHandler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Log nothing: a scraper that hangs up is no event of the process."""


class _QuietHandler(WSGIRequestHandler):
    timeout = 10.0  # seconds that a silent client may keep a thread

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: standard error is for events of the process."""


class MetricsPage:
    """The figures of some collectors: pages over HTTP while the process runs, a file, or bytes."""

    def __init__(self, *collectors: Collector, stopping: Callable[[], bool] = lambda: False) -> None:
        """Show what ``collectors`` give; ``/healthz`` is 503 when ``stopping``."""
        self._registry = CollectorRegistry()
        for collector in collectors:
            self._registry.register(collector)
        self._metrics: WSGIApplication = make_wsgi_app(self._registry)
        self._stopping = stopping

    def serve(self, host: str, port: int, option: str = "--port") -> str:
        """Answer ``/metrics`` and ``/healthz`` on a port, 0 for a free one, from threads that end with the process.

        ``/healthz`` says that the process is alive. It does not ask the store: a store that is away is a matter for an
        alert, and a restart would not bring it back.

        Args:
            host: address to listen on.
            port: and port.
            option: that a person gives another port with.

        Returns:
            The URL of the metrics.

        Raises:
            UsageError: the address cannot be used.
        """
        try:
            server = _MetricsServer(host, port)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(
                f"cannot serve metrics on {host} port {port}: {reason}; give another {option}, 0 for a free one"
            ) from None
        server.set_app(self._answer)
        threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
        shown = f"[{host}]" if ":" in host else host
        return f"http://{shown}:{server.server_port}/metrics"

    def write(self, file: Path) -> None:
        """Write the file at once or not at all.

        Raises:
            OSError: it cannot be written.
        """
        write_to_textfile(str(file), self._registry)

    def render(self) -> bytes:
        """Everything in the text format."""
        return generate_latest(self._registry)

    def _answer(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            return self._metrics(environ, start)
        if path != "/healthz":
            status, text = "404 Not Found", "this server has /metrics and /healthz\n"
        elif self._stopping():
            status, text = "503 Service Unavailable", "stopping\n"
        else:
            status, text = "200 OK", "alive\n"
        start(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(text)))])
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else text.encode()]
