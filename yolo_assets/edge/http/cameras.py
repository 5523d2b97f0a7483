"""What the cameras see: the newest frame as a document, as a picture, as a stream."""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse, Response

from yolo_assets.edge.http.drawing import Pictures
from yolo_assets.edge.http.live import LiveStream, Viewers
from yolo_assets.edge.http.parts import ApiParts
from yolo_assets.edge.http.problems import Problem
from yolo_assets.edge.http.schemas import LatestFrame, errors
from yolo_assets.edge.types import Result

_POLL = 0.02
_LONGEST_WAIT = 10.0
_JPEG: dict[str, Any] = {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}
_ERRORS = errors(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY)
Camera = Annotated[str, Path(description="camera id", examples=["lineA_cam01"])]


def routes(parts: ApiParts, pictures: Pictures, viewers: Viewers, reader: list[Any]) -> APIRouter:
    """The routes below ``/v1/cameras``."""
    router = APIRouter(prefix="/v1/cameras/{camera_id}", tags=["cameras"], dependencies=reader)

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
        result = await _newer(parts, camera_id, after, wait)
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
        result = await _newer(parts, camera_id, -1, 0)
        if result is None:
            raise Problem(HTTPStatus.NOT_FOUND, f"camera {camera_id} has no result yet")
        headers = {"X-Frame-Sequence": str(result.sequence), "X-Model-Version": result.model_version}
        return Response(await pictures.jpeg(result, boxes=boxes), media_type="image/jpeg", headers=headers)

    @router.get(
        "/live",
        summary="MJPEG with boxes",
        response_class=Response,
        responses={
            200: {
                "description": "One JPEG a part, for as long as the viewer stays.",
                "content": {"multipart/x-mixed-replace": {}},
            },
            **_ERRORS,
            **errors(HTTPStatus.SERVICE_UNAVAILABLE),
        },
    )
    async def live(camera_id: Camera) -> Response:
        """For players and dashboards. A slow viewer gets fewer pictures; ``listen.viewers`` says how many may look."""
        _known(parts, camera_id)
        return LiveStream(
            lambda after, wait: _newer(parts, camera_id, after, wait),
            lambda result: pictures.jpeg(result, boxes=True),
            viewers,
        )

    return router


async def _newer(parts: ApiParts, camera_id: str, after: int, wait: float) -> Result | None:
    """The newest result above ``after``. Looks again and again instead of holding a thread for each viewer."""
    _known(parts, camera_id)
    end = time.monotonic() + wait
    while True:
        result = parts.board.latest(camera_id)
        if result is not None and result.sequence > after:
            return result
        if time.monotonic() >= end:
            return None
        await asyncio.sleep(_POLL)


def _known(parts: ApiParts, camera_id: str) -> None:
    if camera_id not in parts.camera_ids:
        raise Problem(HTTPStatus.NOT_FOUND, f"no camera {camera_id!r} here; there are: {', '.join(parts.camera_ids)}")
