"""Announcements by etcd 3, through the HTTP gateway of its server: a key for each type and subject, watched by prefix.

A key holds the newest announcement of its subject, so that their number stays that of cameras and models.
"""

from __future__ import annotations

import base64
import contextlib
import socket
from typing import Any

import orjson
import urllib3
from urllib3.exceptions import HTTPError, ReadTimeoutError

from yolo_assets.contracts.announcements import MOST_BYTES, Announcement, kind_of
from yolo_assets.contracts.brokers import EtcdBroker
from yolo_assets.events.transport import Hearing, ListeningThread, place
from yolo_assets.runtime.backoff import Backoff
from yolo_assets.runtime.credentials import client_context, read_secret
from yolo_assets.runtime.delivery import DeliveryError

_ANSWER_SECONDS = 5.0
_QUIET_SECONDS = 60.0
_MOST_LINE = 64 * MOST_BYTES


class _LoginExpired(Exception):
    """The token is not known any more."""


class Etcd(ListeningThread):
    """One etcd server."""

    def __init__(self, settings: EtcdBroker, hearing: Hearing | None) -> None:
        """Read the secrets and certificates; connects to nothing.

        Raises:
            BadInputError: one of them cannot be used.
        """
        super().__init__(f"etcd-{settings.name}", settings.url.rstrip("/"), hearing)
        where = f"events.{settings.name}"
        self._settings = settings
        self._password = read_secret(f"{where}: password", settings.password_file, None)
        self._token: str | None = None
        self._next_revision: int | None = None
        self._watching: socket.socket | None = None
        tls = {"ssl_context": client_context(where, settings)} if settings.url.startswith("https:") else {}
        self._pool = urllib3.PoolManager(num_pools=1, maxsize=3, retries=False, **tls)  # type: ignore[arg-type]

    def publish(self, announcement: Announcement) -> None:
        """Put the key.

        Raises:
            DeliveryError: the server is away, or refuses.
        """
        key = place(self._settings.prefix, "/", announcement)
        body = {"key": _b64(key.encode()), "value": _b64(announcement.to_json())}
        try:
            try:
                self._ask("/v3/kv/put", body)
            except _LoginExpired:
                self._token = None
                self._ask("/v3/kv/put", body)
        except _LoginExpired:
            raise DeliveryError(f"{self.shown} refuses {key}; check the rights of {self._settings.username}") from None
        except (HTTPError, OSError) as error:
            raise DeliveryError(f"{self.shown} cannot be reached: {type(error).__name__}") from None

    def close(self) -> None:
        """End watching."""
        self.stop.set()
        watched = self._watching
        if watched is not None:
            with contextlib.suppress(OSError):
                watched.shutdown(socket.SHUT_RDWR)
        self.join()
        self._pool.clear()

    def _headers(self) -> dict[str, str]:
        if self._settings.username is None:
            return {}
        if self._token is None:
            login = {"name": self._settings.username, "password": self._password or ""}
            with self._post("/v3/auth/authenticate", login, {}, _ANSWER_SECONDS) as answer:
                if answer.status != 200:
                    raise DeliveryError(f"{self.shown} refuses the login; check username and password_file")
                self._token = str(orjson.loads(answer.read(MOST_BYTES)).get("token", ""))
        return {"Authorization": self._token}

    def _ask(self, path: str, body: dict[str, Any]) -> None:
        with self._post(path, body, self._headers(), _ANSWER_SECONDS) as answer:
            answer.read(MOST_BYTES)
            if answer.status in (401, 403) and self._settings.username is not None:
                raise _LoginExpired
            if answer.status != 200:
                raise DeliveryError(f"{self.shown} answers {answer.status}")

    @contextlib.contextmanager
    def _post(self, path: str, body: dict[str, Any], headers: dict[str, str], seconds: float) -> Any:
        answer = self._pool.request(
            "POST",
            self.shown + path,
            body=orjson.dumps(body),
            headers=headers | {"Content-Type": "application/json"},
            timeout=urllib3.Timeout(connect=_ANSWER_SECONDS, read=seconds),
            redirect=False,
            preload_content=False,
        )
        try:
            yield answer
        finally:
            answer.release_conn()

    def listen(self) -> None:
        """Watch, as often as it takes."""
        backoff = Backoff(0.5, 30.0, 0.5)
        while not self.stop.is_set():
            try:
                self._watch(backoff)
            except ReadTimeoutError:  # nothing happened for long: ask again, from the next revision on
                continue
            except _LoginExpired:
                self._token, self.refusal = None, "does not know the login any more"
            except DeliveryError as error:
                self.refusal = str(error).removeprefix(f"{self.shown} ")
            except (HTTPError, OSError, ValueError, AttributeError) as error:
                self.refusal = f"cannot be watched: {type(error).__name__}"
            finally:
                self._watching = None
            self.heard.clear()
            if not self.stop.is_set():
                self.stop.wait(backoff.failed())

    def _watch(self, backoff: Backoff) -> None:
        """One request, whose answer is a line for each change, for as long as it goes on."""
        start = f"{self._settings.prefix}/".encode()
        request: dict[str, Any] = {"key": _b64(start), "range_end": _b64(start[:-1] + b"0")}  # "0" follows "/"
        if self._next_revision is not None:
            request["start_revision"] = self._next_revision
        with self._post("/v3/watch", {"create_request": request}, self._headers(), _QUIET_SECONDS) as answer:
            if answer.status in (401, 403):
                raise _LoginExpired
            if answer.status != 200:
                raise DeliveryError(f"{self.shown} answers {answer.status}")
            self._watching = getattr(answer.connection, "sock", None)
            try:
                for line in _lines(answer):
                    self._read(orjson.loads(line), backoff)
            finally:
                answer.close()  # a watch has no end: this connection is of no more use

    def _read(self, message: dict[str, Any], backoff: Backoff) -> None:
        result = message.get("result")
        if result is None or result.get("canceled"):
            self._next_revision = None  # compacted meanwhile, or not allowed
            raise DeliveryError(f"{self.shown} ends the watch; check the rights of {self._settings.username}")
        self._next_revision = int(result["header"]["revision"]) + 1
        if result.get("created"):
            self.refusal = None
            self.heard.set()
            backoff.succeeded()
        for event in result.get("events", ()):
            self._heard(event.get("kv", {}))

    def _heard(self, pair: dict[str, str]) -> None:
        assert self.hearing is not None
        key = base64.b64decode(pair.get("key", "")).decode(errors="replace")
        kind = key.removeprefix(f"{self._settings.prefix}/").partition("/")[0]
        if pair.get("value") and kind in {kind_of(each) for each in self.hearing.types}:
            self.hearing.take(base64.b64decode(pair["value"]))


def _lines(answer: Any) -> Any:
    """Lines of an answer as they come; none longer than etcd may send of what we would read."""
    waiting = b""
    while chunk := answer.read1(1 << 16):
        waiting += chunk
        *whole, waiting = waiting.split(b"\n")
        yield from (line for line in whole if line.strip())
        if len(waiting) > _MOST_LINE:
            raise ValueError("a longer line than can be an announcement")


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
