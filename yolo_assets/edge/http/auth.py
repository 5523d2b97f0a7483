"""Who may do what: reading is free on this machine, everything else needs the bearer token.

The token is read from the Authorization header and from nowhere else: no cookie and no query, so that no other site
can make a browser send it, and no log or history holds it.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import time
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from yolo_assets.edge.http.problems import Problem

log = logging.getLogger(__name__)
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="yolo-assets"'}
_TELL_EVERY = 10.0
_bearer = HTTPBearer(auto_error=False, scheme_name="token", description="The content of token_file.")
# Only describes the header in /openapi.json; ``Guard`` reads it itself, to answer as a problem document.
Described = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


class Guard:
    """Checks requests against the token. Without a token nothing can be changed and nothing is read from outside."""

    def __init__(self, token: str | None) -> None:
        self._token = token.encode() if token else None
        self._told = -_TELL_EVERY

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
            Problem: 403 when the agent has no token, 401 when the request brings none or a wrong one.
        """
        if self._token is None:
            raise Problem(
                HTTPStatus.FORBIDDEN, "this agent has no token, so it cannot be changed; set token_file and restart"
            )
        if self.knows(request):
            return
        if "authorization" in request.headers and time.monotonic() - self._told > _TELL_EVERY:
            self._told = time.monotonic()  # somebody who guesses must not fill the log
            log.warning("a wrong token came from %s", request.client.host if request.client else "somewhere")
        raise Problem(HTTPStatus.UNAUTHORIZED, "send the token as: Authorization: Bearer <token>", _CHALLENGE)

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

    A proxy on this machine names the real peer in X-Forwarded-For, which the server believes from loopback only.
    """
    try:
        return request.client is not None and ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def who(request: Request) -> str:
    """Who asked, as far as it can be known: the holder of the token, from where."""
    return f"token holder at {request.client.host if request.client else 'unknown'}"
