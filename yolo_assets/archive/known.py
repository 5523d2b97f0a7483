"""What this machine knows to be archived in a root: a root whose receipts vanished is told from one that is new.

A bucket whose content has expired, a folder that was emptied and an archive that was never written list the same:
nothing. So each machine remembers, below ``<home>/known-archives``, of which camera-hours it wrote or read a verified
receipt, a small file a day. Nothing is proven by it and nothing depends on it: a memory that is lost is no error.

Belongs here: the memory and the comparison with a listing. Does not belong here: parts that are missing below a listed
one (``missing``), and which folder store lies where (``storage``'s mount guard).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import Field

from yolo_assets.contracts.base import Record, Time
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.times import Hour
from yolo_assets.runtime.files import write_atomic

_ENDING = ".json"
_WHOSE = "root"


class KnownDay(Record):
    """``<day>.json``: the camera-hours of one day of which there was a receipt.

    Attributes:
        hours: by camera, a bit for each hour.
        until: when the retention of all of them is over and they may be gone; None: they were written without one.
    """

    schema_version: int = 1
    hours: dict[str, int] = Field(default_factory=dict)
    until: Time | None = None


@dataclass(frozen=True)
class KnownHour:
    """A camera-hour with a receipt.

    Attributes:
        camera_id: the camera.
        hour: the hour.
        until: end of its retention; None without one.
    """

    camera_id: str
    hour: Hour
    until: datetime | None = None

    @classmethod
    def of(cls, receipt: Receipt) -> KnownHour:
        """The one that a receipt is of."""
        return cls(receipt.camera_id, Hour.from_key(receipt.hour), receipt.retention_until)


@dataclass(frozen=True)
class KnownArchives:
    """The memory of one archive root.

    Attributes:
        folder: where it lies; delete it to forget.
        url: of the root.
    """

    folder: Path
    url: str

    @classmethod
    def of(cls, settings: Settings) -> KnownArchives:
        """Of the archive root of an installation."""
        url = settings.archive_url.rstrip("/")
        return cls(settings.known_archives / hashlib.sha256(url.encode()).hexdigest()[:16], url)

    def note(self, seen: Iterable[KnownHour]) -> None:
        """Remember camera-hours. A disk that refuses costs the memory, never the work."""
        days: dict[str, list[KnownHour]] = {}
        for known in seen:
            days.setdefault(known.hour.date, []).append(known)
        with suppress(OSError):
            for date, hours in days.items():
                self._note_day(date, hours)

    def _note_day(self, date: str, seen: list[KnownHour]) -> None:
        before = self._day(date)
        hours = dict(before.hours)
        for known in seen:
            hours[known.camera_id] = hours.get(known.camera_id, 0) | _bit(known.hour)
        untils = [known.until for known in seen] + ([before.until] if before.hours else [])
        day = KnownDay(hours=hours, until=None if None in untils else max(filter(None, untils), default=None))
        if day == before:
            return
        if not self.folder.is_dir():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomic(self.folder / _WHOSE, f"{self.url}\n".encode())
        write_atomic(self.folder / f"{date}{_ENDING}", day.to_json())

    def vanished(
        self,
        listed: Iterable[ArchiveName],
        now: datetime,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        camera_id: str | None = None,
    ) -> list[KnownHour]:
        """Camera-hours that are known and not listed, by hour; those whose retention is over may be gone.

        Args:
            listed: all archives of the range.
            now: the present.
            start: only hours that touch ``[start, end)``, as they were listed; None: from the first.
            end: see ``start``; None: to the last.
            camera_id: only of this camera.
        """
        there = {(name.camera_id, name.hour) for name in listed}
        gone: list[KnownHour] = []
        for date, day in self._days():
            if day.until is not None and day.until <= now:
                continue
            first = Hour.from_key(f"{date.replace('-', '')}_00")
            for camera, hours in sorted(day.hours.items()):
                if camera_id not in (None, camera):
                    continue
                for number in range(24):
                    if not hours >> number & 1:
                        continue
                    begins = first.start + timedelta(hours=number)
                    hour = Hour(begins)
                    touches = (start is None or hour.end > start) and (end is None or begins < end)
                    if touches and (camera, hour) not in there:
                        gone.append(KnownHour(camera, hour, day.until))
        return sorted(gone, key=lambda known: (known.hour, known.camera_id))

    def alarm(self, gone: list[KnownHour]) -> str:
        """One line for receipts that vanished: what to do."""
        more = f" and {len(gone) - 1} more camera-hours" if len(gone) > 1 else ""
        return (
            f"RECEIPTS HAVE VANISHED from {self.url}: {gone[0].camera_id} {gone[0].hour}{more} had one that this "
            "machine wrote or read, and their retention is not over; look for expiry rules and deletions, bring back "
            f"what the store's versions or a copy still hold. If it was meant, delete {self.folder}"
        )

    def _days(self) -> Iterable[tuple[str, KnownDay]]:
        try:
            names = sorted(path.name for path in self.folder.glob(f"????-??-??{_ENDING}"))
        except OSError:
            return
        for name in names:
            date = name.removesuffix(_ENDING)
            day = self._day(date)
            if day.hours:
                yield date, day

    def _day(self, date: str) -> KnownDay:
        """What is known of a day; nothing where it cannot be read."""
        path = self.folder / f"{date}{_ENDING}"
        try:
            Hour.from_key(f"{date.replace('-', '')}_00")
            return KnownDay.from_json(path.read_bytes(), str(path))
        except (OSError, BadInputError):
            return KnownDay()


def _bit(hour: Hour) -> int:
    return 1 << int(hour.hh)
