"""Shows the archiver's figures to Prometheus: over HTTP while it runs, or as a file for node_exporter."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app, write_to_textfile
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from yolo_assets.contracts.archiver_figures import ArchiverFigures, families
from yolo_assets.contracts.errors import UsageError
from yolo_assets.contracts.times import utc_now

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment


class FiguresCollector(Collector):
    """Figures as they are when somebody asks; nothing while there are none."""

    def __init__(self, read: Callable[[], ArchiverFigures | None]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """The families of ``contracts.archiver_figures``."""
        figures = self._read()
        if figures is not None:
            yield from families(figures, utc_now())


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, host: str, port: int) -> None:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, _, _, _, address = found[0]
        super().__init__((str(address[0]), port), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a scraper that hangs up is none of the archiver's events."""


class _Handler(WSGIRequestHandler):
    timeout = 10.0  # seconds that a silent client may keep a thread

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: standard error is for events of the archiver."""


class Exposition:
    """The archiver's own pages and file."""

    def __init__(
        self, read: Callable[[], ArchiverFigures | None], *, stopping: Callable[[], bool] = lambda: False
    ) -> None:
        """Show what ``read`` returns; ``/healthz`` is 503 when ``stopping``."""
        self._registry = CollectorRegistry()
        self._registry.register(FiguresCollector(read))
        self._metrics = make_wsgi_app(self._registry)
        self._stopping = stopping

    def serve(self, host: str, port: int) -> str:
        """Answer ``/metrics`` and ``/healthz`` on a port, 0 for a free one, from threads that end with the process.

        ``/healthz`` tells that the process is there and goes on. It does not look at the store: a store that is away is
        a matter for an alert, and a restart would not bring it back.

        Returns:
            The URL of the metrics.

        Raises:
            UsageError: the address cannot be used.
        """
        try:
            server = _Server(host, port)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(
                f"cannot serve metrics on {host} port {port}: {reason}; give another --metrics-port, 0 for a free one"
            ) from None
        server.set_app(self._answer)
        threading.Thread(target=server.serve_forever, name="archiver-metrics", daemon=True).start()
        shown = f"[{host}]" if ":" in host else host
        return f"http://{shown}:{server.server_port}/metrics"

    def write(self, file: Path) -> None:
        """Write the file at once or not at all.

        Raises:
            OSError: it cannot be written.
        """
        write_to_textfile(str(file), self._registry)

    def _answer(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            return self._metrics(environ, start)
        if path != "/healthz":
            status, text = "404 Not Found", "here are /metrics and /healthz\n"
        elif self._stopping():
            status, text = "503 Service Unavailable", "stopping\n"
        else:
            status, text = "200 OK", "alive\n"
        start(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(text)))])
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else text.encode()]
