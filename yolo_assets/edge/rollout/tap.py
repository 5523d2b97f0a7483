"""A copy of what the models do on live frames: recent latencies, errors, and now and then a picture.

``observe`` and ``failed`` are called by workers after every frame: each costs a comparison and an append. Does not
belong here: what the figures mean (``evaluation``).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from yolo_assets.edge.types import Frame, Picture, Result

RECENT = 2000


@dataclass(frozen=True)
class InferenceFailure:
    """An inference that raised."""

    label: str
    camera_id: str
    image: Picture
    error: BaseException


class InferenceTimes:
    """Inference times of one model on live frames, the newest ``RECENT``, in milliseconds."""

    def __init__(self) -> None:
        self.milliseconds: deque[float] = deque(maxlen=RECENT)
        self.frames = 0


class LiveTap:
    """Thread-safe. Keeps the figures of the models in use, and passes frames to those who compare models."""

    def __init__(self) -> None:
        self._figures: dict[str, InferenceTimes] = {}
        self._taps: tuple[FrameTap, ...] = ()
        self._lock = threading.Lock()

    def observe(self, result: Result) -> None:
        """One processed frame."""
        figures = self._figures.get(result.model_version)
        if figures is None:
            with self._lock:
                figures = self._figures.setdefault(result.model_version, InferenceTimes())
        figures.milliseconds.append(result.inference_ms)
        figures.frames += 1
        for tap in self._taps:
            tap.offer(result)

    def failed(self, frame: Frame, label: str, error: BaseException) -> None:
        """One frame on which the model raised."""
        for tap in self._taps:
            tap.offer_failure(InferenceFailure(label, frame.camera_id, frame.for_model, error))

    def milliseconds(self, label: str) -> list[float]:
        """Recent inference times of a model, oldest first."""
        figures = self._figures.get(label)
        return list(figures.milliseconds.copy()) if figures else []

    def forget_all_but(self, labels: Iterable[str]) -> None:
        """Drop the figures of models that are gone."""
        kept = set(labels)
        with self._lock:
            self._figures = {label: figures for label, figures in self._figures.items() if label in kept}

    def open(self, label: str, cameras: frozenset[str] | None = None) -> FrameTap:
        """Listen to the frames of one model; end it with ``close``."""
        tap = FrameTap(label, cameras)
        with self._lock:
            self._taps = (*self._taps, tap)
        return tap

    def close(self, tap: FrameTap) -> None:
        """Stop listening."""
        with self._lock:
            self._taps = tuple(other for other in self._taps if other is not tap)


class FrameTap:
    """The newest frame of one model, for a slow listener: frames that it has no time for are skipped, never queued."""

    def __init__(self, label: str, cameras: frozenset[str] | None) -> None:
        self._label = label
        self._cameras = cameras
        self._ready = threading.Condition()
        self._result: Result | None = None
        self._taken: dict[str, int] = {}
        self._failures: deque[InferenceFailure] = deque(maxlen=50)
        self.milliseconds: deque[float] = deque(maxlen=RECENT)
        self.frames = 0
        self.failures = 0

    def offer(self, result: Result) -> None:
        """Called by workers."""
        if result.model_version != self._label or (self._cameras is not None and result.camera_id not in self._cameras):
            return
        self.milliseconds.append(result.inference_ms)
        with self._ready:
            self.frames += 1
            waiting = self._result
            # The camera that was compared least goes first, or the fastest camera would be the only one compared.
            if waiting is None or self._taken.get(result.camera_id, 0) <= self._taken.get(waiting.camera_id, 0):
                self._result = result
            self._ready.notify_all()

    def offer_failure(self, failure: InferenceFailure) -> None:
        """Called by workers."""
        if failure.label != self._label or (self._cameras is not None and failure.camera_id not in self._cameras):
            return
        with self._ready:
            self.failures += 1
            self._failures.append(failure)
            self._ready.notify_all()

    def take(self, timeout: float) -> Result | None:
        """The frame that waits, or the next one within ``timeout`` seconds; None too when a failure came first."""
        with self._ready:
            self._ready.wait_for(lambda: self._result is not None or self._failures, timeout)
            result, self._result = self._result, None
            if result is not None:
                self._taken[result.camera_id] = self._taken.get(result.camera_id, 0) + 1
            return result

    def take_failures(self) -> list[InferenceFailure]:
        """Failures since the last call, the newest 50 at most."""
        with self._ready:
            failures = list(self._failures)
            self._failures.clear()
            return failures
