"""The application: request gate, errors, the page. Reading is GET; what changes something is POST or PUT, for roles."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import FileResponse

from yolo_assets import __version__
from yolo_assets.edge.config.agent import Listen
from yolo_assets.edge.http import problems
from yolo_assets.edge.http.access import RequestGate, known_hosts
from yolo_assets.edge.http.problems import ApiProblem
from yolo_assets.edge.http.texts import PAGE, PageTexts

_PAGE_FILES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
_TAGS = [
    {"name": "health", "description": "For supervisors and Prometheus."},
    {"name": "state", "description": "What the agent does, for operators and programs."},
    {"name": "cameras", "description": "Frames and boxes."},
    {
        "name": "model",
        "description": "Changes of the model. Each needs a role and is a line of the audit log.",
    },
]
_ABOUT = (
    "The agent on an industrial PC. From the same machine reading needs no token; every change, and everything from "
    "another machine, needs `Authorization: Bearer <token>` or a client certificate, of a person whose role is enough: "
    "see, operate or administer. Errors are `application/problem+json` (RFC 9457)."
)


def new_app(listen: Listen, larger: Mapping[str, int], texts: PageTexts) -> FastAPI:
    """The application with its page and no other route; routers are included by the caller.

    Args:
        listen: names under which the agent may be asked, and the limit of a body.
        larger: other limits, by path.
        texts: of the page.
    """
    # The interactive documentation of FastAPI loads from a CDN; the description itself is at /openapi.json.
    app = FastAPI(
        title="yolo_assets edge agent",
        version=__version__,
        description=_ABOUT,
        openapi_tags=_TAGS,
        docs_url=None,
        redoc_url=None,
    )
    problems.install(app)
    app.add_middleware(RequestGate, hosts=known_hosts(listen), most=listen.max_body_bytes, larger=larger)

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(PAGE / "index.html", media_type="text/html")

    @app.get("/page/texts.json", include_in_schema=False)
    async def page_texts() -> dict[str, Any]:
        return texts.document()

    @app.get("/page/{name}", include_in_schema=False)
    async def page_file(name: str) -> FileResponse:
        kind = _PAGE_FILES.get(Path(name).suffix)
        if kind is None or name != Path(name).name or not (PAGE / name).is_file():
            raise ApiProblem(HTTPStatus.NOT_FOUND, f"the page has no file {name}")
        return FileResponse(PAGE / name, media_type=kind)

    return app
