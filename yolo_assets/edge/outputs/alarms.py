"""Alarm rules: a pure state machine for each rule and camera; frames in, changes out.

::

    quiet ──holds──► pending ──for hold_s and hold_frames──► standing ──gone for clear_s──► quiet
                        └──one frame without it──► quiet           └──seen again: the clearing begins anew

A camera that is silent tells nothing: no alarm is raised on a gap and none is cleared by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from yolo_assets.edge.config.outputs import AlarmRule
from yolo_assets.edge.outputs.events import AlarmData, Seen, alarm_id

SILENCE = 10.0
"""Seconds between two frames of a camera after which nobody knows what happened between them, if they come faster."""
_MISSED = 3
"""So many times the last interval, of a camera that takes a picture rarely."""


@dataclass(frozen=True)
class Pending:
    """The condition holds, but not for long enough."""

    since: float
    first_at: datetime
    first_sequence: int
    frames: int
    last: float


@dataclass(frozen=True)
class Standing:
    """A raised alarm. ``gone_since``: capture time, monotonic, of the first frame without the condition."""

    raised: AlarmData
    gone_since: float | None = None
    last: float = 0.0


State = Pending | Standing | None


def counted(rule: AlarmRule, detections: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """The boxes of a frame that a rule counts."""
    return tuple(
        box
        for box in detections
        if box["confidence"] >= rule.min_confidence and (not rule.classes or box["class"] in rule.classes)
    )


def silence_of(last_interval: float) -> float:
    """Seconds after which frames of a camera may be missing.

    Args:
        last_interval: seconds between its last two frames; 0 where only one is known.
    """
    return max(SILENCE, _MISSED * last_interval)


def step(
    rule: AlarmRule, device_id: str, state: State, seen: Seen, silence: float = SILENCE
) -> tuple[State, AlarmData | None]:
    """The state after one frame, and what there is to tell.

    Args:
        rule: which alarm.
        device_id: this box.
        state: before the frame.
        seen: a frame of the camera that the state belongs to; ``captured`` never goes back by more than the disorder
            of several workers.
        silence: seconds without a frame of the camera after which nothing is known of the time between.
    """
    boxes = counted(rule, seen.detections)
    holds = len(boxes) >= rule.min_count
    if isinstance(state, Standing):
        return _standing(rule, state, seen, boxes, holds, silence)
    if not holds:
        return None, None
    now = seen.captured
    if state is None or now - state.last > silence:
        state = Pending(now, seen.captured_at, seen.sequence, 1, now)
    else:
        state = Pending(state.since, state.first_at, state.first_sequence, state.frames + 1, max(state.last, now))
    if state.last - state.since < rule.hold_s or state.frames < rule.hold_frames:
        return state, None
    data = AlarmData.model_validate(
        {
            "alarm_id": alarm_id(rule.name, state.first_at, state.first_sequence),
            "rule": rule.name,
            "severity": rule.severity,
            "state": "raised",
            "device_id": device_id,
            "camera_id": seen.camera_id,
            "model_version": seen.model_version,
            "since": state.first_at,
            "raised_at": seen.captured_at,
            "sequence": seen.sequence,
            "count": len(boxes),
            "detections": boxes,
        }
    )
    return Standing(data, last=state.last), data


def _standing(
    rule: AlarmRule, state: Standing, seen: Seen, boxes: tuple[Mapping[str, Any], ...], holds: bool, silence: float
) -> tuple[State, AlarmData | None]:
    now = max(seen.captured, state.last)
    if holds:
        return Standing(state.raised, None, now), None
    gone = state.gone_since
    if gone is None or now - state.last > silence:
        gone = now
    if now - gone < rule.clear_s:
        return Standing(state.raised, gone, now), None
    fields = state.raised.model_dump(by_alias=True) | {
        "state": "cleared",
        "model_version": seen.model_version,
        "cleared_at": seen.captured_at,
        "sequence": seen.sequence,
        "count": len(boxes),
        "detections": boxes,
    }
    return None, AlarmData.model_validate(fields)
