"""What the spool sensor remembers, and where it lies: in Dagster's cursor while short, else in a file that it names.

Dagster writes the cursor with every tick, and keeps a copy of it with each: a backlog of weeks of two hundred cameras
would be megabytes every ten seconds. A file is never changed: the next state is another file, and the cursor that names
it counts only when Dagster stored what the tick reported.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from yolo_assets.contracts.times import Hour
from yolo_assets.defs.cursors import SensorCursor
from yolo_assets.runtime.backoff import Backoff
from yolo_assets.runtime.files import write_atomic

log = logging.getLogger(__name__)
SHORT = 4096
"""Characters that a cursor may have."""
_NAMED = re.compile(r"file:([0-9a-f]{32})")
RETRY_AFTER = timedelta(hours=3)
"""An hour that is not archived, and that nothing has tried for so long, is requested again.

Longer than the longest pause of ``recovery``: what that still requests is not requested here too.
"""
LONGEST_PAUSE = timedelta(days=1)
"""The pauses of an hour double up to this."""
_PAUSES = Backoff(RETRY_AFTER.total_seconds(), LONGEST_PAUSE.total_seconds())


class ReportedHour(BaseModel):
    """What was reported of one hour.

    Attributes:
        cameras: what of each camera waited for the archive then, twelve digits of a hash.
        reported_at: when it was reported, or tried or requested last.
        asked: how often it was requested again.
    """

    model_config = ConfigDict(extra="ignore")

    cameras: dict[str, str] = Field(default_factory=dict)
    reported_at: datetime
    asked: int = Field(default=0, ge=0)

    @property
    def pause(self) -> timedelta:
        """After which it is overdue."""
        return timedelta(seconds=_PAUSES.seconds(self.asked + 1))


class SpoolCursor(SensorCursor):
    """What was reported. Losing it costs a repeated report, never an hour, and no run: the data versions are equal."""

    hours: dict[str, ReportedHour] = Field(default_factory=dict)

    def noting(self, tried: Mapping[Hour, datetime], asked: Iterable[Hour], now: datetime) -> SpoolCursor:
        """This memory after a tick.

        Args:
            tried: overdue hours of which a run was created since they were reported, and when.
            asked: overdue hours that are requested now.
            now: aware.
        """
        hours = dict(self.hours)
        for hour, at in tried.items():
            hours[hour.key] = hours[hour.key].model_copy(update={"reported_at": at})
        for hour in asked:
            known = hours[hour.key]
            hours[hour.key] = known.model_copy(update={"reported_at": now, "asked": known.asked + 1})
        return SpoolCursor(hours=hours)


class Memory:
    """The memory of the spool sensor over one folder of the home."""

    def __init__(self, folder: Path) -> None:
        """Over a folder, which is made when it is needed.

        Args:
            folder: of its files; nothing else is in it.
        """
        self._folder = folder

    def load(self, text: str | None) -> SpoolCursor:
        """What a cursor stands for; one whose file is gone is an empty one."""
        named = _NAMED.fullmatch(text or "")
        if named is None:
            return SpoolCursor.load(text)
        known = _LAST.get(self._folder)
        if known is not None and known[0] == text:
            return known[1]
        try:
            return SpoolCursor.load(self._file(named[1]).read_text())
        except OSError:
            return SpoolCursor()

    def keep(self, cursor: SpoolCursor, before: str | None) -> str:
        """The text for Dagster to store.

        Args:
            cursor: the memory after this tick.
            before: the text that Dagster stored last. Its file stays: this tick may come to nothing.
        """
        if before is not None and cursor == self.load(before):
            return before
        short = cursor.model_dump_json()
        if len(short) <= SHORT:
            return short
        name = uuid.uuid4().hex
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomic(self._file(name), cursor.dump().encode())
        except OSError as error:
            log.warning("%s: %s; the memory of the spool sensor stays in the database", self._folder, error.strerror)
            return cursor.dump()
        stay = {self._file(name).name}
        if (named := _NAMED.fullmatch(before or "")) is not None:
            stay.add(self._file(named[1]).name)
        for file in self._folder.glob("*.cursor"):
            if file.name not in stay:
                file.unlink(missing_ok=True)
        text = f"file:{name}"
        _LAST[self._folder] = (text, cursor)
        return text

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.cursor"


_LAST: dict[Path, tuple[str, SpoolCursor]] = {}
"""By folder, what this process wrote last: a tick need not read it again."""
