"""Who may send which request: Host header, origin, size of the body, bearer token; and the headers of every answer.

The token is read from the Authorization header and from nowhere else: no cookie and no query, so that no other site can
make a browser send it, and no log or history holds it. Reading needs no token on this machine, everything else does.
What every request passes first is plain ASGI, so that a stream of pictures goes through untouched.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import socket
import time
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException

from yolo_assets.edge.config.agent import Listen
from yolo_assets.edge.http.problems import HEADERS, ApiProblem, problem_response

log = logging.getLogger(__name__)
_SAFE = {"GET", "HEAD", "OPTIONS"}
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="yolo-assets"'}
_REPORT_EVERY = 10.0
_bearer = HTTPBearer(auto_error=False, scheme_name="token", description="The content of token_file.")
# Only describes the header in /openapi.json; ``TokenGuard`` reads it itself, to answer as a problem document.
Described = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


class TokenGuard:
    """Checks requests against the token. Without a token nothing can be changed and nothing is read from outside."""

    def __init__(self, token: str | None) -> None:
        self._token = token.encode() if token else None
        self._reported = -_REPORT_EVERY

    async def may_read(self, request: Request, _: Described = None) -> None:
        """Let requests of this machine pass; others need the token."""
        if not is_local(request):
            self.check(request)

    async def may_change(self, request: Request, _: Described = None) -> None:
        """Demand the token."""
        self.check(request)

    def check(self, request: Request) -> None:
        """Compare the token; this takes the same time however much of it is right.

        Raises:
            ApiProblem: 403 when the agent has no token, 401 when the request brings none or a wrong one.
        """
        if self._token is None:
            raise ApiProblem(
                HTTPStatus.FORBIDDEN, "this agent has no token, so it cannot be changed; set token_file and restart"
            )
        if self.knows(request):
            return
        if "authorization" in request.headers and time.monotonic() - self._reported > _REPORT_EVERY:
            self._reported = time.monotonic()  # guessing must not fill the log
            log.warning("a wrong token came from %s", request.client.host if request.client else "somewhere")
        raise ApiProblem(HTTPStatus.UNAUTHORIZED, "send the token as: Authorization: Bearer <token>", _CHALLENGE)

    def knows(self, request: Request) -> bool:
        """Whether the request brings the token."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        return (
            self._token is not None
            and scheme.lower() == "bearer"
            and hmac.compare_digest(given.strip().encode(), self._token)
        )


def is_local(request: Request) -> bool:
    """Whether the peer is this machine.

    A proxy on this machine names the real peer in X-Forwarded-For, which the server trusts from loopback only.
    """
    try:
        return request.client is not None and ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def requester(request: Request) -> str:
    """Who asked, as far as it can be known: the holder of the token, and from where."""
    return f"token holder at {request.client.host if request.client else 'unknown'}"


def known_hosts(listen: Listen) -> frozenset[str]:
    """The names under which this agent may be asked, lower case. Numeric addresses always may.

    A page of another site reaches this agent only under a name that its owner points at us (DNS rebinding), and then
    the Host header holds that name.
    """
    own = socket.gethostname()
    names = {"localhost", own, socket.getfqdn() if not listen.loopback else own, listen.host, *listen.hosts}
    return frozenset(name.lower().rstrip(".") for name in names)


class RequestGate:
    """ASGI middleware.

    Args:
        app: what comes after it.
        hosts: from ``known_hosts``.
        most: bytes that a body may have.
        larger: other limits, by path.
        option: where more hosts are configured, for the refusal.
    """

    def __init__(
        self,
        app: Any,
        hosts: Iterable[str],
        most: int,
        larger: Mapping[str, int] | None = None,
        option: str = "listen.hosts",
    ) -> None:
        self._app = app
        self._hosts = frozenset(hosts)
        self._most = most
        self._larger = dict(larger or {})
        self._option = option

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
            detail = f"{host!r} is not a name of this machine; add it to {self._option}, or use its address"
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
