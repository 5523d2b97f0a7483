"""The documents that the API takes and gives, for ``/openapi.json`` and for the checks at the boundary."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from yolo_assets.contracts import names
from yolo_assets.contracts.base import Time
from yolo_assets.contracts.detection import Detection
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.edge.http.people import Role
from yolo_assets.edge.lots.book import Lot, LotChange
from yolo_assets.edge.rollout.state import Pin

PROBLEM_TYPE = "application/problem+json"


def _version(value: str) -> str:
    try:
        return "/".join(names.parse_model_version(value)) if "/" in value else names.check_version(value)
    except BadInputError as error:
        raise ValueError(str(error)) from None


class Document(BaseModel):
    """Base of what goes over the wire."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, protected_namespaces=())


class ReloadRequest(Document):
    """Which version to load. Without one the channel is read now."""

    version: Annotated[str, AfterValidator(_version)] | None = Field(
        default=None,
        description="a version of the configured model, with its name or without; never a path or URL",
        examples=["line/20260102-1a2b3c4d"],
    )


class ProblemDocument(BaseModel):
    """RFC 9457. ``detail`` is one sentence that says what to do."""

    type: str = Field(default="about:blank", examples=["about:blank"])
    title: str = Field(examples=["Unauthorized"])
    status: int = Field(examples=[401])
    detail: str = Field(examples=["send the token as: Authorization: Bearer <token>"])


class Alive(Document):
    """The process answers."""

    status: str = Field(examples=["alive"])


class Ready(Document):
    """Every live camera had a result just now."""

    status: str = Field(examples=["ready"])


class WhoIAm(Document):
    """Who sent the request."""

    name: str | None = Field(description="null: nobody who is known here", examples=["A. Berg"])
    role: Role = Field(description="see, operate or administer; each may do what those before it may")
    may: list[str] = Field(description="routes that this role may use", examples=[["GET /v1/status"]])


class LotRequest(Lot):
    """What comes in front of a camera."""

    at: Time | None = Field(
        default=None,
        description="frames captured from this moment on have it, by the camera's own time; null: from now on",
        examples=["2026-01-02T03:04:05.678Z"],
    )


class LotDone(Document):
    """The change is on disk and holds."""

    camera_id: str
    lot: LotChange
    late_s: float = Field(
        description="by how much it holds later than asked, because frames until then have records; they keep their lot"
    )


class LotNow(Document):
    """What is in front of a camera."""

    camera_id: str
    lot: LotChange | None = Field(description="null: nobody gave this camera a lot")
    planned: list[LotChange] = Field(description="what is still to come, the next first")


class RollbackDone(Document):
    """The previous model serves again."""

    source: str = Field(serialization_alias="from", examples=["line/2"])
    target: str = Field(serialization_alias="to", examples=["line/1"])
    seconds: float = Field(description="until new inferences ran on the model rolled back to", examples=[0.000041])
    pinned: Pin


class PinDone(Document):
    """The device stays on this version."""

    pinned: Pin


class UnpinDone(Document):
    """The device follows its channel again."""

    unpinned: str | None = Field(description="the version it was pinned to; null: it was not", examples=["1"])


class ReloadAccepted(Document):
    """Staging continues in the background; its end is in ``/v1/audit`` and in ``/v1/status``."""

    wanted: str | None = Field(
        description="the requested version; null: the channel is read", examples=["line/20260102-1a2b3c4d"]
    )
    accepted: bool = Field(default=True, description="false: this version is being prepared already")
    see: str = "/v1/audit"


class DrawnDetection(Detection):
    """One object of the detection record, with the colour that the page draws its box in."""

    colour: str = Field(examples=["#ff5d5d"])


class LatestFrame(Document):
    """Frame and boxes in one document, so that no client can mix two frames."""

    camera_id: str
    sequence: int
    captured_at: str
    model_version: str
    inference_ms: float
    width: int
    height: int
    detections: list[DrawnDetection]
    image: str = Field(description="the frame without boxes, as a data: URL of a JPEG")


_WHY = {
    HTTPStatus.UNAUTHORIZED: "No token, or a wrong one.",
    HTTPStatus.FORBIDDEN: "The role of the sender is not enough; this agent knows nobody and cannot be changed; or the "
    "request comes from another site.",
    HTTPStatus.NOT_FOUND: "No such camera, or nothing to show of it yet.",
    HTTPStatus.CONFLICT: "It cannot be done in the present state; the detail says what to do.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is larger than this route takes.",
    HTTPStatus.MISDIRECTED_REQUEST: "The Host header names no address of this agent.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "The request does not follow its description.",
    HTTPStatus.REQUEST_TIMEOUT: "The body did not arrive in time.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body is of a kind that this route does not take.",
    HTTPStatus.TOO_MANY_REQUESTS: "Others are being served; Retry-After says when to ask again.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "The agent or its model failed; its log has the cause.",
    HTTPStatus.SERVICE_UNAVAILABLE: "Not now; Retry-After says when to ask again where that is known.",
}


def errors(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route that may fail so. Every route may be misdirected, and refuse who has no token."""
    return {
        int(status): {
            "description": _WHY[status],
            "content": {PROBLEM_TYPE: {"schema": ProblemDocument.model_json_schema(), "example": _example(status)}},
        }
        for status in sorted({HTTPStatus.UNAUTHORIZED, HTTPStatus.MISDIRECTED_REQUEST, *statuses})
    }


def _example(status: HTTPStatus) -> dict[str, Any]:
    return {"type": "about:blank", "title": status.phrase, "status": int(status), "detail": _WHY[status]}
