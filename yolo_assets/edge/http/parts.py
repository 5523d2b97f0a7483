"""What the routes need of the agent. No logic here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from yolo_assets.edge.audit.log import AuditLog
from yolo_assets.edge.config.agent import Listen
from yolo_assets.edge.image_service import ImageService
from yolo_assets.edge.pipeline.results import ResultBoard
from yolo_assets.edge.rollout.controller import ModelControl
from yolo_assets.edge.rollout.request import UpdateRequest
from yolo_assets.edge.telemetry.metrics import EdgeMetrics


@dataclass(frozen=True)
class ApiParts:
    """What the routes use."""

    status: Callable[[], dict[str, Any]]
    models: Callable[[], dict[str, Any]]
    not_ready: Callable[[], list[str]]
    board: ResultBoard
    control: ModelControl
    audit: AuditLog
    want: Callable[[UpdateRequest], bool]
    look_now: Callable[[], None]
    metrics: EdgeMetrics
    images: ImageService
    camera_ids: tuple[str, ...]
    token: str | None
    listen: Listen
