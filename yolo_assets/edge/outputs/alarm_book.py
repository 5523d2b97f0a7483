"""Which alarms stand, in memory and on disk: an agent that starts again neither forgets nor repeats one."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from yolo_assets.contracts.base import Record
from yolo_assets.contracts.errors import UserError
from yolo_assets.edge.config.outputs import AlarmRule
from yolo_assets.edge.outputs.alarms import Standing, State, silence_of, step
from yolo_assets.edge.outputs.events import AlarmData, Seen
from yolo_assets.spool.files import write_atomic

log = logging.getLogger(__name__)


class StandingAlarms(Record):
    """The file ``alarms.json``."""

    standing: tuple[AlarmData, ...] = Field(description="raised and not cleared")


class AlarmBook:
    """Applies the rules. Used by one thread; the figures may be read from any."""

    def __init__(self, rules: Sequence[AlarmRule], cameras: Sequence[str], device_id: str, path: Path) -> None:
        """Read what stood when the agent stopped; alarms of rules and cameras that are gone are forgotten.

        Args:
            rules: the configured ones.
            cameras: of this box.
            device_id: this box.
            path: the file, which need not exist.
        """
        self._rules = tuple(rules)
        self._device_id = device_id
        self._path = path
        self._pace: dict[str, tuple[float, float]] = {}
        self._states: dict[tuple[str, str], State] = {}
        self.raised: Counter[tuple[str, str]] = Counter()
        """Alarms raised since the start, by rule and camera."""
        watched = {(rule.name, camera) for rule in self._rules for camera in rule.cameras or cameras}
        for data in _read(path).standing:
            if (data.rule, data.camera_id) in watched:
                self._states[data.rule, data.camera_id] = Standing(data)

    @property
    def standing(self) -> list[AlarmData]:
        """Raised and not cleared, oldest first."""
        found = [state.raised for state in list(self._states.values()) if isinstance(state, Standing)]
        return sorted(found, key=lambda data: data.raised_at)

    def observe(self, seen: Seen) -> list[AlarmData]:
        """Apply every rule to a frame; what was raised or cleared by it."""
        changes: list[AlarmData] = []
        silence = self._silence(seen)
        for rule in self._rules:
            if rule.cameras and seen.camera_id not in rule.cameras:
                continue
            key = (rule.name, seen.camera_id)
            self._states[key], change = step(rule, self._device_id, self._states.get(key), seen, silence)
            if change is not None:
                changes.append(change)
                if change.state == "raised":
                    self.raised[key] += 1
        if changes:
            self._write()
        return changes

    def _silence(self, seen: Seen) -> float:
        """Of the camera before this frame, whose interval is remembered for the next."""
        last, interval = self._pace.get(seen.camera_id, (seen.captured, 0.0))
        if seen.captured > last:
            self._pace[seen.camera_id] = (seen.captured, seen.captured - last)
        else:
            self._pace[seen.camera_id] = (last, interval)
        return silence_of(interval)

    def _write(self) -> None:
        try:
            write_atomic(self._path, StandingAlarms(standing=tuple(self.standing)).to_json())
        except (UserError, OSError) as error:  # the alarm goes out all the same
            log.error("cannot write %s: %s; after a restart an alarm may be raised twice", self._path, error)


def _read(path: Path) -> StandingAlarms:
    try:
        return StandingAlarms.from_json(path.read_bytes(), str(path))
    except FileNotFoundError:
        pass
    except (UserError, OSError) as error:
        log.error("%s; begins without standing alarms", error)
    return StandingAlarms(standing=())
