"""The shadow run: a candidate sees copies of live frames before any of its results counts.

It runs in the staging thread, beside the line. Both models are timed there, on the same frames, one after the other:
a candidate timed beside the line cannot be compared with a serving model timed on it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from yolo_assets.edge.config.rollout import Shadow
from yolo_assets.edge.rollout.comparing import Comparison, Seen
from yolo_assets.edge.rollout.live import LiveTap
from yolo_assets.edge.rollout.loading import UnfitError
from yolo_assets.edge.serving.loaded_model import LoadedModel
from yolo_assets.edge.serving.slot import Slot
from yolo_assets.edge.types import Picture


def run_shadow(
    settings: Shadow,
    live: LiveTap,
    serving: Slot[LoadedModel],
    candidate: LoadedModel,
    still_wanted: Callable[[], None],
    report: Callable[[dict[str, Any]], None],
) -> str:
    """Compare on live frames.

    Args:
        settings: how long, and what must come out.
        live: where frames come from.
        serving: the model whose frames they are.
        candidate: loaded, warm, not serving.
        still_wanted: raises when something newer is wanted; called between frames.
        report: takes the figures so far, for the status.

    Returns:
        The outcome in words, for the audit log.

    Raises:
        UnfitError: the candidate agrees too little, is too slow, or raises on a live frame.
    """
    comparison, old_seconds, new_seconds = Comparison(), list[float](), list[float]()
    tap = live.open(serving.label)
    end = time.monotonic() + settings.seconds
    try:
        while comparison.frames < settings.frames and time.monotonic() < end:
            still_wanted()
            result = tap.take(timeout=0.2)
            tap.take_failures()  # those of the serving model are not the candidate's
            if result is None:
                continue
            with serving.held() as held:
                if not held:
                    break  # it was replaced by hand; nothing to compare with
                old = timed(serving.model, result.image, old_seconds)
            try:
                new = timed(candidate, result.image, new_seconds)
            except Exception as error:  # a runtime may raise anything
                raise UnfitError(f"in the shadow run it fails on a frame of {result.camera_id}: {error}") from None
            comparison.add(old, new)
            report(comparison.figures() | {"latency_ratio": _ratio(old_seconds, new_seconds)})
    finally:
        live.close(tap)
    if not comparison.frames:
        return f"no live frame came within {settings.seconds:g} s of shadow run, nothing was compared"
    ratio = _ratio(old_seconds, new_seconds)
    words = (
        f"agreement {comparison.agreement:.1%} with {serving.label} and {ratio:.2f} times its time "
        f"on {comparison.frames} live frames"
    )
    if comparison.agreement < settings.min_agreement:
        raise UnfitError(f"shadow run: {words}; at least {settings.min_agreement:.0%} must agree")
    if ratio > settings.max_latency_ratio:
        raise UnfitError(f"shadow run: {words}; at most {settings.max_latency_ratio:g} times is allowed")
    return f"shadow run: {words}"


def timed(model: LoadedModel, image: Picture, seconds: list[float]) -> Seen:
    """Predict, and append how long it took."""
    begin = time.perf_counter()
    boxes = model.predictor.predict(image)
    seconds.append(time.perf_counter() - begin)
    return Seen.of_boxes(boxes, model.manifest.class_names)


def _ratio(old: list[float], new: list[float]) -> float:
    return round(statistics.median(new) / max(statistics.median(old), 1e-9), 3)
