"""The detection record of one frame, as anyone may write it and as our agent writes it.

Coordinates are pixels, absolute, origin top left. Unknown extra keys are kept, never dropped.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, FiniteFloat

from yolo_assets.contracts.base import Record, Time

IMAGE_SHA256 = "sha256"
_SHA256 = re.compile(r"[0-9a-f]{64}")


def _ordered(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = box
    if x2 < x1 or y2 < y1:
        raise ValueError(f"bbox {list(box)} is not [x1, y1, x2, y2] with x1 <= x2 and y1 <= y2")
    return box


Box = Annotated[tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat], AfterValidator(_ordered)]
"""``(x1, y1, x2, y2)`` in pixels, top-left origin."""


class Detection(Record):
    """One object found in a frame."""

    model_config = ConfigDict(extra="allow")

    bbox: Box
    class_name: str = Field(alias="class", min_length=1)
    confidence: float = Field(ge=0, le=1)
    timestamp: Time


class Quality(Record):
    """Figures of the picture itself, for camera health: cheap, computed on the edge."""

    model_config = ConfigDict(extra="allow")

    blur: float | None = Field(default=None, description="variance of the Laplacian; small means blurred")
    brightness: float | None = Field(default=None, description="mean of the grey picture, 0 to 255")


class DetectionRecord(Record):
    """One processed frame. The first four fields are the contract; the rest is what our agent adds."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    image_path: str = Field(min_length=1, description="relative to the spool root: <camera>/<hour>/<frame>.jpg")
    detections: tuple[Detection, ...]
    model_version: str = Field(description="ours is <name>/<version>")
    device_id: str

    schema_version: int = 1
    camera_id: str | None = None
    sequence: int | None = Field(default=None, ge=0)
    captured_at: Time | None = None
    width: int | None = Field(default=None, gt=0)
    height: int | None = Field(default=None, gt=0)
    inference_ms: float | None = Field(default=None, ge=0)
    image_saved: bool | None = None
    batch_id: str | None = None
    quality: Quality | None = None

    @property
    def image_sha256(self) -> str | None:
        """Hash of the image as our agent wrote it, from the key ``sha256``; the device's seal covers it.

        It is no field, for any value of this key was always accepted and kept.
        """
        value = (self.model_extra or {}).get(IMAGE_SHA256)
        return value if isinstance(value, str) and _SHA256.fullmatch(value) else None

    @property
    def part_name(self) -> str | None:
        """The workpiece in front of the camera: the key ``part_id``, which programs write as text or as a number.

        It is no field, for any value of this key was always accepted and kept.
        """
        value = (self.model_extra or {}).get("part_id")
        return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None
