"""What every request passes first: the Host header, the origin, the size of its body; and the headers of every answer.

Plain ASGI, so that a stream of pictures goes through untouched. Does not belong here: the token (``auth``).
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException

from yolo_assets.edge.config.agent import Listen
from yolo_assets.edge.http.headers import HEADERS
from yolo_assets.edge.http.problems import problem_response

_SAFE = {"GET", "HEAD", "OPTIONS"}


def known_hosts(listen: Listen) -> frozenset[str]:
    """The names under which this agent may be asked, lower case. Addresses in figures always may.

    A page of another site reaches this agent only under a name that its owner points at us (DNS rebinding), and then
    the Host header holds that name.
    """
    own = socket.gethostname()
    names = {"localhost", own, socket.getfqdn() if not listen.loopback else own, listen.host, *listen.hosts}
    return frozenset(name.lower().rstrip(".") for name in names)


class Gate:
    """ASGI middleware.

    Args:
        app: what comes after it.
        hosts: from ``known_hosts``.
        most: bytes that a body may have.
        larger: other limits, by path.
    """

    def __init__(self, app: Any, hosts: Iterable[str], most: int, larger: Mapping[str, int] | None = None) -> None:
        self._app = app
        self._hosts = frozenset(hosts)
        self._most = most
        self._larger = dict(larger or {})

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Refuse, or hand on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        limit = self._larger.get(scope["path"], self._most)
        refusal = self._refusal(scope, limit)
        if refusal is not None:
            status, detail = refusal
            # What was not read of the body must not be taken for the next request.
            answer = problem_response(status, detail, {"Connection": "close"})
            await answer(scope, receive, send_with_headers)
            return
        await self._app(scope, _counting(receive, limit), send_with_headers)

    def _refusal(self, scope: Any, limit: int) -> tuple[HTTPStatus, str] | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._is_known(host):
            detail = f"{host!r} is no name of this agent; add it to listen.hosts, or ask it by its address"
            return HTTPStatus.MISDIRECTED_REQUEST, detail
        origin = headers.get("origin")
        foreign = headers.get("sec-fetch-site") in ("cross-site", "same-site") or (
            origin is not None and urlsplit(origin).netloc.lower() != host.lower()
        )
        if scope["method"] not in _SAFE and foreign:
            return HTTPStatus.FORBIDDEN, "the request comes from the page of another site; open the agent's own page"
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or int(length) > limit:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _too_large(limit)
        return None

    def _is_known(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name.lower().rstrip(".") in self._hosts
        return True


def _counting(receive: Any, limit: int) -> Any:
    """Ends a body that is longer than it said, or said nothing."""
    read = 0

    async def counted() -> Any:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > limit:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _too_large(limit), {"Connection": "close"})
        return message

    return counted


def _too_large(limit: int) -> str:
    return f"the body is larger than the {limit} bytes that this route takes"
