"""One model on trial: what is collected about it on live frames, and when it has failed. No threads, no switching.

Errors, latency and detections are each judged against the old model *on the same frames*: a torn picture on which both
fail, a box that is busy, a belt that is empty are nobody's fault.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from yolo_assets.contracts.model import ExpectedChange
from yolo_assets.edge.config.rollout import WatchWindow
from yolo_assets.edge.rollout.comparing import Comparison, Seen, percentile
from yolo_assets.edge.rollout.live import Failure, Tap
from yolo_assets.edge.rollout.room import out_of_memory
from yolo_assets.edge.rollout.shadow import timed
from yolo_assets.edge.serving.loaded_model import LoadedModel
from yolo_assets.edge.serving.slot import Slot
from yolo_assets.edge.types import Result

_SLACK_MS = 5.0  # a p99 that grows by less is noise
_PAIRS = 10  # frames on which a suspected slowness is confirmed
_FAILURES_CHECKED = 3  # at a time: each costs an inference of the old model
_NEVER = 3  # own failures before any share is judged


class Trial:
    """Used by one thread.

    Args:
        subject: the slot of the new model.
        reference: the slot of the old one, warm.
        tap: frames and failures of the subject.
        old_ms: the old model's recent inference times on live frames.
        limits: the bands.
        expected: what the gate measured that changes between the two.
    """

    def __init__(
        self,
        subject: Slot[LoadedModel],
        reference: Slot[LoadedModel],
        tap: Tap,
        old_ms: list[float],
        limits: WatchWindow,
        expected: ExpectedChange | None = None,
    ) -> None:
        self.subject = subject
        self.reference = reference
        self.tap = tap
        self.comparison = Comparison()
        self._limits = limits
        self._expected = expected
        self._old_p99 = percentile(old_ms, 0.99) if len(old_ms) >= limits.min_frames else None
        self._checked = self._own = 0
        self._pairs: tuple[list[float], list[float]] | None = None  # seconds of old and new, while confirming
        self._next_latency = limits.min_frames

    def compare(self, result: Result) -> str | None:
        """Run the old model on a frame that the new one has processed; what left its band, or None."""
        with self.reference.held() as held:
            if not held:
                return None
            old = timed(self.reference.model, result.image, self._pairs[0] if self._pairs else [])
        self.comparison.add(old, Seen.of_detections(result.detections))
        if self._pairs is not None:
            with self.subject.held() as held:
                if held:
                    timed(self.subject.model, result.image, self._pairs[1])
        return self.comparison.left_band(
            min_frames=self._limits.min_frames,
            detections_band=self._limits.detections_band,
            max_class_shift=self._limits.max_class_shift,
            expected=self._expected,
        )

    def judge_failures(self, failures: list[Failure]) -> str | None:
        """Judge inferences that raised. Out of memory ends the trial at once, all else by its share of the frames."""
        for failure in failures:
            if out_of_memory(failure.error):
                return f"out of memory on a frame of {failure.camera_id}: {failure.error}"
        for failure in failures[-_FAILURES_CHECKED:]:
            self._checked += 1
            self._own += self._old_can(failure)
        if not failures or self._own < _NEVER:
            return None
        total = self.tap.frames + self.tap.failures
        share = self.tap.failures * (self._own / self._checked) / total
        if share <= self._limits.max_error_rate:
            return None
        return (
            f"errors left their band: {share:.1%} of {total} frames fail, {self._limits.max_error_rate:.1%} may, and "
            f"the old model manages them; the last: {failures[-1].error}"
        )

    def judge_latency(self) -> str | None:
        """Judge the p99 on live frames against the old model's. Slowness must show on the same frames, too."""
        if self._old_p99 is None or self.tap.frames < self._next_latency:
            return None
        p99, ratio = percentile(list(self.tap.milliseconds), 0.99), self._limits.max_latency_ratio
        assert p99 is not None
        if self._pairs is None:
            if p99 > ratio * self._old_p99 + _SLACK_MS:
                self._pairs = ([], [])
            return None
        old, new = self._pairs
        if min(len(old), len(new)) < _PAIRS:
            return None
        self._pairs = None
        slower = statistics.median(new) / max(statistics.median(old), 1e-9)
        if slower > 1 + (ratio - 1) / 2:
            return (
                f"latency left its band: p99 {p99:.1f} ms against {self._old_p99:.1f} ms of the old model, {ratio:g} "
                f"times is allowed; on the same {_PAIRS} frames it takes {slower:.2f} times as long"
            )
        self.tap.milliseconds.clear()  # the box was busy; look again at what comes now
        self._next_latency = self.tap.frames + self._limits.min_frames
        return None

    def figures(self) -> dict[str, Any]:
        """For the status."""
        p99 = percentile(list(self.tap.milliseconds), 0.99)
        return {
            "model": self.subject.label,
            "against": self.reference.label,
            "live_frames": self.tap.frames,
            "errors": self.tap.failures,
            "p99_ms": round(p99, 2) if p99 is not None else None,
            "old_p99_ms": round(self._old_p99, 2) if self._old_p99 is not None else None,
            "compared": self.comparison.figures(),
            "expected": self._expected.model_dump(mode="json") if self._expected else None,
        }

    def _old_can(self, failure: Failure) -> bool:
        """Whether the old model manages the frame. When it is gone too nobody can say, and the failure counts."""
        with self.reference.held() as held:
            if not held:
                return True
            try:
                self.reference.model.predictor.predict(failure.image)
            except Exception:
                return False
            return True


class Pace:
    """Spends a share of one core: after work that took ``t`` seconds it is time again ``t / share`` after its start."""

    def __init__(self, share: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._share = share
        self._clock = clock
        self._next = clock()

    def wait(self) -> float:
        """Seconds until it is time."""
        return max(0.0, self._next - self._clock())

    def spent(self, begin: float) -> None:
        """Work that began then has ended now."""
        self._next = begin + (self._clock() - begin) / self._share
