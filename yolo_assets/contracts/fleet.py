"""The heartbeat of a device: its model and its condition, written by the agent, read by the centre."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from yolo_assets.contracts.base import Record, Time
from yolo_assets.contracts.device_audit import AuditHead
from yolo_assets.contracts.dsse import Envelope


class CameraHeartbeat(Record):
    """Frame accounting of one camera since the agent started: captured = processed + dropped + in_flight."""

    captured: int = Field(ge=0)
    processed: int = Field(ge=0)
    dropped: dict[str, int] = Field(default_factory=dict)
    in_flight: int = Field(ge=0)
    last_result_at: Time | None = None


class SwapEvent(Record):
    """One attempt to change the model."""

    at: Time
    source: str | None = Field(description="<name>/<version> before; None at the first load")
    target: str = Field(description="<name>/<version> requested")
    result: Literal["committed", "switched", "refused", "failed", "rolled_back", "reverted"] = Field(
        description="switched: serves and is watched, committed or reverted follows"
    )
    reason: str
    seconds: float = Field(ge=0, description="from request to commit or refusal")
    release: int | None = None
    forced: Literal[True] | None = Field(default=None, description="released although the gate refused it")
    unjudged: Literal[True] | None = Field(default=None, description="released although no gate judged it")


class Heartbeat(Record):
    """``fleet/<device_id>.json``."""

    model_config = ConfigDict(protected_namespaces=())

    schema_version: Literal[1] = 1
    device_id: str
    at: Time
    started_at: Time
    agent_version: str
    engine: str
    model_version: str | None
    previous_version: str | None = None
    release: int | None = None
    channel: str | None = None
    pinned: str | None = None
    page: str | None = Field(
        default=None,
        exclude_if=lambda value: value is None,
        description="address of its live page; left out where it is not told: version 0.1 does not know it",
    )
    cameras: dict[str, CameraHeartbeat] = Field(default_factory=dict)
    fps: float = Field(default=0, ge=0)
    spool_bytes: int = Field(default=0, ge=0)
    spool_used: float | None = Field(default=None, ge=0, le=1, description="share of the spool's disk in use")
    swaps: tuple[SwapEvent, ...] = ()
    audit: Envelope | AuditHead | None = Field(
        default=None,
        description="end of the device's audit log, signed by the device: an envelope, or as version 0.1 signed it",
    )
