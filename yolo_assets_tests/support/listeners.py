"""Receivers on loopback: a web server and a mail server that keep what they are sent. No test lives here."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import orjson
from aiosmtpd.controller import Controller


@dataclass
class Web:
    """Requests to a web server: path and JSON. ``status`` is what it answers."""

    port: int = 0
    status: int = 200
    answer: bytes = b"ok"
    requests: list[tuple[str, Any]] = field(default_factory=list)

    def taken(self) -> list[Any]:
        return [document for _, document in self.requests]


@contextmanager
def web() -> Iterator[Web]:
    kept = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept.requests.append((self.path, orjson.loads(body)))
            self.send_response(kept.status)
            self.send_header("Content-Length", str(len(kept.answer)))
            self.end_headers()
            self.wfile.write(kept.answer)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kept.port = server.server_address[1]
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield kept
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


@dataclass
class Post:
    """Letters to a mail server."""

    port: int
    letters: list[Message] = field(default_factory=list)


@contextmanager
def post() -> Iterator[Post]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        kept = Post(probe.getsockname()[1])

    class Handler:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
            kept.letters.append(message_from_bytes(envelope.content))
            return "250 OK"

    controller = Controller(Handler(), hostname="127.0.0.1", port=kept.port)
    controller.start()
    try:
        yield kept
    finally:
        controller.stop()
