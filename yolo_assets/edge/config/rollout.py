"""Configuration of how a model changes: shadow run, watch window, freeze windows, secondary models, headroom."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.edge.config.freeze import parse_window, zone
from yolo_assets.edge.config.section import Section, id_field


class Shadow(Section):
    """The candidate sees copies of live frames before it may serve. It ends at whichever bound comes first."""

    frames: int = Field(default=100, ge=1, le=100_000, description="live frames to compare on")
    seconds: float = Field(default=60.0, gt=0, le=86400, description="no longer than this, however few frames came")
    min_agreement: float = Field(default=0.8, ge=0, le=1, description="least share of boxes that both models report")
    max_latency_ratio: float = Field(
        default=1.5, gt=0, le=100, description="median latency of the candidate to that of the serving model"
    )


class WatchWindow(Section):
    """After the switch the new model is compared with the old one, which stays warm; what fails is reverted."""

    seconds: float = Field(default=60.0, ge=0, le=86400, description="length of the window; 0: no window")
    min_frames: int = Field(default=30, ge=1, le=100_000, description="nothing is decided on fewer frames that differ")
    share: float = Field(default=0.1, gt=0, le=1, description="share of one processor core that is spent on comparing")
    max_error_rate: float = Field(
        default=0.02, ge=0, le=1, description="share of the frames on which only the new model fails"
    )
    max_latency_ratio: float = Field(default=2.0, gt=1, le=100, description="p99 latency to that of the old model")
    detections_band: float = Field(
        default=0.5, gt=0, le=1, description="by how much the boxes of the same frames may become fewer or more"
    )
    max_class_shift: float = Field(
        default=0.3, gt=0, le=1, description="share of the boxes of the same frames that may change their class"
    )


class Freeze(Section):
    """Times of day at which the model does not change. A release waits; rollback and automatic revert do not."""

    windows: tuple[Annotated[str, AfterValidator(lambda v: _checked(parse_window, v))], ...] = Field(
        default=(), description="like 06:00-22:00, or mon-fri 06:00-22:00; the end may lie on the next day"
    )
    timezone: Annotated[str, AfterValidator(lambda v: _checked(zone, v))] = Field(
        default="UTC", description="time zone of the windows, like Europe/Berlin"
    )


class Canary(Section):
    """Cameras that try the model of another channel, while all others keep the primary model."""

    cameras: tuple[str, ...] = Field(min_length=1, description="cameras that use it")
    channel: Annotated[str, id_field("channel")] = Field(default="canary", description="the channel they follow")


class Light(Section):
    """A lighter released model takes over cameras while they would overload the primary model."""

    channel: Annotated[str, id_field("channel")] = Field(default="light", description="channel of the lighter model")
    cameras: tuple[str, ...] = Field(
        default=(), description="cameras that may be moved to it, in this order; none: every camera"
    )
    above: float = Field(default=0.9, gt=0, le=10, description="share of the workers' time above which it is overload")
    hold_s: float = Field(default=5.0, ge=0, le=3600, description="overload for this long, before a camera is moved")
    below: float = Field(default=0.7, gt=0, le=10, description="share below which a camera may return")
    calm_s: float = Field(default=30.0, ge=0, le=86400, description="low load for this long, before a camera returns")

    @model_validator(mode="after")
    def _apart(self) -> Light:
        if self.below >= self.above:
            raise ValueError("below must be less than above, or cameras would move back and forth")
        return self


class Headroom(Section):
    """What must stay free while a candidate is loaded; without it the candidate waits."""

    disk_mib: int = Field(default=256, ge=0, description="free space on the disk of the model cache")
    memory_mib: int = Field(default=256, ge=0, description="free memory of the machine")
    gpu_mib: int = Field(
        default=0, ge=0, description="free memory of the first GPU; 0: not checked, no model runs there"
    )


def _checked(check: Callable[[str], object], value: str) -> str:
    try:
        check(value)
    except BadInputError as error:
        raise ValueError(str(error)) from None
    return value
