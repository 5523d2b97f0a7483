"""A viewer that never reads gives its place back within seconds, also where the stream is small."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from yolo_assets.edge.config.agent import Listen
from yolo_assets.edge.http.server import ApiServer
from yolo_assets_tests.edge.plant import until


@pytest.fixture
def stream() -> Any:
    """A server that sends 40 kB a second for ever, and counts its viewers."""
    app, state = FastAPI(), {"viewers": 0}

    @app.get("/live")
    async def live() -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            state["viewers"] += 1
            try:
                while True:
                    yield b"x" * 4000
                    await asyncio.sleep(0.1)
            finally:
                state["viewers"] -= 1

        return StreamingResponse(pieces())

    server = ApiServer(Listen(port=0))
    server.start(app)
    port = int(server.url.rstrip("/").rpartition(":")[2])
    yield port, state
    server.stop()


def viewer(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), 10)
    connection.sendall(b"GET /live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    return connection


def test_one_that_never_reads_is_gone_and_one_that_reads_slowly_stays(stream: Any) -> None:
    port, state = stream
    sleeping, awake = viewer(port), viewer(port)
    stop, read = threading.Event(), [0]

    def reading() -> None:
        while not stop.wait(0.5):
            read[0] += len(awake.recv(200_000))

    thread = threading.Thread(target=reading, daemon=True)
    thread.start()
    until(lambda: state["viewers"] == 2, 20)
    begin = time.monotonic()
    until(lambda: state["viewers"] == 1, 60)
    seen = time.monotonic() - begin
    before = read[0]
    until(lambda: read[0] > before, 20)  # who reads is served on
    assert state["viewers"] == 1, seen
    stop.set()
    thread.join(5)
    for connection in (sleeping, awake):
        connection.close()
