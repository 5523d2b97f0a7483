"""What the cameras see: the newest frame as a document, as a picture, as an MJPEG stream.

A viewer never holds anything that a worker needs. It polls the latest results for something newer; a slow viewer gets
the newest picture and misses the ones between. A viewer that takes nothing for a while is disconnected, so that a
browser left open on a sleeping tablet does not keep others out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect

from yolo_assets.edge.http.drawing import Pictures
from yolo_assets.edge.http.problems import ApiProblem
from yolo_assets.edge.http.schemas import LatestFrame, errors
from yolo_assets.edge.pipeline.results import ResultBoard
from yolo_assets.edge.types import Result

_BOUNDARY = "frame"
_PATIENCE = 20.0
_WAIT = 5.0
_POLL = 0.02
_LONGEST_WAIT = 10.0
_JPEG: dict[str, Any] = {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}
_ERRORS = errors(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY)
Camera = Annotated[str, Path(description="camera id", examples=["lineA_cam01"])]


def routes(
    board: ResultBoard, camera_ids: Sequence[str], pictures: Pictures, viewers: Viewers, admitted: list[Any]
) -> APIRouter:
    """The routes below ``/v1/cameras``."""
    router = APIRouter(prefix="/v1/cameras/{camera_id}", tags=["cameras"], dependencies=admitted)

    @router.get(
        "/latest",
        summary="The newest frame with its boxes",
        response_model=LatestFrame,
        responses={204: {"description": "Nothing newer came in time."}, **_ERRORS},
    )
    async def latest_frame(
        camera_id: Camera,
        after: Annotated[int, Query(description="wait for a frame newer than this sequence number")] = -1,
        wait: Annotated[float, Query(ge=0, le=_LONGEST_WAIT, description="seconds")] = 5.0,
    ) -> Response:
        """Answers as soon as there is a frame newer than ``after``. The page draws boxes itself, from this."""
        check_camera(camera_ids, camera_id)
        result = await _newer(board, camera_id, after, wait)
        if result is None:
            return Response(status_code=HTTPStatus.NO_CONTENT)
        return JSONResponse(await pictures.document(result))

    @router.get(
        "/snapshot.jpg",
        summary="The newest frame as JPEG",
        response_class=Response,
        responses={200: _JPEG, **_ERRORS},
    )
    async def snapshot(camera_id: Camera, boxes: bool = True) -> Response:
        """With its boxes, or as captured."""
        check_camera(camera_ids, camera_id)
        result = await _newer(board, camera_id, -1, 0)
        if result is None:
            raise ApiProblem(HTTPStatus.NOT_FOUND, f"camera {camera_id} has no result yet")
        headers = {"X-Frame-Sequence": str(result.sequence), "X-Model-Version": result.model_version}
        return Response(await pictures.jpeg(result, boxes=boxes), media_type="image/jpeg", headers=headers)

    @router.get(
        "/live",
        summary="MJPEG with boxes",
        response_class=Response,
        responses={
            200: {
                "description": "One JPEG per part, for as long as the viewer stays.",
                "content": {"multipart/x-mixed-replace": {}},
            },
            **_ERRORS,
            **errors(HTTPStatus.SERVICE_UNAVAILABLE),
        },
    )
    async def live(camera_id: Camera) -> Response:
        """For players and dashboards. A slow viewer gets fewer pictures; ``listen.viewers`` limits their number."""
        check_camera(camera_ids, camera_id)
        return LiveStream(
            lambda after, wait: _newer(board, camera_id, after, wait),
            lambda result: pictures.jpeg(result, boxes=True),
            viewers,
        )

    return router


async def _newer(board: ResultBoard, camera_id: str, after: int, wait: float) -> Result | None:
    """The newest result above ``after``. Polls, instead of holding a thread for each viewer."""
    end = time.monotonic() + wait
    while True:
        result = board.latest(camera_id)
        if result is not None and result.sequence > after:
            return result
        if time.monotonic() >= end:
            return None
        await asyncio.sleep(_POLL)


def check_camera(camera_ids: Sequence[str], camera_id: str) -> None:
    """Refuse a camera that this device does not have.

    Raises:
        ApiProblem: 404.
    """
    if camera_id not in camera_ids:
        raise ApiProblem(HTTPStatus.NOT_FOUND, f"no camera {camera_id!r} here; there are: {', '.join(camera_ids)}")


class Viewers:
    """FrameCounts viewers. Used on the event loop only."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._now = 0

    def enter(self) -> None:
        """Let one more in.

        Raises:
            ApiProblem: 503 when there are enough.
        """
        if self._now >= self._most:
            detail = f"{self._most} viewers are connected already; close one, or raise listen.viewers"
            raise ApiProblem(HTTPStatus.SERVICE_UNAVAILABLE, detail, {"Retry-After": "10"})
        self._now += 1

    def leave(self) -> None:
        """One less."""
        self._now -= 1

    def count(self) -> int:
        """How many watch now."""
        return self._now


class LiveStream(Response):
    """``multipart/x-mixed-replace``, until the viewer leaves.

    Args:
        newer: waits for a result above a sequence number, for so many seconds at most.
        encode: the JPEG of a result.
        viewers: where this one counts.
        patience: seconds after which a viewer that takes nothing is disconnected.
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
            leaving = asyncio.create_task(_disconnected(receive))
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


async def _disconnected(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
