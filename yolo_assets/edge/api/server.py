"""Serves the application from a thread of the agent's process. Does not belong here: routes (``app``)."""

from __future__ import annotations

import socket
import threading
import time

import uvicorn
from fastapi import FastAPI

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.edge.config import Listen


class ApiServer:
    """Binds at once, so that a port in use is told before anything else starts."""

    def __init__(self, listen: Listen) -> None:
        """Bind.

        Raises:
            BadInputError: the address cannot be used.
        """
        family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((listen.host, listen.port))
        except OSError as error:
            self._socket.close()
            raise BadInputError(
                f"listen: cannot use {listen.host} port {listen.port}: {error.strerror}; "
                "give another port, 0 for a free one"
            ) from None
        host = f"[{listen.host}]" if family == socket.AF_INET6 else listen.host
        shown = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104 - what a browser can open
        self.url = f"http://{shown}:{self._socket.getsockname()[1]}/"
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self, app: FastAPI, timeout: float = 10.0) -> None:
        """Serve; returns once requests are answered.

        Raises:
            BadInputError: it does not come up.
        """
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=2, server_header=False
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="api", daemon=True
        )
        self._thread.start()
        end = time.monotonic() + timeout
        while not self._server.started:
            if time.monotonic() > end or not self._thread.is_alive():
                raise BadInputError("the API did not come up; see the log for the cause")
            time.sleep(0.01)

    def stop(self) -> None:
        """Answer what is being answered, for two seconds at most, and close the port."""
        if self._server is not None:
            self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(timeout=5.0)
        self._socket.close()
