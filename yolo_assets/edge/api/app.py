"""The routes. Reading is GET; whatever changes something is POST and needs the token."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from pydantic import AfterValidator, BaseModel, ConfigDict

from yolo_assets import __version__
from yolo_assets.contracts import names
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.edge import metrics
from yolo_assets.edge.api import problems
from yolo_assets.edge.api.auth import Guard
from yolo_assets.edge.api.drawing import Pictures
from yolo_assets.edge.api.problems import Problem
from yolo_assets.edge.control import ModelControl
from yolo_assets.edge.results import Result, ResultBoard
from yolo_assets.edge.staging import Notice
from yolo_assets.edge.swaps import SwapLog

PAGE = Path(__file__).parent.parent / "page"
_PAGE_FILES = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}
_POLL = 0.02
_LONGEST_WAIT = 10.0
_BOUNDARY = "frame"
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True)
class ApiParts:
    """What the routes use."""

    status: Callable[[], dict[str, Any]]
    models: Callable[[], dict[str, Any]]
    not_ready: Callable[[], list[str]]
    board: ResultBoard
    control: ModelControl
    swaps: SwapLog
    want: Callable[[Notice], bool]
    look_now: Callable[[], None]
    metrics: metrics.EdgeMetrics
    camera_ids: tuple[str, ...]
    token: str | None


def _version(value: str) -> str:
    try:
        return names.check_version(value)
    except BadInputError as error:
        raise ValueError(str(error)) from None


class ReloadRequest(BaseModel):
    """Which version to load. Without one the channel is looked at now."""

    model_config = ConfigDict(extra="forbid")

    version: Annotated[str, AfterValidator(_version)] | None = None


def build_app(parts: ApiParts) -> FastAPI:
    """The application; it holds no state but the encoded pictures."""
    # The interactive documentation of FastAPI loads from a CDN; the description itself is at /openapi.json.
    app = FastAPI(title="yolo_assets edge agent", version=__version__, docs_url=None, redoc_url=None)
    guard = Guard(parts.token)
    reader, writer = [Depends(guard.may_read)], [Depends(guard.may_change)]
    pictures = Pictures(lambda: _classes(parts.control))
    problems.install(app)

    @app.middleware("http")
    async def _headers(request: Request, call_next: Any) -> Response:
        response = await call_next(request)
        response.headers.update(_HEADERS)
        if "cache-control" not in response.headers:
            response.headers["Cache-Control"] = "no-store"
        return response

    @app.get("/", include_in_schema=False)
    async def _page() -> FileResponse:
        return FileResponse(PAGE / "index.html", media_type="text/html")

    @app.get("/page/{name}", include_in_schema=False)
    async def _page_file(name: str) -> FileResponse:
        if name not in _PAGE_FILES:
            raise Problem(HTTPStatus.NOT_FOUND, f"the page has no file {name}")
        return FileResponse(PAGE / name, media_type=_PAGE_FILES[name])

    @app.get("/healthz", summary="The process is alive")
    async def _healthz() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz", summary="Every live camera had a result within the configured seconds")
    async def _readyz() -> Response:
        reasons = parts.not_ready()
        if reasons:
            return problems.problem_response(HTTPStatus.SERVICE_UNAVAILABLE, "; ".join(reasons), reasons=reasons)
        return JSONResponse({"status": "ready"})

    @app.get("/metrics", summary="Prometheus metrics", dependencies=reader)
    async def _metrics() -> Response:
        return Response(parts.metrics.render(), headers={"Content-Type": metrics.CONTENT_TYPE})

    @app.get("/v1/status", summary="Cameras, frames, model, swaps, spool", dependencies=reader)
    async def _status() -> dict[str, Any]:
        return parts.status()

    @app.get("/v1/models", summary="The models in memory, pin and quarantine", dependencies=reader)
    async def _models() -> dict[str, Any]:
        return parts.models()

    @app.get("/v1/audit", summary="Every attempt to change the model, oldest first", dependencies=reader)
    async def _audit() -> list[dict[str, Any]]:
        return [event.model_dump(mode="json") for event in parts.swaps.events()]

    @app.post("/rollback", summary="Serve the previous model again, at once", dependencies=writer)
    @app.post("/v1/rollback", summary="Serve the previous model again, at once", dependencies=writer)
    def _rollback(request: Request) -> dict[str, Any]:
        done = parts.control.roll_back(_who(request))
        return {
            "from": done.source,
            "to": done.target,
            "seconds": round(done.seconds, 6),
            "pinned": done.pinned.model_dump(mode="json"),
        }

    @app.post("/v1/unpin", summary="Follow the channel again", dependencies=writer)
    def _unpin() -> dict[str, Any]:
        pin = parts.control.unpin()
        parts.look_now()
        return {"unpinned": pin.version if pin else None}

    @app.post(
        "/v1/models/reload",
        status_code=HTTPStatus.ACCEPTED,
        summary="Load a version id of the configured model, or look at the channel now",
        dependencies=writer,
    )
    def _reload(request: Request, wish: ReloadRequest | None = None) -> dict[str, Any]:
        version = wish.version if wish else None
        if version is None:
            parts.look_now()
            return {"wanted": None, "see": "/v1/audit"}
        by = _who(request)
        notice = Notice(
            version=version, manifest_sha256=None, release=None, trigger="push", reason=f"by {by}", pinned_by=by
        )
        return {"wanted": version, "accepted": parts.want(notice), "see": "/v1/audit"}

    @app.post("/v1/gaps/reset", summary="Measure the longest silences anew", dependencies=writer)
    def _reset_gaps() -> dict[str, bool]:
        parts.board.reset()
        return {"reset": True}

    @app.get("/v1/cameras/{camera_id}/latest", summary="The newest frame with its boxes", dependencies=reader)
    async def _latest(
        camera_id: str,
        after: Annotated[int, Query(description="wait for a frame newer than this sequence number")] = -1,
        wait: Annotated[float, Query(ge=0, le=_LONGEST_WAIT)] = 5.0,
    ) -> Response:
        result = await _newer(parts, camera_id, after, wait)
        if result is None:
            return Response(status_code=HTTPStatus.NO_CONTENT)
        return JSONResponse(await asyncio.to_thread(pictures.document, result))

    @app.get("/v1/cameras/{camera_id}/snapshot.jpg", summary="The newest frame as JPEG", dependencies=reader)
    async def _snapshot(camera_id: str, boxes: bool = True) -> Response:
        result = await _newer(parts, camera_id, -1, 0)
        if result is None:
            raise Problem(HTTPStatus.NOT_FOUND, f"camera {camera_id} has no result yet")
        jpeg = await asyncio.to_thread(pictures.jpeg, result, boxes=boxes)
        headers = {"X-Frame-Sequence": str(result.sequence), "X-Model-Version": result.model_version}
        return Response(jpeg, media_type="image/jpeg", headers=headers)

    @app.get("/v1/cameras/{camera_id}/live", summary="MJPEG with boxes", dependencies=reader)
    async def _live(camera_id: str) -> StreamingResponse:
        _known(parts, camera_id)
        return StreamingResponse(
            _stream(parts, pictures, camera_id), media_type=f"multipart/x-mixed-replace; boundary={_BOUNDARY}"
        )

    return app


async def _stream(parts: ApiParts, pictures: Pictures, camera_id: str) -> AsyncIterator[bytes]:
    after = -1
    while True:
        result = await _newer(parts, camera_id, after, _LONGEST_WAIT)
        if result is None:
            continue
        after = result.sequence
        jpeg = await asyncio.to_thread(pictures.jpeg, result, boxes=True)
        head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
        yield head.encode() + jpeg + b"\r\n"


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


def _classes(control: ModelControl) -> Sequence[str]:
    serving = control.serving
    return serving.manifest.class_names if serving else ()


def _who(request: Request) -> str:
    """Who asked, as far as it can be known: the holder of the token, from where."""
    return f"token holder at {request.client.host if request.client else 'unknown'}"
