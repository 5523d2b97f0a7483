"""Values that several parts of the agent share: pictures, captures, frames, and why a frame has no result.

Belongs here: plain values without behaviour. Does not belong here: a value that only one part uses, and anything that
opens a file, a thread or a connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.class_list import ClassList
from yolo_assets.contracts.detection import DetectionRecord
from yolo_assets.contracts.frames import FrameId

Picture = NDArray[np.uint8]
"""``[height, width, 3]``, BGR, uint8."""

RecordDetections = tuple[Mapping[str, Any], ...]
"""As records carry them: ``bbox``, ``class``, ``confidence``, ``timestamp``."""

DropReason = Literal[
    "queue_full",  # every-frame policy on a live camera: the queue had no room, the newest went
    "stale",  # latest-frame policy: a newer frame took its place while it waited
    "unreadable",  # the source delivered bytes that are no picture
    "overrun",  # the stream came faster than this device can decode or take over
    "no_model",  # no model has been released or loaded yet
    "inference_error",  # the model raised on this frame
    "disk_full",  # no space left in the spool
    "spool_error",  # the spool refused the write for another reason
    "stopped",  # the agent ended before the frame had its turn
]


class Origin(Protocol):
    """Where a picture came from, for a source that has to know what became of it."""

    @property
    def name(self) -> str:
        """As records give it: ``source_file``."""
        ...

    def settled(self, outcome: str) -> None:
        """Called once, by any thread: ``processed``, when the record is written, or the reason of the drop."""
        ...


@dataclass(frozen=True)
class Capture:
    """One picture as a source delivers it.

    Attributes:
        captured_at: aware, UTC, whole milliseconds.
        image: BGR ``[h, w, 3]`` uint8, or None when what arrived was no picture.
        batch_id: the production batch, where the source knows it.
        truth: what a simulation knows about the picture; None for everything real.
        lost: why there is no picture, where the source knows; None with no image means unreadable.
        quiet: the source works and has no new picture: the camera says that it is the same as before, or none was due.
            Nothing was captured, and no later capture has a time before this one.
        origin: told what becomes of the frame.
    """

    captured_at: datetime
    image: Picture | None
    batch_id: str | None = None
    truth: Any = None
    lost: DropReason | None = None
    quiet: Literal["same", "none_due"] | None = None
    origin: Origin | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Frame:
    """A capture that was counted and waits for a worker.

    Attributes:
        id: camera, number and time.
        image: BGR ``[h, w, 3]`` uint8, with its privacy mask.
        entered: ``time.monotonic()`` at capture, for latencies.
        batch_id: the production batch, where the source knows it.
        batch_shown: the production batch that a code in the picture names.
        part_shown: the workpiece that a code in the picture names.
        whole: the picture without its privacy mask, for the model alone; None: the model sees what all see.
        mask_version: of the privacy mask in the picture.
        frozen: whether the camera has shown nothing but the same picture for too long.
        origin: told what becomes of the frame.
        truth: what a simulation knows about the picture; None for everything real.
        time_trusted: whether the device's clock could be trusted; always true where the source has a time of its own.
        boot_id: which start of the machine ``monotonic_s`` counts from; empty where the source has its own time.
        monotonic_s: the kernel's seconds since that boot.
    """

    id: FrameId
    image: Picture = field(repr=False)
    entered: float
    batch_id: str | None = None
    batch_shown: str | None = None
    part_shown: str | None = None
    whole: Picture | None = field(default=None, repr=False)
    mask_version: str | None = None
    frozen: bool = False
    origin: Origin | None = field(default=None, repr=False)
    truth: Any = field(default=None, repr=False)
    time_trusted: bool = True
    boot_id: str = ""
    monotonic_s: float = 0.0

    @property
    def camera_id(self) -> str:
        """The camera."""
        return self.id.camera_id

    @property
    def for_model(self) -> Picture:
        """BGR ``[h, w, 3]`` uint8: what models are given. Nothing else may use it."""
        return self.image if self.whole is None else self.whole

    @property
    def sequence(self) -> int:
        """Its number among the camera's captures."""
        return self.id.sequence

    @property
    def captured_at(self) -> datetime:
        """Aware, UTC, whole milliseconds."""
        return self.id.captured_at


@dataclass(frozen=True)
class Result:
    """One processed frame.

    Attributes:
        frame: the frame, with its picture as captured.
        detections: what the model found, as the record carries it.
        record: as written, or as it would have been where the disk refused it.
        recorded: whether the spool holds the record.
        finished: ``time.monotonic()`` when the record was in the spool.
        at: wall clock of the same moment, aware, UTC.
        class_list: that its model names; None: none.
    """

    frame: Frame
    detections: RecordDetections
    record: DetectionRecord = field(repr=False)
    recorded: bool
    finished: float
    at: datetime
    class_list: ClassList | None = field(default=None, repr=False)

    @property
    def model_version(self) -> str:
        """``<name>/<version>`` of the model that saw it."""
        return self.record.model_version

    @property
    def inference_ms(self) -> float:
        """The model alone, with its pre- and post-processing."""
        return self.record.inference_ms or 0.0

    @property
    def camera_id(self) -> str:
        """The camera."""
        return self.frame.id.camera_id

    @property
    def sequence(self) -> int:
        """The frame's number among the camera's captures."""
        return self.frame.id.sequence

    @property
    def captured_at(self) -> datetime:
        """Aware, UTC, whole milliseconds."""
        return self.frame.id.captured_at

    @property
    def image(self) -> Picture:
        """BGR ``[h, w, 3]`` uint8, as captured, with its privacy mask."""
        return self.frame.image

    @property
    def entered(self) -> float:
        """``time.monotonic()`` at capture."""
        return self.frame.entered
