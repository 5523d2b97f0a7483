"""The application: routes, headers, errors as pages. Every route is GET; pictures are drawn one at a time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, TypeVar

from fastapi import FastAPI, Request
from fastapi import Path as InPath
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from yolo_assets import __version__
from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.names import check_id, today_page_key
from yolo_assets.contracts.times import Hour
from yolo_assets.edge.config.agent import Listen
from yolo_assets.edge.http.access import RequestGate, known_hosts
from yolo_assets.edge.http.problems import HEADERS
from yolo_assets.pages.documents import Documents
from yolo_assets.pages.links import Root
from yolo_assets.pages.places import Places
from yolo_assets.pages.samples import batch_sheet, drawn, picture_of, sample_frames, sheet, the_frame, webp
from yolo_assets.storage.base import ObjectNotFoundError, StoreUnavailableError

log = logging.getLogger(__name__)
T = TypeVar("T")
_STYLE = Path(__file__).with_name("style.css")
_KEPT = {"Cache-Control": "private, max-age=60"}
_PICTURE = {**_KEPT, "Cross-Origin-Resource-Policy": "cross-origin"}
"""Dagster's UI shows them in its own pages, from another port without a proxy; pages of others can show
and not read them."""
_SHOWN_IN_PLACE = {
    ".json": "application/json",
    ".ndjson": "text/plain; charset=utf-8",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
}
"""What a browser opens; everything else it saves, HTML too: anybody who labels can put a file into the store."""
_WALL = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; frame-ancestors 'none'; "
    "sandbox allow-scripts"
)
_HourKey = Annotated[str, InPath(pattern=r"^\d{8}_\d{2}$")]


def new_app(places: Places, listen: Listen) -> FastAPI:
    """The pages.

    Args:
        places: what they are read from.
        listen: names under which browsers may ask.
    """
    app = FastAPI(title="yolo_assets pages", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    documents, drawing = Documents(places), threading.Lock()
    _install_errors(app, documents)
    app.add_middleware(RequestGate, hosts=known_hosts(listen), most=0, option="YOLO_ASSETS_PAGES")

    def one_at_a_time(draw: Callable[[], bytes]) -> Response:
        with drawing:
            return Response(draw(), media_type="image/webp", headers=_PICTURE)

    def page(html: str) -> Response:
        return HTMLResponse(html, headers=_KEPT)

    @app.get("/")
    def front() -> Response:
        return page(documents.front())

    @app.get("/style.css")
    def style() -> Response:
        return FileResponse(_STYLE, media_type="text/css", headers=_KEPT)

    @app.get("/healthz")
    def health() -> Response:
        return PlainTextResponse("alive\n")

    @app.get("/today")
    def today() -> Response:
        html = places.store.get(today_page_key())
        return HTMLResponse(html, headers={"Content-Security-Policy": _WALL})

    @app.get("/hours/{key}")
    def hour(key: _HourKey) -> Response:
        return page(documents.hour(Hour.from_key(key)))

    @app.get("/hours/{key}/samples.webp")
    def hour_sheet(key: _HourKey) -> Response:
        found = Hour.from_key(key)
        cameras = documents.some_cameras(found)
        frames = [frame for camera in cameras for frame in sample_frames(places.store, found, camera, 1)]
        if not frames:
            raise ObjectNotFoundError(f"no frame of {found} was kept, or its tables are not there yet")
        return one_at_a_time(lambda: sheet(frames, places.spool, places.archive, named=True))

    @app.get("/hours/{key}/{camera_id}")
    def camera(key: _HourKey, camera_id: str) -> Response:
        return page(documents.camera(Hour.from_key(key), check_id(camera_id)))

    @app.get("/hours/{key}/{camera_id}/samples.webp")
    def camera_sheet(key: _HourKey, camera_id: str) -> Response:
        frames = sample_frames(places.store, Hour.from_key(key), check_id(camera_id))
        if not frames:
            raise ObjectNotFoundError(f"no frame of {camera_id} was kept in {key}, or its tables are not there yet")
        return one_at_a_time(lambda: sheet(frames, places.spool, places.archive, named=False))

    @app.get("/hours/{key}/{camera_id}/frames/{name}")
    def one_frame(key: _HourKey, camera_id: str, name: str) -> Response:
        frame = the_frame(places.store, Hour.from_key(key), check_id(camera_id), name)
        return one_at_a_time(lambda: webp(drawn(frame, picture_of(frame, places.spool, places.archive))))

    @app.get("/batches/{batch}/sheet.webp")
    def one_batch(batch: str) -> Response:
        return one_at_a_time(lambda: batch_sheet(places.store, batch))

    @app.get("/models/{name}/{version}")
    def model(name: str, version: str) -> Response:
        return page(documents.model(name, version))

    @app.get("/lineage/{word:path}")
    def lineage(word: str) -> Response:
        with drawing:
            return page(documents.lineage(word))

    @app.get("/objects/{root}/{key:path}")
    def stored(root: Root, key: str) -> Response:
        if not key or key.endswith("/"):
            return page(documents.listing(root, key))
        stream = places.root(root).stream(key)
        kind = _SHOWN_IN_PLACE.get(Path(key).suffix.lower())
        headers = {"Content-Length": str(stream.info.size)}
        if kind is None:
            headers["Content-Disposition"] = "attachment"
        elif kind.startswith("image/"):
            headers |= _PICTURE
        return StreamingResponse(stream, media_type=kind or "application/octet-stream", headers=headers)

    return app


def _install_errors(app: FastAPI, documents: Documents) -> None:
    """Every error is a page of one sentence."""

    def told(status: int, sentence: str) -> Response:
        return HTMLResponse(documents.problem(HTTPStatus(status).phrase, sentence), status)

    @app.exception_handler(UserError)
    def _user(_: Request, error: UserError) -> Response:
        status = HTTPStatus.CONFLICT
        if isinstance(error, ObjectNotFoundError | BadInputError):
            status = HTTPStatus.NOT_FOUND
        elif isinstance(error, StoreUnavailableError):
            status = HTTPStatus.SERVICE_UNAVAILABLE
        return told(status, str(error))

    @app.exception_handler(HTTPException)
    def _http(_: Request, error: HTTPException) -> Response:
        return told(error.status_code, str(error.detail))

    @app.exception_handler(RequestValidationError)
    def _address(_: Request, __: RequestValidationError) -> Response:
        return told(HTTPStatus.NOT_FOUND, "There is no such page. An hour is written like 20260301_05.")

    @app.exception_handler(Exception)
    def _bug(request: Request, error: Exception) -> Response:
        log.error("%s failed", request.url.path, exc_info=error)
        answer = told(HTTPStatus.INTERNAL_SERVER_ERROR, "A bug of this page; the log of yolo-assets pages has it.")
        answer.headers.update(HEADERS)  # the gate has been left already
        return answer
