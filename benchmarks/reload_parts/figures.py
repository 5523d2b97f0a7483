"""From answers and changes to the figures that are promised, and the table of them."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from reload_parts.child import Answer, Change, Report
from yolo_assets.vision.hardware import cpu_flags, cpu_model, usable_cpus

SETTLING = 1.0
"""Seconds at the beginning of a round that count for nothing: the first frames find cold caches."""


@dataclass(frozen=True)
class Segment:
    """One stretch of open-loop frames of one contender, in monotonic seconds; ``share`` of its capacity."""

    share: float
    begin: float
    end: float


@dataclass(frozen=True)
class Latencies:
    """Milliseconds from the moment a frame was due to its record on disk."""

    steady: tuple[float, ...]
    window: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """p99 in the swap windows against p99 of the rest."""
        return percentile(self.window, 99) / percentile(self.steady, 99)


def percentile(values: Sequence[float], share: float) -> float:
    """NaN when there are none."""
    return float(np.percentile(values, share)) if len(values) else float("nan")


def latencies(answers: Iterable[Answer], changes: Iterable[Change], segments: Sequence[Segment]) -> Latencies:
    """Split answers by whether they overlap a window from notice to release. A window left open ends with its segment.

    Args:
        answers: of one contender.
        changes: committed ones of the same.
        segments: only frames due in one of these count.
    """
    windows = []
    for change in changes:
        if change.result != "committed":
            continue
        for segment in segments:
            if segment.begin <= change.noticed <= segment.end:
                windows.append((change.noticed, change.released if change.released is not None else segment.end))
    starts, ends = np.array([w[0] for w in windows]), np.array([w[1] for w in windows])
    steady, window = [], []
    for answer in answers:
        if not any(s.begin + SETTLING <= answer.due <= s.end for s in segments):
            continue
        inside = bool(np.any((starts <= answer.finished) & (ends >= answer.due)))
        (window if inside else steady).append((answer.finished - answer.due) * 1e3)
    return Latencies(tuple(steady), tuple(window))


@dataclass(frozen=True)
class Books:
    """What became of the frames. ``lost``: accepted, but without a result."""

    accepted: int
    refused: int
    lost: int
    duplicated: int
    misattributed: int


def books(report: Report) -> Books:
    """Count; what is on disk must agree with what was seen in memory."""
    keys = Counter((answer.camera, answer.sequence) for answer in report.answers)
    accepted = report.captured - report.refused
    return Books(
        accepted=accepted,
        refused=report.refused,
        lost=accepted - min(len(keys), report.on_disk_once),
        duplicated=max(sum(keys.values()) - len(keys), report.on_disk - report.on_disk_once),
        misattributed=sum(answer.proven != answer.claimed for answer in report.answers),
    )


def machine() -> str:
    """Processor, cores that may be used, load at present."""
    able = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_int8") if flag in cpu_flags()]
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{cpu_model()}, {usable_cpus()} cores, {' '.join(able)}; Linux {platform.release()}; load {load}"
