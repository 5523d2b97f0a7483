"""How fast an open model is, measured for a moment on its own frames."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import numpy as np

from yolo_assets.vision.model import Model
from yolo_assets.vision.selection.agreement import Frames

_RUNS, _SECONDS = 30, 0.6
_LEAST = 3


@dataclass(frozen=True)
class Speed:
    """From picture to boxes.

    Attributes:
        latency_ms: median of one call.
        per_second: frames, with all callers at work.
    """

    latency_ms: float
    per_second: float


def measure(model: Model, frames: Frames, callers: int, batch: int = 1) -> Speed:
    """Run a warm model from as many threads as will use it.

    Args:
        model: at most ``model.batch`` frames are given at once.
        frames: taken in turn.
        callers: threads that call at the same time.
        batch: frames in each call.

    Raises:
        UserError: an inference failed.
    """
    group = [frames[position % len(frames)] for position in range(batch)]
    model.predict_many(group)  # the first call of a shape allocates
    spent: list[list[float]] = [[] for _ in range(callers)]
    failed: list[Exception] = []
    started = time.perf_counter()

    def call(mine: list[float]) -> None:
        try:
            while len(mine) < _LEAST or (len(mine) < _RUNS and time.perf_counter() - started < _SECONDS):
                before = time.perf_counter()
                model.predict_many(group)
                mine.append(time.perf_counter() - before)
        except Exception as error:  # told to whoever measures
            failed.append(error)

    threads = [threading.Thread(target=call, args=(mine,), daemon=True) for mine in spent[1:]]
    for thread in threads:
        thread.start()
    call(spent[0])
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    # From medians, not from the whole time: one hiccup of a busy machine must not decide.
    return Speed(
        latency_ms=float(np.median(np.concatenate(spent))) * 1e3,
        per_second=sum(batch / float(np.median(mine)) for mine in spent),
    )
