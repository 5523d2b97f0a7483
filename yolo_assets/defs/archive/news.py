"""Which hours of the archive root are news: pure, so that the receipts sensor is only glue.

An hour is news when it has parts that its newest materialization of ``hourly_archives`` does not know. That is told by
its data version, which a run here and a report of the sensor write the same way: so our own archives are never
reported twice, and a lost cursor or a crash half-way through a report costs nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from yolo_assets.contracts.names import receipts_prefix
from yolo_assets.contracts.times import Hour

if TYPE_CHECKING:
    from yolo_assets.archive.listing import ListedHour

RETRY_AFTER = timedelta(minutes=10)
"""News that were acted on and changed nothing (a run failed) are acted on again, once per such span."""
LONGEST_WAIT = timedelta(minutes=10)
"""An hour that boxes keep adding to is reported at last; it is reported again when they are done."""
_FORGOTTEN_AFTER = timedelta(days=1)
_KEPT = 1000


class Waiting(BaseModel):
    """An hour with news.

    Attributes:
        version: what was listed last.
        first: when there was news first.
        since: when the listing changed last.
        asked: when it was acted on, if it was.
    """

    model_config = ConfigDict(extra="ignore")

    version: str
    first: datetime
    since: datetime
    asked: datetime | None = None


class Cursor(BaseModel):
    """The sensor's memory, small. Losing it costs a look more, never an hour.

    Attributes:
        keys: digest of the trusted keys; what they do not sign is refused until they change.
        position: where the sweep through older receipts goes on; ``""``: it begins anew.
        swept: when it last came to the end.
        waiting: hours with news, by key.
        refused: hours with receipts that are not believed, and their version then: not read again until it changes.
    """

    model_config = ConfigDict(extra="ignore")

    keys: str = ""
    position: str = ""
    swept: datetime | None = None
    waiting: dict[str, Waiting] = Field(default_factory=dict)
    refused: dict[str, str] = Field(default_factory=dict)

    @classmethod
    def load(cls, text: str | None) -> Cursor:
        """Forgiving: an unreadable cursor is an empty one."""
        if not text:
            return cls()
        try:
            return cls.model_validate_json(text)
        except ValidationError:
            return cls()

    def trusting(self, key_ids: Collection[str]) -> Cursor:
        """This memory under the keys that are trusted now: with other keys everything is judged again."""
        keys = hashlib.sha256("\n".join(sorted(key_ids)).encode()).hexdigest()[:16]
        if keys == self.keys:
            return self
        return self.model_copy(update={"keys": keys, "refused": {}, "position": "", "swept": None})

    def resting(self, now: datetime, rest: timedelta) -> bool:
        """Whether the sweep came to the end a short while ago."""
        return not self.position and self.swept is not None and now - self.swept < rest

    def noting(
        self,
        *,
        asked: Iterable[Hour] = (),
        refused: Mapping[Hour, str] | None = None,
        position: str | None = None,
        now: datetime,
    ) -> Cursor:
        """This memory after acting: what was asked for, what was refused and its version, how far the sweep came."""
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
    """What the hours of one run were made of: ``20260301_02:<parts_version>``, several with a space between.

    One text for all hours of a run, because Dagster keeps one data version a run; each hour finds its own in it.
    """
    return " ".join(f"{hour.key}:{versions[hour]}" for hour in sorted(versions))


def known_version(text: str | None, hour: Hour) -> str | None:
    """The version of an hour in a ``data_version``; None when it says nothing of it."""
    found = dict(item.split(":", 1) for item in (text or "").split() if ":" in item)
    return found.get(hour.key)


def find_news(
    recent: Sequence[ListedHour],
    older: Sequence[ListedHour],
    known: Mapping[Hour, str],
    cursor: Cursor,
    now: datetime,
    settle: timedelta,
) -> tuple[list[ListedHour], Cursor]:
    """Compare what the archive root lists with what the graph knows.

    A recent hour is left until nothing was added for ``settle``: two hundred cameras that arrive in ten minutes are one
    report and one build of the tables, not two hundred.

    Args:
        recent: hours that are listed in every tick.
        older: hours that the sweep passed in this tick.
        known: versions that the newest materializations tell.
        cursor: what earlier ticks saw.
        now: aware.
        settle: how long an hour must be quiet.

    Returns:
        Hours to act on, recent ones first, and the memory if nothing is done about them.
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
            before = Waiting(version=version, first=now, since=now)
        elif before.version != version:
            before = Waiting(version=version, first=before.first if before.asked is None else now, since=now)
        waiting[key] = before
        settled = item.hour in quiet or now - before.since >= settle or now - before.first >= LONGEST_WAIT
        if settled and (before.asked is None or now - before.asked >= RETRY_AFTER):
            ripe.append(item)
    return ripe, cursor.model_copy(update={"waiting": waiting, "refused": refused})


def position_after(swept: Sequence[ListedHour], reached: str, left: Collection[Hour]) -> str:
    """Where the next sweep begins: before the first hour that had news and was not got to, else where it ended."""
    for item in swept:
        if item.hour in left:
            return receipts_prefix(item.hour).rstrip("/")  # sorts before the hour's receipts, after the hour before it
    return reached
