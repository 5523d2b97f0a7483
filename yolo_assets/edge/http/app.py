"""Composes the API: gate, errors, routes, the page. Reading is GET; what changes something is POST with the token."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path

from fastapi import Depends, FastAPI
from fastapi.responses import FileResponse

from yolo_assets import __version__
from yolo_assets.edge.http import cameras, changes, infer, problems, reading
from yolo_assets.edge.http.auth import Guard
from yolo_assets.edge.http.drawing import Pictures
from yolo_assets.edge.http.gate import Gate, known_hosts
from yolo_assets.edge.http.live import Viewers
from yolo_assets.edge.http.parts import ApiParts
from yolo_assets.edge.http.problems import Problem
from yolo_assets.edge.rollout.controller import ModelControl

PAGE = Path(__file__).parent / "page"
_PAGE_FILES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_TAGS = [
    {"name": "health", "description": "For supervisors and Prometheus."},
    {"name": "state", "description": "What the agent does, for people and programs."},
    {"name": "cameras", "description": "Frames and boxes."},
    {
        "name": "model",
        "description": "Changes of the model. Each needs the token and is a line of the audit log.",
    },
]
_ABOUT = (
    "The agent on an industrial PC. From the same machine reading is free; every change, and everything from another "
    "machine, needs `Authorization: Bearer <token>`. Errors are `application/problem+json` (RFC 9457)."
)


def build_app(parts: ApiParts) -> FastAPI:
    """The application; it holds no state but the encoded pictures and the number of viewers."""
    # The interactive documentation of FastAPI loads from a CDN; the description itself is at /openapi.json.
    app = FastAPI(
        title="yolo_assets edge agent",
        version=__version__,
        description=_ABOUT,
        openapi_tags=_TAGS,
        docs_url=None,
        redoc_url=None,
    )
    guard = Guard(parts.token)
    reader, writer = [Depends(guard.may_read)], [Depends(guard.may_change)]
    problems.install(app)
    larger = {infer.PATH: parts.images.settings.max_bytes}
    app.add_middleware(Gate, hosts=known_hosts(parts.listen), most=parts.listen.max_body_bytes, larger=larger)
    pictures = Pictures(lambda: _classes(parts.control))
    viewers = Viewers(parts.listen.viewers)
    parts.metrics.count_viewers(lambda: viewers.now)
    app.include_router(reading.health_routes(parts, guard))
    app.include_router(reading.routes(parts, reader))
    app.include_router(cameras.routes(parts, pictures, viewers, reader))
    app.include_router(changes.routes(parts, writer))
    app.include_router(infer.routes(parts.images, reader))

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(PAGE / "index.html", media_type="text/html")

    @app.get("/page/{name}", include_in_schema=False)
    async def page_file(name: str) -> FileResponse:
        kind = _PAGE_FILES.get(Path(name).suffix)
        if kind is None or name != Path(name).name or not (PAGE / name).is_file():
            raise Problem(HTTPStatus.NOT_FOUND, f"the page has no file {name}")
        return FileResponse(PAGE / name, media_type=kind)

    return app


def _classes(control: ModelControl) -> Sequence[str]:
    serving = control.serving
    return serving.manifest.class_names if serving else ()
