"""How much waits in the spool for the archive: camera-hours with files that no part holds.

They are closed, or of the future.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from yolo_assets.spool.hours import SpoolHour


@dataclass
class Backlog:
    """What waits, by hour.

    What an hour holds is remembered until one of its files changes: the lists of archived files are long.

    Attributes:
        bytes: of the files that wait, by hour.
    """

    bytes: dict[SpoolHour, int] = field(default_factory=dict)
    _known: dict[SpoolHour, tuple[str, int | None]] = field(default_factory=dict)

    def look(self, hours: Iterable[SpoolHour]) -> None:
        """Measure anew; ``hours`` are all that may wait."""
        known = {hour: self._measure(hour) for hour in hours}
        self._known = known
        self.bytes = {hour: size for hour, (_, size) in known.items() if size is not None}

    def ended(self, hour: SpoolHour) -> None:
        """An hour was archived; what it holds now is looked at next time."""
        self.bytes.pop(hour, None)
        self._known.pop(hour, None)

    @property
    def total(self) -> int:
        """Bytes that wait."""
        return sum(self.bytes.values())

    @property
    def since(self) -> datetime | None:
        """When the oldest hour that waits ended."""
        return min((hour.hour.end for hour in self.bytes), default=None)

    def _measure(self, hour: SpoolHour) -> tuple[str, int | None]:
        """The fingerprint of an hour, and the bytes that wait in it; None: no file does."""
        try:
            fingerprint = hour.fingerprint()
            before = self._known.get(hour)
            if before is not None and before[0] == fingerprint:
                return before
            waiting = hour.uncovered_members()
        except OSError:
            return "", 0  # it waits, and nobody knows how much; whoever works on it says why
        return fingerprint, sum(member.size for member in waiting) if waiting else None
