"""Announcements by core NATS. The library is asynchronous and has its loop in a thread of its own."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Coroutine
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg

from yolo_assets.contracts.announcements import Announcement, kind_of
from yolo_assets.contracts.brokers import NatsBroker
from yolo_assets.events.transport import Hearing, place
from yolo_assets.runtime.credentials import client_context, read_secret
from yolo_assets.runtime.delivery import DeliveryError

log = logging.getLogger(__name__)
_CONNECT_SECONDS = 5
_AGAIN_SECONDS = 2.0
_CLOSE_SECONDS = 2.0


class Nats:
    """One NATS server or cluster."""

    def __init__(self, settings: NatsBroker, client: str, hearing: Hearing | None) -> None:
        """Read the secrets and certificates; connects to nothing.

        Raises:
            BadInputError: one of them cannot be used.
        """
        where = f"events.{settings.name}"
        self._settings = settings
        self._hearing = hearing
        self.shown = ", ".join(settings.servers)
        self._refusal: str | None = "is being connected"
        self._there = threading.Event()
        self._options: dict[str, Any] = {
            "servers": list(settings.servers),
            "name": client,
            "user": settings.username,
            "password": read_secret(f"{where}: password", settings.password_file, None),
            "token": read_secret(f"{where}: token", settings.token_file, None),
            "user_credentials": str(settings.credentials_file) if settings.credentials_file else None,
            "connect_timeout": _CONNECT_SECONDS,
            "allow_reconnect": True,
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": _AGAIN_SECONDS,
            "error_cb": self._on_error,
            "disconnected_cb": self._on_disconnected,
            "reconnected_cb": self._on_connected,
        }
        if any(server.startswith("tls:") for server in settings.servers):
            self._options["tls"] = client_context(where, settings)
        self._client = Client()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"nats-{settings.name}", daemon=True)

    @property
    def trouble(self) -> str | None:
        """Why the server is not there now."""
        return f"{self.shown} {self._refusal}" if self._refusal is not None else None

    @property
    def listening(self) -> bool:
        """Whether the server took the subscriptions and is there."""
        return self._hearing is not None and self._there.is_set()

    def open(self) -> None:
        """Connect in the loop's thread, as often as it takes."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._connect(), self._loop)

    def publish(self, announcement: Announcement) -> None:
        """Publish, and wait until the server has read it.

        Raises:
            DeliveryError: the server is away.
        """
        where = place(self._settings.subject, ".", announcement)
        self._run(self._publish(where, announcement.to_json()))

    def close(self) -> None:
        """Close the connection and end the loop."""
        if not self._thread.is_alive():
            return
        ended = asyncio.run_coroutine_threadsafe(self._client.close(), self._loop)
        try:
            ended.result(_CLOSE_SECONDS)
        except Exception as error:  # the server may hang, and the library may raise anything
            log.debug("closing %s: %r", self.shown, error)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CLOSE_SECONDS)

    async def _connect(self) -> None:
        while True:
            try:
                await self._client.connect(**self._options)
                for each in sorted(self._hearing.types) if self._hearing is not None else ():
                    await self._client.subscribe(f"{self._settings.subject}.{kind_of(each)}.*", cb=self._on_message)
                await self._client.flush(_CONNECT_SECONDS)
                await self._on_connected()
                return
            except Exception as error:
                self._refusal = f"cannot be used: {_why(error)}"
                self._client = Client()
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _publish(self, subject: str, body: bytes) -> None:
        await self._client.publish(subject, body)
        await self._client.flush(_CONNECT_SECONDS)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        if not self._there.wait(_CONNECT_SECONDS):
            work.close()
            raise DeliveryError(f"{self.shown} {self._refusal or 'went away'}")
        try:
            asyncio.run_coroutine_threadsafe(work, self._loop).result(2 * _CONNECT_SECONDS)
        except Exception as error:
            raise DeliveryError(f"{self.shown} did not take it: {_why(error)}") from None

    async def _on_message(self, message: Msg) -> None:
        if self._hearing is not None:
            self._hearing.take(message.data)

    async def _on_error(self, error: Exception) -> None:
        log.debug("%s: %r", self.shown, error)  # it tells each failed try; the state is in trouble

    async def _on_disconnected(self) -> None:
        self._there.clear()
        self._refusal = "went away"

    async def _on_connected(self) -> None:
        self._refusal = None
        self._there.set()


def _why(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
