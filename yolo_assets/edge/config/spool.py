"""Configuration of what is kept on the device and how safely: pictures, the disk's limits, fsync, the clock."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from pydantic import Field, field_validator, model_validator

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.edge.config.section import CameraId, Section
from yolo_assets.spool.pressure import Mark, Watermarks, parse_mark


class NormalFrames(Section):
    """Which pictures without a detection are kept: those that either rule picks."""

    normal_every: int = Field(default=10, ge=0, description="keep one in this many frames without detection; 0: none")
    normal_seconds: float = Field(
        default=0, ge=0, description="and one whenever this many seconds passed; 0: no such rule"
    )


class Sampling(NormalFrames):
    """Which pictures are kept. Every processed frame gets a record, kept or not."""

    detections_every: int = Field(default=1, ge=1, description="keep one in this many frames with a detection")
    jpeg_quality: int = Field(default=90, ge=50, le=100, description="quality of the JPEG files that are kept")
    cameras: dict[CameraId, NormalFrames] = Field(
        default_factory=dict, description="other rules for frames without detection, by camera"
    )


class Disk(Section):
    """What is given up when the disk fills, and how safe writes are. Amounts: ``30%`` of the disk, ``20GB``, bytes.

    Nothing here deletes: the archiver does, once a file is safe in the archive.
    """

    low: str | int = Field(default="25%", description="while the spool is below this, everything is as configured")
    high: str | int = Field(default="30%", description="above this, fewer pictures without detection are kept")
    fewer: int = Field(default=10, ge=2, description="then one in this many of those that would be kept")
    records_only: str | int = Field(default="50%", description="above this, no pictures without detection are kept")
    no_images: str | int = Field(
        default="70%", description="above this, no pictures at all are kept, and an error is reported"
    )
    reserve: str | int = Field(
        default="5%",
        description="free space of the disk, whatever fills it: below 3 times this fewer pictures, below twice this "
        "records only, below this no pictures at all; a share counts as 1 GB at most",
    )
    fsync: Literal["frame", "interval", "hour"] = Field(
        default="interval",
        description="what a power cut can take. frame: the current frame (slow); interval: fsync_seconds; hour: "
        "what the system had not written by itself, some 30 s. With each, a killed agent loses the current frame",
    )
    fsync_seconds: float = Field(default=5.0, gt=0, le=3600, description="for fsync: interval")

    @field_validator("low", "high", "records_only", "no_images", "reserve")
    @classmethod
    def _amount(cls, value: str | int) -> str | int:
        try:
            parse_mark(value)
        except BadInputError as error:
            raise ValueError(str(error)) from None
        return value

    @model_validator(mode="after")
    def _rising(self) -> Disk:
        names = ("low", "high", "records_only", "no_images")
        for below, above in pairwise(names):
            if not _rises(parse_mark(getattr(self, below)), parse_mark(getattr(self, above)), below == "low"):
                raise ValueError(f"{below} must be below {above}: give low < high <= records_only <= no_images")
        return self

    def watermarks(self) -> Watermarks:
        """For ``spool.pressure``."""
        texts = (self.low, self.high, self.records_only, self.no_images, self.reserve)
        return Watermarks(*(parse_mark(text) for text in texts))


def _rises(below: Mark, above: Mark, strictly: bool) -> bool:
    """Whether two marks are in order, as far as that can be said: per cent and bytes meet only on a disk."""
    if (below.share is None) != (above.share is None):
        return True
    first, second = (below.share or below.size or 0), (above.share or above.size or 0)
    return first < second if strictly else first <= second


class ClockRules(Section):
    """When this machine's clock is trusted. A clock that the system reports as synchronised is trusted at once."""

    settle_seconds: float = Field(
        default=300.0,
        ge=0,
        description="a clock that jumped and is not synchronised is trusted when it was steady for this long",
    )
    longest_off_days: float = Field(
        default=90.0,
        gt=0,
        description="not synchronised and further than this ahead of the last known time: the clock is not trusted",
    )
