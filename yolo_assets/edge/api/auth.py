"""Who may do what: reading is free on this machine, everything else needs the bearer token."""

from __future__ import annotations

import hmac
import ipaddress
from http import HTTPStatus

from fastapi import Request

from yolo_assets.edge.api.problems import Problem

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="yolo-assets"'}


class Guard:
    """Checks requests against the token. Without a token nothing can be changed and nothing is read from outside."""

    def __init__(self, token: str | None) -> None:
        self._token = token.encode() if token else None

    def may_read(self, request: Request) -> None:
        """Let requests of this machine pass; others need the token."""
        if not _is_local(request):
            self.may_change(request)

    def may_change(self, request: Request) -> None:
        """Demand the token. The comparison takes the same time however much of it is right.

        Raises:
            Problem: 403 when the agent has no token, 401 when the request brings none or a wrong one.
        """
        if self._token is None:
            raise Problem(
                HTTPStatus.FORBIDDEN, "this agent has no token, so it cannot be changed; set token_file and restart"
            )
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._token):
            raise Problem(HTTPStatus.UNAUTHORIZED, "send the token as: Authorization: Bearer <token>", _CHALLENGE)


def _is_local(request: Request) -> bool:
    """Whether the peer is this machine. Behind a proxy every peer is, so a proxy must demand the token itself."""
    try:
        return request.client is not None and ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False
