"""Who may send which request: Host header, origin, size of the body, role; and the headers of every answer.

A token is read from the Authorization header and from nowhere else: no cookie and no query, so that no other site can
make a browser send it, and no log or history holds it. Seeing needs no token on this machine, everything else needs one
or a client certificate, of a person whose role is enough. What every request passes first is plain ASGI, so that a
stream of pictures goes through untouched.
"""

from __future__ import annotations

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
from yolo_assets.edge.http.people import Identity, PeopleBook, Role, may
from yolo_assets.edge.http.problems import HEADERS, ApiProblem, problem_response

log = logging.getLogger(__name__)
_SAFE = {"GET", "HEAD", "OPTIONS"}
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="yolo-assets"'}
_REPORT_EVERY = 10.0
CLIENT_NAME = "client_common_name"
"""Of the extension ``tls`` of a request: the common name of the verified certificate of its sender."""
_bearer = HTTPBearer(auto_error=False, scheme_name="token", description="The token of a person, or that of token_file.")
# Only describes the header in /openapi.json; ``RoleGuard`` reads it itself, to answer as a problem document.
Described = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]

NEEDS: Mapping[str, Role | None] = {
    "GET /": None,
    "GET /page/texts.json": None,
    "GET /page/{name}": None,
    "GET /openapi.json": None,
    "GET /healthz": None,
    "GET /readyz": None,
    "GET /metrics": "see",
    "GET /v1/whoami": "see",
    "GET /v1/status": "see",
    "GET /v1/models": "see",
    "GET /v1/audit": "see",
    "GET /v1/cameras/{camera_id}/latest": "see",
    "GET /v1/cameras/{camera_id}/snapshot.jpg": "see",
    "GET /v1/cameras/{camera_id}/live": "see",
    "GET /v1/cameras/{camera_id}/batch": "see",
    "POST /v1/infer": "see",
    "PUT /v1/cameras/{camera_id}/batch": "operate",
    "POST /v1/gaps/reset": "operate",
    "POST /v1/pin": "operate",
    "POST /v1/unpin": "administer",
    "POST /v1/models/reload": "administer",
    "POST /v1/rollback": "administer",
    "POST /rollback": "administer",
}
"""The role that each route of the agent needs; None: open to all. A route that is not here needs an administrator."""


class RoleGuard:
    """Lets requests to a route whose sender has the role that it needs. Where nobody has one, nothing can be changed.

    Args:
        people: who may do what.
        needs: the role by method and route.
    """

    def __init__(self, people: PeopleBook, needs: Mapping[str, Role | None] = NEEDS) -> None:
        self._people = people
        self._needs = needs
        self._reported = -_REPORT_EVERY

    async def admit(self, request: Request, _: Described = None) -> None:
        """Let a request pass, or refuse it. Seeing needs nothing on this machine.

        Raises:
            ApiProblem: 403 when the agent knows nobody or the role is not enough, 401 when the request brings nothing
                that is somebody's.
        """
        needed = self._needs.get(f"{request.method} {request.scope['route'].path}", "administer")
        identity = self.who(request)
        if needed is None or (needed == "see" and is_local(request)):
            return
        if identity is None:
            raise self._unknown(request)
        if not may(identity.role, needed):
            raise ApiProblem(
                HTTPStatus.FORBIDDEN,
                f"{identity.name} has the role {identity.role}, and this needs {needed}; ask an administrator of "
                "this device",
            )

    def who(self, request: Request) -> Identity | None:
        """Who sent a request, by token or client certificate; None: nobody who is known here."""
        if not hasattr(request.state, "identity"):
            scheme, _, given = request.headers.get("authorization", "").partition(" ")
            token = given.strip() if scheme.lower() == "bearer" else None
            tls: dict[str, Any] = request.scope.get("extensions", {}).get("tls", {})
            request.state.identity = self._people.find(token, tls.get(CLIENT_NAME))
        return request.state.identity

    def allowed(self, request: Request) -> list[str]:
        """The routes that the sender of a request may use."""
        identity = self.who(request)
        role: Role | None = identity.role if identity is not None else "see" if is_local(request) else None
        return [
            route for route, needed in self._needs.items() if needed is None or (role is not None and may(role, needed))
        ]

    def _unknown(self, request: Request) -> ApiProblem:
        if not self._people.anybody:
            return ApiProblem(
                HTTPStatus.FORBIDDEN,
                "this agent has no token, so it cannot be changed; set token_file and restart, or add a person with: "
                "yolo-assets edge token add",
            )
        return self.refused(request)

    def refused(self, request: Request) -> ApiProblem:
        """The answer to a request that brings nothing that is somebody's."""
        if "authorization" in request.headers and time.monotonic() - self._reported > _REPORT_EVERY:
            self._reported = time.monotonic()  # guessing must not fill the log
            log.warning("a wrong token came from %s", request.client.host if request.client else "somewhere")
        return ApiProblem(HTTPStatus.UNAUTHORIZED, "send the token as: Authorization: Bearer <token>", _CHALLENGE)


def is_local(request: Request) -> bool:
    """Whether the peer is this machine.

    A proxy on this machine names the real peer in X-Forwarded-For, which the server trusts from loopback only.
    """
    try:
        return request.client is not None and ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def requester(request: Request) -> str:
    """Who asked, by name, and from where: ``A. Berg at 10.1.2.3``, or ``token holder at 10.1.2.3``."""
    identity: Identity = request.state.identity
    return f"{identity.name} at {request.client.host if request.client else 'unknown'}"


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
