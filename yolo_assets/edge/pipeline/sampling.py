"""Which pictures are kept: rules of the configuration, and the stage of the disk on top.

Belongs here: the decision for one frame, and the count of pictures that the disk's stage cost. Does not belong here:
what the stage is (``maintenance``) and writing (``recorder``).
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

from yolo_assets.edge.config.spool import NormalFrames, Sampling
from yolo_assets.spool.pressure import Stage

_STAGE_NAMES = {
    Stage.NORMAL: "normal",
    Stage.FEWER: "fewer_normal",
    Stage.RECORDS: "records_only",
    Stage.NO_IMAGES: "no_images",
}


def stage_name(stage: Stage) -> str:
    """As status and metrics call it."""
    return _STAGE_NAMES[stage]


class Sampler:
    """Thread-safe. FrameCounts each camera by itself, so that a busy one does not starve a quiet one.

    Args:
        sampling: the rules.
        fewer: in stage ``FEWER``, one of so many pictures that the rules would keep.
        monotonic: seconds, for the rule by time.
    """

    def __init__(self, sampling: Sampling, fewer: int = 10, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.stage = Stage.NORMAL
        """Set by the housekeeper."""
        self._sampling = sampling
        self._fewer = fewer
        self._monotonic = monotonic
        self._seen: Counter[tuple[str, bool]] = Counter()
        self._wanted: Counter[str] = Counter()
        self._last: dict[str, float] = {}
        self._withheld: Counter[Stage] = Counter()
        self._lock = threading.Lock()

    def keep(self, camera: str, found: bool) -> bool:
        """Whether the picture of this frame is kept. The first of each kind always is, unless none are wanted.

        Args:
            camera: its camera.
            found: whether the model found anything in it.
        """
        with self._lock:
            stage = self.stage
            number = self._seen[camera, found]
            self._seen[camera, found] += 1
            if found:
                wanted = number % self._sampling.detections_every == 0
                allowed = stage < Stage.NO_IMAGES
            else:
                wanted = self._normal(camera, number)
                self._wanted[camera] += wanted
                allowed = stage == Stage.NORMAL or (
                    stage == Stage.FEWER and (self._wanted[camera] - 1) % self._fewer == 0
                )
            if wanted and not allowed:
                self._withheld[stage] += 1
            return wanted and allowed

    def withheld(self) -> dict[str, int]:
        """Pictures that the rules would have kept and the disk's stage did not, by stage, since the start."""
        with self._lock:
            return {stage_name(stage): self._withheld[stage] for stage in Stage if stage}

    def _normal(self, camera: str, number: int) -> bool:
        rules: NormalFrames = self._sampling.cameras.get(camera, self._sampling)
        now = self._monotonic()
        by_count = rules.normal_every > 0 and number % rules.normal_every == 0
        last = self._last.get(camera)
        by_time = rules.normal_seconds > 0 and (last is None or now - last >= rules.normal_seconds)
        if by_count or by_time:
            self._last[camera] = now
        return by_count or by_time
