"""Which hours of the archive root differ from what the graph knows: pure, so that the receipts sensor is only glue.

An hour differs when it has parts that its newest materialization of ``hourly_archives`` does not know. The data version
shows that; a run here and a report of the sensor write it in the same way. So archives made here are never reported
twice, and a lost cursor or a crash half-way through a report costs nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from yolo_assets.contracts.names import receipts_prefix
from yolo_assets.contracts.times import Hour
from yolo_assets.defs.cursors import SensorCursor

if TYPE_CHECKING:
    from yolo_assets.archive.listing import ListedHour

RETRY_AFTER = timedelta(minutes=10)
"""An hour that was reported and still differs is reported again, once in this time."""
LONGEST_WAIT = timedelta(minutes=10)
"""An hour that archivers keep adding to is reported after this at the latest, and again when they are done."""
_FORGOTTEN_AFTER = timedelta(days=1)
_KEPT = 1000


class PendingHour(BaseModel):
    """An hour that differs.

    Attributes:
        version: what was listed last.
        first: when it differed first.
        since: when the listing changed last.
        asked: when it was reported, if it was.
    """

    model_config = ConfigDict(extra="ignore")

    version: str
    first: datetime
    since: datetime
    asked: datetime | None = None


class ReceiptsCursor(SensorCursor):
    """The sensor's cursor, small. Losing it costs an extra listing, never an hour.

    Attributes:
        keys: digest of the trusted keys; receipts with other signatures are untrusted until the keys change.
        position: where the scan of older receipts continues; ``""``: it starts from the beginning.
        swept: when it last reached the end.
        waiting: hours that differ, by key.
        refused: hours with untrusted receipts, and their version then: not read again until it changes.
    """

    keys: str = ""
    position: str = ""
    swept: datetime | None = None
    waiting: dict[str, PendingHour] = Field(default_factory=dict)
    refused: dict[str, str] = Field(default_factory=dict)

    def trusting(self, key_ids: Collection[str]) -> ReceiptsCursor:
        """This cursor for the keys that are trusted now: with other keys every receipt is verified again."""
        keys = hashlib.sha256("\n".join(sorted(key_ids)).encode()).hexdigest()[:16]
        if keys == self.keys:
            return self
        return self.model_copy(update={"keys": keys, "refused": {}, "position": "", "swept": None})

    def resting(self, now: datetime, rest: timedelta) -> bool:
        """Whether the scan reached the end a short while ago."""
        return not self.position and self.swept is not None and now - self.swept < rest

    def noting(
        self,
        *,
        asked: Iterable[Hour] = (),
        refused: Mapping[Hour, str] | None = None,
        position: str | None = None,
        now: datetime,
    ) -> ReceiptsCursor:
        """This cursor after a tick: hours reported, hours with untrusted receipts and their version, scan position."""
        waiting = dict(self.waiting)
        for hour in asked:
            if hour.key in waiting:
                waiting[hour.key] = waiting[hour.key].model_copy(update={"asked": now})
        for hour in refused or {}:
            waiting.pop(hour.key, None)
        known = {**self.refused, **{hour.key: version for hour, version in (refused or {}).items()}}
        changes = {
            "waiting": dict(sorted(waiting.items())[-_KEPT:]),
            "refused": dict(sorted(known.items())[-_KEPT:]),
        }
        if position is not None:
            changes |= {"position": position, "swept": self.swept if position else now}
        return self.model_copy(update=changes)


def data_version(versions: Mapping[Hour, str]) -> str:
    """The parts of each hour of one run: ``20260301_02:<parts_version>``, several separated by spaces.

    One text for all hours of a run, because Dagster keeps one data version a run; ``known_version`` takes it apart.
    """
    return " ".join(f"{hour.key}:{versions[hour]}" for hour in sorted(versions))


def known_version(text: str | None, hour: Hour) -> str | None:
    """The version of an hour in a ``data_version``; None when it does not name the hour."""
    versions = dict(item.split(":", 1) for item in (text or "").split() if ":" in item)
    return versions.get(hour.key)


def find_changes(
    recent: Sequence[ListedHour],
    older: Sequence[ListedHour],
    known: Mapping[Hour, str],
    cursor: ReceiptsCursor,
    now: datetime,
    settle: timedelta,
) -> tuple[list[ListedHour], ReceiptsCursor]:
    """Compare what the archive root lists with what the graph knows.

    A recent hour waits until nothing was added to it for ``settle``: two hundred cameras that arrive in ten minutes are
    one report and one build of the tables, not two hundred.

    Args:
        recent: hours that are listed in every tick.
        older: hours that the scan passed in this tick.
        known: versions in the newest materializations.
        cursor: of the tick before.
        now: aware.
        settle: how long an hour must be quiet.

    Returns:
        Hours to report, recent ones first, and the cursor should none of them be reported.
    """
    ripe: list[ListedHour] = []
    waiting = {key: item for key, item in cursor.waiting.items() if now - item.first < _FORGOTTEN_AFTER}
    refused = dict(cursor.refused)
    quiet = {item.hour for item in older}
    for item in (*recent, *older):
        key, version = item.hour.key, item.version
        if version in (known.get(item.hour), refused.get(key)):
            waiting.pop(key, None)
            continue
        refused.pop(key, None)
        before = waiting.get(key)
        if before is None:
            before = PendingHour(version=version, first=now, since=now)
        elif before.version != version:
            before = PendingHour(version=version, first=before.first if before.asked is None else now, since=now)
        waiting[key] = before
        settled = item.hour in quiet or now - before.since >= settle or now - before.first >= LONGEST_WAIT
        if settled and (before.asked is None or now - before.asked >= RETRY_AFTER):
            ripe.append(item)
    return ripe, cursor.model_copy(update={"waiting": waiting, "refused": refused})


def position_after(swept: Sequence[ListedHour], reached: str, remaining: Collection[Hour]) -> str:
    """Where the next scan starts: before the first hour that was not reported yet, else where this one ended."""
    for item in swept:
        if item.hour in remaining:
            return receipts_prefix(item.hour).rstrip("/")  # sorts before the hour's receipts, after the hour before it
    return reached
