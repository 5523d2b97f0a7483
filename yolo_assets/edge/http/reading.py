"""What the agent says about itself: alive, ready, status, models, audit, metrics."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response

from yolo_assets.contracts.device_audit import AuditLine
from yolo_assets.edge.audit.log import RECENT_LINES, AuditLog
from yolo_assets.edge.http.access import RoleGuard, is_local
from yolo_assets.edge.http.problems import problem_response
from yolo_assets.edge.http.schemas import Alive, Ready, WhoIAm, errors
from yolo_assets.edge.telemetry.metrics import CONTENT_TYPE, EdgeMetrics
from yolo_assets.edge.telemetry.model_report import ModelReport
from yolo_assets.edge.telemetry.status import Readiness, StatusReport

_ANY = {"content": {"application/json": {"schema": {"type": "object"}}}}


def health_routes(readiness: Readiness, guard: RoleGuard) -> APIRouter:
    """Open to all: what restarts or monitors the agent has no token. Reasons are for those who may read."""
    router = APIRouter(tags=["health"])

    @router.get("/healthz", summary="The process is alive")
    async def healthz() -> Alive:
        """Says nothing about the cameras: an agent without a picture must not be restarted for ever."""
        return Alive(status="alive")

    @router.get(
        "/readyz",
        summary="Every live camera had a result just now",
        response_model=Ready,
        responses={503: errors(HTTPStatus.SERVICE_UNAVAILABLE)[503]},
    )
    def readyz(request: Request) -> Response:
        """Within ``ready_seconds`` of the configuration. Without a model, or with a silent camera: 503 and why."""
        reasons = readiness.reasons()
        if not reasons:
            return JSONResponse({"status": "ready"})
        if not (is_local(request) or guard.who(request) is not None):
            return problem_response(HTTPStatus.SERVICE_UNAVAILABLE, "not ready; send the token to see why")
        return problem_response(HTTPStatus.SERVICE_UNAVAILABLE, "; ".join(reasons), reasons=reasons)

    return router


def routes(
    status: StatusReport, models: ModelReport, metrics: EdgeMetrics, audit: AuditLog, guard: RoleGuard
) -> APIRouter:
    """The routes for reading."""
    router = APIRouter(tags=["state"], dependencies=[Depends(guard.admit)], responses=errors())

    @router.get("/v1/whoami", summary="Who one is here, and what one may do")
    async def whoami(request: Request) -> WhoIAm:
        """Without a token or certificate nobody, who on this machine may see. A wrong token is refused."""
        identity = guard.who(request)
        if identity is None and "authorization" in request.headers:
            raise guard.refused(request)
        return WhoIAm(
            name=identity.name if identity else None,
            role=identity.role if identity else "see",
            may=guard.allowed(request),
        )

    @router.get("/metrics", tags=["health"], summary="Prometheus metrics", response_class=Response)
    def read_metrics() -> Response:
        """In the text format of Prometheus."""
        return Response(metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    @router.get("/v1/status", summary="Cameras, frames, model, swaps, spool", responses={200: _ANY})
    def read_status() -> dict[str, Any]:
        """All that the page shows, in one document. New fields may come; none changes its meaning."""
        return status.document()

    @router.get("/v1/models", summary="The models in memory, pin and quarantine", responses={200: _ANY})
    def read_models() -> dict[str, Any]:
        """What serves, what is warm, what is being prepared, what failed here and is not tried again."""
        return models.document()

    @router.get(
        "/v1/audit",
        summary="The newest lines of the audit log",
        response_model_exclude_none=True,
        responses=errors(HTTPStatus.UNPROCESSABLE_ENTITY),
    )
    def read_audit(
        limit: Annotated[int, Query(ge=1, le=RECENT_LINES, description="at most this many lines")] = RECENT_LINES,
        kind: Annotated[
            list[str] | None, Query(description="only lines of these kinds", examples=[["model", "pin", "unpin"]])
        ] = None,
    ) -> list[AuditLine]:
        """Oldest first: who changed what, when, from what, to what, with what result.

        Kinds: model, pin and unpin; lot (a batch in front of a camera), people (somebody was added or withdrawn), mask
        and settings (the configuration differs from that of the last start); begin and recovered (of the log itself).

        Lines as they stand in the signed, hash-chained log; ``yolo-assets edge audit verify`` checks it.
        """
        return [line for line in audit.recent() if not kind or line.kind in kind][-limit:]

    return router
