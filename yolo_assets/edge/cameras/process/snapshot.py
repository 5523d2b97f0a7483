"""Reading a camera that gives one picture a request, in the child: HTTP with a login, asked again and again.

Belongs here: what an answer means. Does not belong here: when to try again after an error (``pipeline.capture``).
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Generator
from http import HTTPStatus
from urllib.parse import unquote, urlsplit, urlunsplit

import httpx
import numpy as np

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.edge.cameras.process.channel import AgentChannel, since_start
from yolo_assets.edge.cameras.process.wire import MOST_PIXELS, SnapshotOrder
from yolo_assets.vision.pictures import decode_image

_MOST_BYTES = 64 << 20
_VALIDATORS = (("etag", "if-none-match"), ("last-modified", "if-modified-since"))
_WORDS = ("text/", "application/json", "application/xml", "application/xhtml")


class SnapshotError(Exception):
    """What the camera answered instead of a picture.

    Attributes:
        hopeless: whether the configuration must change before another try can be better.
    """

    def __init__(self, words: str, *, hopeless: bool = False) -> None:
        super().__init__(words)
        self.hopeless = hopeless


class OfferedLogin(httpx.Auth):
    """Digest where the camera offers it, else Basic; nothing where it does not ask."""

    def __init__(self, user: str, password: str) -> None:
        self._digest = httpx.DigestAuth(user, password)
        self._basic = httpx.BasicAuth(user, password)
        self._asks_basic = False

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """The request, and where it is refused the same with what was asked for."""
        if self._asks_basic:
            yield from self._basic.auth_flow(request)
            return
        flow = self._digest.auth_flow(request)
        attempt = next(flow)
        while True:
            response = yield attempt
            try:
                attempt = flow.send(response)
            except StopIteration:
                break
        offered = response.headers.get("www-authenticate", "").lower()
        if response.status_code == HTTPStatus.UNAUTHORIZED and "digest" not in offered and "basic" in offered:
            self._asks_basic = True
            yield from self._basic.auth_flow(request)


def read_snapshots(order: SnapshotOrder, channel: AgentChannel, closing: threading.Event) -> None:
    """Ask for a picture every so often until it fails or the agent closes the socket; says why at the end."""
    words, hopeless = "", False
    try:
        with _client(order) as client:
            _read(client, order, channel, closing)
    except SnapshotError as error:
        words, hopeless = str(error), error.hopeless
    except httpx.TimeoutException:
        words = f"it did not answer within {order['timeout_s']:g} s"
    except httpx.HTTPError as error:
        words = f"the request failed: {error}"
    except (OSError, ValueError) as error:  # a certificate that cannot be read, an address that none can be
        words, hopeless = f"cannot ask for pictures: {error}", isinstance(error, OSError)
    if not closing.is_set():
        channel.end(words, hopeless=hopeless)


def _client(order: SnapshotOrder) -> httpx.Client:
    parts = urlsplit(order["url"])
    login = None
    if parts.username is not None:
        login = OfferedLogin(unquote(parts.username), unquote(parts.password or ""))
    return httpx.Client(
        auth=login,
        timeout=order["timeout_s"],
        trust_env=False,
        verify=ssl.create_default_context(cafile=order["ca_file"]),
        headers={"user-agent": "yolo-assets", "accept": "image/jpeg, image/png, image/*"},
    )


def _read(client: httpx.Client, order: SnapshotOrder, channel: AgentChannel, closing: threading.Event) -> None:
    parts = urlsplit(order["url"])
    url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    seen: dict[str, str] = {}
    due, opened = time.monotonic(), False
    while not closing.wait(max(0.0, due - time.monotonic())):
        due = max(due + order["interval_s"], time.monotonic())  # a picture that took long is not made up for
        with client.stream("GET", url, headers=seen) as response:
            arrived = since_start()
            if response.status_code == HTTPStatus.NOT_MODIFIED:
                channel.unchanged()
                continue
            data = _body(response, order["timeout_s"])
        try:
            picture = decode_image(data, "picture", MOST_PIXELS)
        except BadInputError:
            channel.lost("unreadable")
            continue
        height, width = picture.shape[:2]
        if not opened:
            opened = True
            channel.opened(codec=response.headers.get("content-type", "")[:40], width=width, height=height)
        channel.picture(arrived, height, width, lambda into, picture=picture: np.copyto(into, picture))
        # Only now: a picture that could not be used is not to be called unchanged.
        seen = {ask: response.headers[told] for told, ask in _VALIDATORS if told in response.headers}


def _body(response: httpx.Response, seconds: float) -> bytes:
    """The picture as it came.

    Raises:
        SnapshotError: the answer is none, too large or too slow.
    """
    status = response.status_code
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise SnapshotError(f"it refuses user and password ({status})", hopeless=True)
    if response.is_redirect:
        raise SnapshotError(f"it leads to another address ({status}); give that one as url", hopeless=True)
    if status != HTTPStatus.OK:
        raise SnapshotError(f"it answers {status} {response.reason_phrase}".rstrip())
    if response.headers.get("content-type", "").lower().startswith(_WORDS):
        raise SnapshotError("what comes from this address is no picture; is it a login page, or does it lack a path?")
    end, body = time.monotonic() + seconds, bytearray()
    for part in response.iter_bytes():
        body += part
        if len(body) > _MOST_BYTES:
            raise SnapshotError(f"it sends more than {_MOST_BYTES >> 20} MiB; is it a stream (kind: stream)?")
        if time.monotonic() > end:
            raise SnapshotError(f"a picture takes more than {seconds:g} s; is it a stream (kind: stream)?")
    return bytes(body)
