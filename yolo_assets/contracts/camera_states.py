"""What was last found of each camera: is its picture well, and does the model still report what it used to report.

One object in the store, ``monitoring/states.json``, for everybody who acts on it: the page, alerts, sampling, the start
of a training. Does not belong here: how the verdicts are reached (``monitoring``).
"""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from yolo_assets.contracts.base import Record, Time

FaultKind = Literal["silent", "frozen", "blurred", "darker", "brighter", "moved", "dropping"]
"""What can be wrong with a camera."""

UNTRUSTED: frozenset[FaultKind] = frozenset({"frozen", "blurred", "darker", "brighter", "moved"})
"""Faults of the picture: what a model reports of such a picture says nothing about the model."""

DriftVerdict = Literal["learning", "stable", "drifted", "empty belt", "sick camera"]
"""``learning``: the reference does not cover every shift yet; ``empty belt``: nothing is seen where objects are usual,
which no training cures; ``sick camera``: the camera needs maintenance first."""


class StandingFault(Record):
    """One thing wrong with one camera, in a sentence that names what to check."""

    kind: FaultKind
    sentence: str
    since: Time = Field(description="start of the first hour in which it was said")
    acknowledged_by: str | None = Field(default=None, description="who knows of it; then nobody is told again")


class ModelDrift(Record):
    """What one model reports on one camera, against the days after its release."""

    model_config = ConfigDict(protected_namespaces=())

    model_version: str
    verdict: DriftVerdict
    reason: str
    since: Time | None = Field(default=None, description="start of the hour in which it was called drifted")
    size: float = Field(default=0.0, ge=0, le=1, description="how far it moved, 0 (not) to 1")
    usual_objects: float | None = Field(default=None, description="objects in such an hour, by the reference")
    objects: float | None = Field(default=None, description="objects in the newest hour")


class HealthNote(Record):
    """What somebody said about a camera: an entry of the audit of its health."""

    schema_version: Literal[1] = 1
    camera_id: str
    at: Time
    by: str = Field(min_length=1, description="who said so")
    action: Literal["acknowledge", "relearn", "retire"] = Field(
        description="its faults are known; it is as it should be from now on; it was taken away"
    )
    kinds: tuple[FaultKind, ...] = Field(default=(), description="faults that are acknowledged; all without")
    note: str = ""


class CameraState(Record):
    """One camera after the newest hour."""

    camera_id: str
    last_hour: Time | None = Field(default=None, description="start of the newest hour with a frame")
    frames: int = Field(default=0, description="in the newest hour")
    longest_gap_s: float | None = Field(default=None, description="between two frames of the newest hour")
    faults: tuple[StandingFault, ...] = ()
    drift: ModelDrift | None = Field(default=None, description="of the model of its newest hour")

    @property
    def sick(self) -> bool:
        """Whether it needs maintenance that nobody has acknowledged."""
        return any(fault.acknowledged_by is None for fault in self.faults)

    @property
    def trusted(self) -> bool:
        """Whether its picture can be trusted: no fault of the picture stands, acknowledged or not."""
        return not any(fault.kind in UNTRUSTED for fault in self.faults)


class CameraStates(Record):
    """All cameras after one hour."""

    schema_version: Literal[1] = 1
    hour: Time = Field(description="start of the newest hour that was judged")
    cameras: tuple[CameraState, ...] = ()

    @property
    def sick_cameras(self) -> frozenset[str]:
        """Cameras that need maintenance: they take no place in a batch and start no training."""
        return frozenset(camera.camera_id for camera in self.cameras if not camera.trusted)

    @property
    def drifted_cameras(self) -> dict[str, float]:
        """Cameras that are well and whose model no longer reports what it used to: how far it moved, 0 to 1."""
        return {
            camera.camera_id: camera.drift.size
            for camera in self.cameras
            if camera.drift is not None and camera.drift.verdict == "drifted" and camera.trusted
        }
