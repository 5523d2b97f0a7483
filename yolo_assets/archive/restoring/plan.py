"""What a restore is going to do, and what it did: the records between looking, writing and telling."""

from __future__ import annotations

from dataclasses import dataclass, field

from yolo_assets.archive.restoring.wanted import Offered, Wanted
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.times import Hour
from yolo_assets.storage.cold import Retrieval


@dataclass(frozen=True)
class Thaw:
    """How to ask for archives in a cold tier.

    Attributes:
        tier: how fast, and how dear.
        days: how long the readable copy stays.
    """

    tier: Retrieval = "standard"
    days: int = 7


@dataclass(frozen=True)
class Waiting:
    """An archive in a cold tier.

    Attributes:
        archive_key: its key.
        asked: this run asked for it; False: it is on its way already, or it was only looked at.
        when: when to come back, for people.
    """

    archive_key: str
    asked: bool
    when: str


@dataclass(frozen=True)
class HourPlan:
    """What is wanted of one camera-hour.

    Attributes:
        camera: camera id.
        hour: the hour.
        receipts: of its parts, by part.
        matching: stems of the frames whose record fits; None without conditions.
        archives: parts that hold something wanted.
        files: wanted.
        bytes: of them.
        there: bytes of those that seem to be there already: a file of that name and size.
        waiting: parts that had to be read to know more, and are cold. The hour is not in the figures then.
        problems: what of it cannot be believed or placed, a line each.
    """

    camera: str
    hour: Hour
    receipts: tuple[Receipt, ...]
    matching: frozenset[str] | None = None
    archives: int = 0
    files: int = 0
    bytes: int = 0
    there: int = 0
    waiting: tuple[Waiting, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass
class RestorePlan:
    """What a restore is going to do.

    Attributes:
        wanted: what was asked for.
        hours: the camera-hours that hold something wanted, or may.
        offered: what the receipts of the range name.
        problems: receipts that cannot be believed, and what the hours name, a line each.
    """

    wanted: Wanted
    hours: list[HourPlan] = field(default_factory=list)
    offered: Offered = field(default_factory=Offered)
    problems: list[str] = field(default_factory=list)

    @property
    def archives(self) -> int:
        """Parts that hold something wanted."""
        return sum(one.archives for one in self.hours)

    @property
    def files(self) -> int:
        """Files wanted."""
        return sum(one.files for one in self.hours)

    @property
    def bytes(self) -> int:
        """Bytes wanted."""
        return sum(one.bytes for one in self.hours)

    @property
    def missing(self) -> int:
        """Bytes that are not there yet, by name and size."""
        return sum(one.bytes - one.there for one in self.hours)

    @property
    def waiting(self) -> list[Waiting]:
        """Archives that cannot be read at once."""
        return [one for hour in self.hours for one in hour.waiting]


@dataclass
class RestoreReport:
    """What a restore did.

    Attributes:
        archives: parts that hold something wanted.
        files: written.
        bytes: written.
        skipped: files that were there already, with the right hash.
        problems: what is damaged or cannot be placed, a line each; everything else was restored.
        waiting: archives in a cold tier; run again when they can be read.
    """

    archives: int = 0
    files: int = 0
    bytes: int = 0
    skipped: int = 0
    problems: list[str] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything that was wanted is there now."""
        return not self.problems and not self.waiting
