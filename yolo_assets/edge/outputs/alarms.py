"""Alarm rules, and which alarms are active, in memory and on disk.

Each rule and camera has a pure state machine; frames in, changes out. An agent that starts again neither forgets nor
repeats an alarm.

::

    quiet ──holds──► pending ──for hold_s and hold_frames──► active ────gone for clear_s──► quiet
                        └──one frame without it──► quiet           └──seen again: clearing starts over

A camera that is silent proves nothing: no alarm is raised on a gap and none is cleared by it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import Field

from yolo_assets.contracts.base import Record
from yolo_assets.contracts.class_list import ClassList
from yolo_assets.contracts.errors import UserError
from yolo_assets.edge.config.outputs import AlarmRule
from yolo_assets.edge.outputs.events import AlarmData, FrameSummary, alarm_id
from yolo_assets.spool.files import write_atomic

log = logging.getLogger(__name__)

SILENCE = 10.0
"""Seconds between two frames of a camera after which it is unknown what happened between them, if they come faster."""
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
class Active:
    """A raised alarm. ``gone_since``: capture time, monotonic, of the first frame without the condition."""

    raised: AlarmData
    gone_since: float | None = None
    last: float = 0.0


AlarmState = Pending | Active | None


def counted(
    rule: AlarmRule, detections: Iterable[Mapping[str, Any]], class_list: ClassList | None = None
) -> tuple[Mapping[str, Any], ...]:
    """The boxes of a frame that a rule counts.

    Args:
        rule: may name classes as they were called before, or by an alias.
        detections: of the frame.
        class_list: that the model of the frame names; None: none.
    """
    classes = class_list.current_names(rule.classes) if class_list is not None else rule.classes
    return tuple(
        box
        for box in detections
        if box["confidence"] >= rule.min_confidence and (not classes or box["class"] in classes)
    )


def silence_of(last_interval: float) -> float:
    """Seconds after which frames of a camera may be missing.

    Args:
        last_interval: seconds between its last two frames; 0 where only one is known.
    """
    return max(SILENCE, _MISSED * last_interval)


def step(
    rule: AlarmRule, device_id: str, state: AlarmState, summary: FrameSummary, silence: float = SILENCE
) -> tuple[AlarmState, AlarmData | None]:
    """The state after one frame, and the change to report.

    Args:
        rule: which alarm.
        device_id: this device.
        state: before the frame.
        summary: a frame of the camera that the state belongs to; ``captured`` never goes back by more than the disorder
            of several workers.
        silence: seconds without a frame of the camera after which nothing is known of the time between.
    """
    boxes = counted(rule, summary.detections, summary.class_list)
    holds = len(boxes) >= rule.min_count
    if isinstance(state, Active):
        return _step_active(rule, state, summary, boxes, holds, silence)
    if not holds:
        return None, None
    now = summary.captured
    if state is None or now - state.last > silence:
        state = Pending(now, summary.captured_at, summary.sequence, 1, now)
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
            "camera_id": summary.camera_id,
            "model_version": summary.model_version,
            "since": state.first_at,
            "raised_at": summary.captured_at,
            "sequence": summary.sequence,
            "count": len(boxes),
            "detections": boxes,
        }
    )
    return Active(data, last=state.last), data


def _step_active(
    rule: AlarmRule,
    state: Active,
    summary: FrameSummary,
    boxes: tuple[Mapping[str, Any], ...],
    holds: bool,
    silence: float,
) -> tuple[AlarmState, AlarmData | None]:
    now = max(summary.captured, state.last)
    if holds:
        return Active(state.raised, None, now), None
    gone = state.gone_since
    if gone is None or now - state.last > silence:
        gone = now
    if now - gone < rule.clear_s:
        return Active(state.raised, gone, now), None
    fields = state.raised.model_dump(by_alias=True) | {
        "state": "cleared",
        "model_version": summary.model_version,
        "cleared_at": summary.captured_at,
        "sequence": summary.sequence,
        "count": len(boxes),
        "detections": boxes,
    }
    return None, AlarmData.model_validate(fields)


class ActiveAlarmsFile(Record):
    """The file ``alarms.json``."""

    standing: tuple[AlarmData, ...] = Field(description="raised and not cleared")


class ActiveAlarms:
    """Applies the rules. Used by one thread; the figures may be read from any."""

    def __init__(self, rules: Sequence[AlarmRule], cameras: Sequence[str], device_id: str, path: Path) -> None:
        """Read what was active when the agent stopped; alarms of rules and cameras that are gone are forgotten.

        Args:
            rules: the configured ones.
            cameras: of this device.
            device_id: this device.
            path: the file, which need not exist.
        """
        self._rules = tuple(rules)
        self._device_id = device_id
        self._path = path
        self._intervals: dict[str, tuple[float, float]] = {}
        self._states: dict[tuple[str, str], AlarmState] = {}
        self.raised: Counter[tuple[str, str]] = Counter()
        """Alarms raised since the start, by rule and camera."""
        watched = {(rule.name, camera) for rule in self._rules for camera in rule.cameras or cameras}
        for data in _read(path).standing:
            if (data.rule, data.camera_id) in watched:
                self._states[data.rule, data.camera_id] = Active(data)

    @property
    def active(self) -> list[AlarmData]:
        """Raised and not cleared, oldest first."""
        raised = [state.raised for state in list(self._states.values()) if isinstance(state, Active)]
        return sorted(raised, key=lambda data: data.raised_at)

    def observe(self, summary: FrameSummary) -> list[AlarmData]:
        """Apply every rule to a frame; what was raised or cleared by it."""
        changes: list[AlarmData] = []
        silence = self._silence(summary)
        for rule in self._rules:
            if rule.cameras and summary.camera_id not in rule.cameras:
                continue
            key = (rule.name, summary.camera_id)
            self._states[key], change = step(rule, self._device_id, self._states.get(key), summary, silence)
            if change is not None:
                changes.append(change)
                if change.state == "raised":
                    self.raised[key] += 1
        if changes:
            self._write()
        return changes

    def _silence(self, summary: FrameSummary) -> float:
        """Of the camera before this frame, whose interval is remembered for the next."""
        last, interval = self._intervals.get(summary.camera_id, (summary.captured, 0.0))
        if summary.captured > last:
            self._intervals[summary.camera_id] = (summary.captured, summary.captured - last)
        else:
            self._intervals[summary.camera_id] = (last, interval)
        return silence_of(interval)

    def _write(self) -> None:
        try:
            write_atomic(self._path, ActiveAlarmsFile(standing=tuple(self.active)).to_json())
        except (UserError, OSError) as error:  # the alarm goes out all the same
            log.error("cannot write %s: %s; after a restart an alarm may be raised twice", self._path, error)


def _read(path: Path) -> ActiveAlarmsFile:
    try:
        return ActiveAlarmsFile.from_json(path.read_bytes(), str(path))
    except FileNotFoundError:
        pass
    except (UserError, OSError) as error:
        log.error("%s; no alarm is active", error)
    return ActiveAlarmsFile(standing=())
