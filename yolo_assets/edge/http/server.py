"""Serves the application from a thread of the agent's process. Does not belong here: routes (``app``)."""

from __future__ import annotations

import fcntl
import logging
import socket
import ssl
import struct
import termios
import threading
import time
from asyncio import BaseTransport
from typing import Any, cast

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.edge.config.agent import Listen
from yolo_assets.edge.http.access import CLIENT_NAME

log = logging.getLogger(__name__)


_MOST_CONNECTIONS = 256
_MOST_HEADERS = 32 << 10
_FIRST_REQUEST_S = 10.0
_STUCK_S = 5.0
_LOOK_S = 1.0
_TCP_INFO_BYTES = 128
_BYTES_ACKED = struct.Struct("=120xQ")
"""The field ``tcpi_bytes_acked`` of Linux's ``struct tcp_info``, linux/tcp.h."""


class _BoundedProtocol(H11Protocol):
    """HTTP where connections that say nothing neither stay nor use up the descriptors that cameras and spool need.

    uvicorn's own limit answers 503, but only to a request; one that never comes holds its connection for ever.
    """

    def connection_made(self, transport: BaseTransport) -> None:  # type: ignore[override]
        http: Any = transport
        super().connection_made(http)
        self._tell_client_name(http)
        if len(self.connections) > _MOST_CONNECTIONS:
            http.abort()
        else:
            self.loop.call_later(_FIRST_REQUEST_S, self._end_if_silent)
            self._taken, self._taken_at = -1, self.loop.time()
            self.loop.call_later(_LOOK_S, self._end_if_stuck)

    def _tell_client_name(self, transport: Any) -> None:
        """Give the application the name in the certificate that the peer showed and TLS verified, if there is one."""
        name = _client_name(transport)
        if name is None:
            return
        inner = self.app

        async def with_name(scope: Any, receive: Any, send: Any) -> None:
            await inner({**scope, "extensions": {"tls": {CLIENT_NAME: name}}}, receive, send)

        self.app = with_name

    def _end_if_stuck(self) -> None:
        """End a connection whose peer reads nothing although something waits for it, and look again.

        Only the kernel knows: its buffers take many pictures of a small stream before a write would wait.
        """
        if self.transport.is_closing():
            return
        taken, now = _bytes_taken(self.transport), self.loop.time()
        if taken is None or taken != self._taken:
            self._taken, self._taken_at = taken, now
        elif now - self._taken_at >= _STUCK_S:
            self.transport.abort()
            return
        self.loop.call_later(_LOOK_S, self._end_if_stuck)

    def _end_if_silent(self) -> None:
        # uvicorn declares a cycle and begins with None: no request has come.
        if cast(object, self.cycle) is None and not self.transport.is_closing():
            self.transport.abort()


def _client_name(transport: Any) -> str | None:
    """The common name in the verified certificate of the peer; None without one, or with several names."""
    connection = transport.get_extra_info("ssl_object")
    shown: dict[str, Any] | None = connection.getpeercert() if connection is not None else None
    subject: tuple[Any, ...] = (shown or {}).get("subject", ())
    names = [value for part in subject for key, value in part if key == "commonName"]
    return names[0] if len(names) == 1 else None


def _bytes_taken(transport: Any) -> int | None:
    """Bytes that the peer's system has confirmed so far; None while nothing waits for it, or where nobody knows."""
    connection = transport.get_extra_info("socket")
    try:
        waiting = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0" * 4))[0]
        if not waiting:
            return None
        return _BYTES_ACKED.unpack(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES))[0]
    except (OSError, ValueError, struct.error):
        return None


class ApiServer:
    """Binds at once, so that a port in use is reported before anything else starts."""

    def __init__(self, listen: Listen, *, tokens: bool = True) -> None:
        """Bind.

        Args:
            listen: where.
            tokens: whether requests bring one: then a warning is due where they are not encrypted.

        Raises:
            BadInputError: the address, or the certificate, cannot be used.
        """
        self._tls = _tls(listen)
        if tokens and self._tls is None and not listen.loopback:
            log.warning("the token crosses the network in the clear; set listen.tls_cert and listen.tls_key")
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
        self.url = f"{'https' if self._tls else 'http'}://{shown}:{self._socket.getsockname()[1]}/"
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self, app: FastAPI, timeout: float = 10.0) -> None:
        """Serve; returns once requests are answered.

        Raises:
            BadInputError: it does not come up.
        """
        tls = self._tls
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            lifespan="off",
            http=_BoundedProtocol,
            timeout_graceful_shutdown=2,
            server_header=False,
            limit_concurrency=_MOST_CONNECTIONS,
            h11_max_incomplete_event_size=_MOST_HEADERS,
            # The peer that a proxy names is the client; only a proxy on this machine is trusted.
            proxy_headers=True,
            forwarded_allow_ips="127.0.0.1,::1",
            ssl_context_factory=(lambda _config, _default: tls) if tls is not None else None,
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


def _tls(listen: Listen) -> ssl.SSLContext | None:
    if listen.tls_cert is None or listen.tls_key is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(listen.tls_cert, listen.tls_key, password="")  # an encrypted key fails, and never asks
    except (OSError, ssl.SSLError) as error:
        why = error.strerror or str(error)
        raise BadInputError(
            f"listen: cannot use the certificate {listen.tls_cert} with the key {listen.tls_key}: {why}"
        ) from None
    if listen.tls_client_ca is not None:
        try:
            context.load_verify_locations(listen.tls_client_ca)
        except (OSError, ssl.SSLError) as error:
            why = error.strerror or str(error)
            raise BadInputError(f"listen: cannot use tls_client_ca {listen.tls_client_ca}: {why}") from None
        context.verify_mode = ssl.CERT_OPTIONAL  # others have a token
    return context
