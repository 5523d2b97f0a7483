"""Events by HTTP POST: CloudEvents in the body, signed with HMAC-SHA256 as Standard Webhooks describes.

The signature covers the id, the moment of sending and the body, so that a receiver can refuse what is forged and what
is replayed. Redirects are not followed: a signed body goes where the operator sent it and nowhere else.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ssl
import threading
import time
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError, MaxRetryError, NewConnectionError, SSLError, TimeoutError

from yolo_assets import __version__
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.edge.config.outputs import WebhookOutput
from yolo_assets.edge.outputs.events import OutgoingEvent
from yolo_assets.runtime.credentials import client_context, read_secret
from yolo_assets.runtime.delivery import Blame, DeliveryError

_ONE, _MANY = "application/cloudevents+json", "application/cloudevents-batch+json"
_MOST_ANSWER = 1 << 16
_NEVER = {400, 413, 415, 422}


def signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """The header ``webhook-signature``: ``v1,`` and the base64 of HMAC-SHA256 over ``id.timestamp.body``."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def signing_key(secret: str, where: str) -> bytes:
    """The key of a configured secret: ``whsec_`` and base64 as Standard Webhooks writes it, or any long text.

    Raises:
        BadInputError: too short to be safe, or no base64 after ``whsec_``.
    """
    key = secret.encode()
    if secret.startswith("whsec_"):
        try:
            key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except (binascii.Error, ValueError):
            raise BadInputError(
                f"{where}: after whsec_ there must be base64; make one with: openssl rand -base64 32"
            ) from None
    if len(key) < 16:
        raise BadInputError(f"{where}: the key has fewer than 16 bytes; make one with: openssl rand -base64 32")
    return key


class Webhook:
    """Delivers to one address over one connection that is kept open."""

    def __init__(self, settings: WebhookOutput) -> None:
        """Read the secrets and certificates; connects to nothing.

        Raises:
            BadInputError: one of them cannot be used.
        """
        where = f"outputs.{settings.name}"
        secret = read_secret(f"{where}: secret", settings.secret_file, settings.secret_env)
        token = read_secret(f"{where}: token", settings.token_file, settings.token_env)
        self._key = signing_key(secret, f"{where}: secret") if secret is not None else None
        self._url = settings.url
        self._batch = settings.batch
        self._headers = {"User-Agent": f"yolo-assets-edge/{__version__}"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        parts = urlsplit(settings.url)
        self.shown = f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"
        """The address without path and query: many services put a secret there."""
        tls = {"ssl_context": client_context(where, settings)} if parts.scheme == "https" else {}
        self._pool = urllib3.PoolManager(
            num_pools=1,
            maxsize=1,
            retries=False,
            timeout=urllib3.Timeout(connect=settings.timeout_s, read=settings.timeout_s),
            **tls,  # type: ignore[arg-type]
        )

    @property
    def most(self) -> int:
        """Events that may go at once."""
        return self._batch

    @property
    def trouble(self) -> str | None:
        """A request is the only way to learn how the receiver is."""
        return None

    def open(self) -> None:
        """The first request connects."""

    def deliver(self, events: Sequence[OutgoingEvent], stop: threading.Event) -> None:
        """Send them in one request.

        Raises:
            DeliveryError: no answer in time, or the answer is not 2xx.
        """
        if self._batch == 1:
            (event,) = events
            message, body, kind = event.id, event.body, _ONE
        else:
            body, kind = b"[" + b",".join(event.body for event in events) + b"]", _MANY
            message = hashlib.sha256(b"".join(e.camera_id.encode() + e.id.encode() for e in events)).hexdigest()[:32]
        moment = int(time.time())
        headers = self._headers | {"Content-Type": kind, "webhook-id": message, "webhook-timestamp": str(moment)}
        if self._key is not None:
            headers["webhook-signature"] = signature(self._key, message, moment, body)
        try:
            answer = self._pool.request(
                "POST", self._url, body=body, headers=headers, redirect=False, preload_content=False
            )
            try:
                status, after = answer.status, retry_after(answer.headers.get("Retry-After"), time.time())
                if len(answer.read(_MOST_ANSWER + 1)) > _MOST_ANSWER:
                    answer.close()  # too long to read to its end; the next request takes a new connection
            finally:
                answer.release_conn()
        except (HTTPError, OSError) as error:
            raise _unreachable(self.shown, error) from None
        if 200 <= status < 300:
            return
        blame: Blame = "refused" if status in _NEVER else "error" if status == 500 else "away"
        raise DeliveryError(f"{self.shown} answers {status}{_hint(status)}", f"http_{status}", blame, after)

    def close(self) -> None:
        """Close the connection."""
        self._pool.clear()


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds from now of a ``Retry-After`` header, a number or a date; None when there is none to be read.

    Args:
        value: of the header.
        now: seconds since 1970.
    """
    if not value:
        return None
    try:
        return max(0.0, float(value)) if value.strip().isdigit() else parsedate_to_datetime(value).timestamp() - now
    except (ValueError, OverflowError):
        return None


def _unreachable(shown: str, error: Exception) -> DeliveryError:
    cause = error.reason if isinstance(error, MaxRetryError) and error.reason else error
    if isinstance(cause, (SSLError, ssl.SSLError)):
        why = str(cause.args[0] if cause.args else cause)
        return DeliveryError(f"{shown} is not trusted: {why}; check ca_file and the receiver's certificate", "tls")
    if isinstance(cause, TimeoutError) and not isinstance(cause, NewConnectionError):
        return DeliveryError(f"{shown} does not answer in time", "timeout")
    return DeliveryError(f"{shown} cannot be reached: {type(cause).__name__}")


def _hint(status: int) -> str:
    if 300 <= status < 400:
        return "; redirects are not followed, give the final address"
    if status in (401, 403):
        return "; check its token and the key of the signature"
    if status in (404, 405, 410):
        return "; check the path of the address"
    return ""
