"""What the cameras show right now: the latest result of each, rates, latencies, and the longest silence.

Belongs here: figures in memory, measured on monotonic clocks. Does not belong here: frame counts
(``spool.frame_journal``) and anything that is written to disk. Workers report here after every frame, so each report
costs microseconds; pictures are kept by reference and encoded only when a viewer asks.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from yolo_assets.contracts.times import utc_now
from yolo_assets.edge.types import Result

_RATE_WINDOW = 5.0
_LATENCIES = 512


class GapWatch:
    """The longest silence between results since the watch began, by camera and over all cameras.

    A silence that had begun before counts in full: a watch that starts in the middle of one must not hide it.
    """

    def __init__(self, cameras: Iterable[str]) -> None:
        self._longest = dict.fromkeys(cameras, 0.0)
        self._overall = 0.0

    def observe(self, camera: str, gap: float, overall: float) -> None:
        """Report one silence that has just ended."""
        self._longest[camera] = max(self._longest[camera], gap)
        self._overall = max(self._overall, overall)

    @property
    def cameras(self) -> dict[str, float]:
        """Seconds, by camera; 0 when no two results were seen."""
        return dict(self._longest)

    @property
    def overall(self) -> float:
        """Seconds without a result from any camera."""
        return self._overall


@dataclass(frozen=True)
class CameraFigures:
    """What the page and the status show of one camera's speed."""

    fps: float = 0.0
    latency_ms_p50: float | None = None
    latency_ms_p99: float | None = None
    inference_ms_p50: float | None = None
    last_result_at: datetime | None = None
    last_result_age_s: float | None = None
    longest_gap_s: float = 0.0


class _Camera:
    def __init__(self) -> None:
        self.latest: Result | None = None
        self.times: deque[float] = deque()
        self.latencies: deque[float] = deque(maxlen=_LATENCIES)
        self.inferences: deque[float] = deque(maxlen=_LATENCIES)


class ResultBoard:
    """Thread-safe; one for the whole agent."""

    def __init__(self, cameras: Iterable[str]) -> None:
        ids = list(cameras)
        self._cameras = {camera: _Camera() for camera in ids}
        self._lock = threading.Lock()
        self._since_reset = GapWatch(ids)
        self._reset_at = utc_now()
        self._watches: list[GapWatch] = [self._since_reset]
        self._last_any: float | None = None

    def report(self, result: Result) -> None:
        """Take one result. Out-of-order results of several workers do not move the live picture back."""
        with self._lock:
            camera = self._cameras[result.camera_id]
            gap = result.finished - camera.times[-1] if camera.times else 0.0
            overall = result.finished - self._last_any if self._last_any is not None else 0.0
            for watch in self._watches:
                watch.observe(result.camera_id, gap, overall)
            self._last_any = result.finished
            camera.times.append(result.finished)
            while len(camera.times) > 1 and camera.times[0] < result.finished - _RATE_WINDOW:
                camera.times.popleft()
            camera.latencies.append((result.finished - result.entered) * 1000)
            camera.inferences.append(result.inference_ms)
            if camera.latest is None or result.sequence > camera.latest.sequence:
                camera.latest = result

    def latest(self, camera: str) -> Result | None:
        """The newest result of a camera."""
        return self._cameras[camera].latest

    def figures(self) -> dict[str, CameraFigures]:
        """Rates, latencies and silences of every camera."""
        now = time.monotonic()
        with self._lock:
            return {name: self._figures(name, camera, now) for name, camera in self._cameras.items()}

    def watch(self) -> GapWatch:
        """Start watching silences; end it with ``unwatch``."""
        watch = GapWatch(self._cameras)
        with self._lock:
            self._watches.append(watch)
        return watch

    def unwatch(self, watch: GapWatch) -> None:
        """Stop feeding a watch; its figures stay as they are."""
        with self._lock:
            if watch in self._watches:
                self._watches.remove(watch)

    def longest_gap(self) -> dict[str, Any]:
        """The longest silences since the last reset, the present one included once it is longer."""
        now = time.monotonic()
        with self._lock:
            gaps = {
                name: max(gap, self._age(self._cameras[name], now) or 0.0)
                for name, gap in self._since_reset.cameras.items()
            }
            running = now - self._last_any if self._last_any is not None else 0.0
            return {
                "since": self._reset_at,
                "overall_s": round(max(self._since_reset.overall, running), 6),
                "cameras_s": {name: round(gap, 6) for name, gap in gaps.items()},
            }

    def reset(self) -> None:
        """Begin counting the longest silences anew."""
        with self._lock:
            self._watches.remove(self._since_reset)
            self._since_reset = GapWatch(self._cameras)
            self._reset_at = utc_now()
            self._watches.append(self._since_reset)

    @staticmethod
    def _age(camera: _Camera, now: float) -> float | None:
        return now - camera.times[-1] if camera.times else None

    def _figures(self, name: str, camera: _Camera, now: float) -> CameraFigures:
        recent = [moment for moment in camera.times if moment >= now - _RATE_WINDOW]
        span = now - recent[0] if recent else 0.0
        latencies = sorted(camera.latencies)
        inferences = sorted(camera.inferences)
        return CameraFigures(
            fps=round(len(recent) / max(span, 1.0), 2),
            latency_ms_p50=_percentile(latencies, 0.50),
            latency_ms_p99=_percentile(latencies, 0.99),
            inference_ms_p50=_percentile(inferences, 0.50),
            last_result_at=camera.latest.at if camera.latest else None,
            last_result_age_s=self._age(camera, now),
            longest_gap_s=round(self._since_reset.cameras[name], 6),
        )


def _percentile(ordered: list[float], share: float) -> float | None:
    """The value below which ``share`` of them lie (nearest rank)."""
    if not ordered:
        return None
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)
