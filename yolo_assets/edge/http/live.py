"""MJPEG for whoever looks: the newest picture as often as a viewer can take it, for so many viewers and no more.

A viewer never holds anything that a worker needs. It looks at the board for something newer; who is slow finds the
newest picture and has missed the ones between. Who takes nothing for a while is let go, so that a browser left open on
a sleeping tablet does not keep somebody else out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.responses import Response

from yolo_assets.edge.http.problems import Problem
from yolo_assets.edge.types import Result

_BOUNDARY = "frame"
_PATIENCE = 20.0
_WAIT = 5.0


class Viewers:
    """FrameCounts who looks. Used on the event loop only."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.now = 0

    def enter(self) -> None:
        """Let one more in.

        Raises:
            Problem: 503 when there are enough.
        """
        if self.now >= self._most:
            detail = f"{self._most} viewers look already; close one, or raise listen.viewers"
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, {"Retry-After": "10"})
        self.now += 1

    def leave(self) -> None:
        """One less."""
        self.now -= 1


class LiveStream(Response):
    """``multipart/x-mixed-replace``, until the viewer leaves.

    Args:
        newer: waits for a result above a sequence number, for so many seconds at most.
        encode: the JPEG of a result.
        viewers: where this one counts.
        patience: seconds after which a viewer that takes nothing is let go.
    """

    def __init__(
        self,
        newer: Callable[[int, float], Awaitable[Result | None]],
        encode: Callable[[Result], Awaitable[bytes]],
        viewers: Viewers,
        patience: float = _PATIENCE,
    ) -> None:
        super().__init__(media_type=f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
        del self.headers["content-length"]
        self._newer, self._encode, self._viewers, self._patience = newer, encode, viewers, patience
        viewers.enter()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send until the viewer leaves, or takes nothing any more."""
        try:
            sending = asyncio.create_task(self._send(send))
            leaving = asyncio.create_task(_left(receive))
            done, open_ones = await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            for task in open_ones:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            for task in done:
                with suppress(OSError, TimeoutError, ClientDisconnect):
                    task.result()
        finally:
            self._viewers.leave()

    async def _send(self, send: Any) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        after = -1
        while True:
            result = await self._newer(after, _WAIT)
            if result is None:
                continue
            after = result.sequence
            jpeg = await self._encode(result)
            head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            body = head.encode() + jpeg + b"\r\n"
            # Waits while the viewer's buffer is full; nothing else waits for it.
            message = {"type": "http.response.body", "body": body, "more_body": True}
            await asyncio.wait_for(send(message), self._patience)


async def _left(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
