"""What a restore is going to do: the records between planning, writing and reporting, and the planning itself.

Every hour of the range is inspected by receipts, indexes and, where conditions on records are given, record files;
nothing is written. Does not belong here: writing (``writing``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

from yolo_assets.archive.archive import Archive, ReceiptResult, in_order
from yolo_assets.archive.near_hours import archives_holding
from yolo_assets.archive.packing.pack import IndexRow
from yolo_assets.archive.part import ArchivedPart, at_version
from yolo_assets.archive.restore.filter import FrameFilter, RangeContents, RecordsTell
from yolo_assets.archive.restore.matching import Extract, HourMatch, match_hour, records_tell
from yolo_assets.archive.restore.placing import OutFolder, Places
from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.times import Hour
from yolo_assets.spool.files import native_name
from yolo_assets.spool.frames import FrameFolder
from yolo_assets.storage.base import ColdObjectError, StoreUnavailableError
from yolo_assets.storage.cold import Retrieval, come_back

_HOURS_AT_A_TIME = 6


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
class ColdArchive:
    """An archive in a cold tier.

    Attributes:
        archive_key: its key.
        asked: this run asked for it; False: it is on its way already, or it was only inspected.
        when: when to come back, for people.
    """

    archive_key: str
    asked: bool
    when: str


@dataclass(frozen=True)
class HourPlan:
    """What is selected of one camera-hour.

    Attributes:
        camera: camera id.
        hour: the hour.
        receipts: of its parts, by part.
        match: the frames and records that meet the conditions; None without conditions.
        told: what records say where names do not and the range makes a difference.
        archives: parts that hold something selected.
        files: selected.
        bytes: of them.
        there: bytes of those that seem to be there already: a file of that name and size.
        waiting: parts that must be read to know more, and are cold. The hour is not in the figures then.
        problems: what of it is untrusted or cannot be placed, a line each.
    """

    camera: str
    hour: Hour
    receipts: tuple[Receipt, ...]
    match: HourMatch | None = None
    told: RecordsTell = field(default_factory=RecordsTell)
    archives: int = 0
    files: int = 0
    bytes: int = 0
    there: int = 0
    waiting: tuple[ColdArchive, ...] = ()
    problems: tuple[str, ...] = ()

    def chosen(self, selection: FrameFilter, indexes: Sequence[Sequence[IndexRow]]) -> list[list[IndexRow]]:
        """The members that are restored as they are, part by part."""
        if self.match is not None:
            return self.match.chosen(indexes)
        return selection.chosen(indexes, self.hour, self.told)

    def place(self, places: Places, extract: Extract, sha256: bytes = b"") -> tuple[str, ...]:
        """Where an extract goes, below the folder of the hour; archived files were placed before."""
        return places.of(extract.row(sha256), self.receipts[extract.places[0].part].part)


@dataclass
class RestorePlan:
    """What a restore is going to do.

    Attributes:
        selection: what was asked for.
        listed: the archives of the range.
        hours: the camera-hours that hold something selected, or may.
        contents: what the receipts of the range name.
        problems: untrusted receipts, and what the hours report, a line each.
        unreadable: records in searched hours that could not be understood.
    """

    selection: FrameFilter
    listed: Sequence[ArchiveName] = ()
    hours: list[HourPlan] = field(default_factory=list[HourPlan])
    contents: RangeContents = field(default_factory=RangeContents)
    problems: list[str] = field(default_factory=list[str])
    unreadable: int = 0

    @property
    def archives(self) -> int:
        """Parts that hold something selected."""
        return sum(hour.archives for hour in self.hours)

    @property
    def files(self) -> int:
        """Files selected."""
        return sum(hour.files for hour in self.hours)

    @property
    def bytes(self) -> int:
        """Bytes selected."""
        return sum(hour.bytes for hour in self.hours)

    @property
    def missing(self) -> int:
        """Bytes that are not there yet, by name and size."""
        return sum(hour.bytes - hour.there for hour in self.hours)

    @property
    def waiting(self) -> list[ColdArchive]:
        """Archives that cannot be read at once."""
        return [cold for hour in self.hours for cold in hour.waiting]


@dataclass
class RestoreReport:
    """What a restore did.

    Attributes:
        archives: parts that hold something selected.
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
    problems: list[str] = field(default_factory=list[str])
    waiting: list[ColdArchive] = field(default_factory=list[ColdArchive])

    @property
    def ok(self) -> bool:
        """Whether everything that was selected is there now."""
        return not self.problems and not self.waiting


def plan_restore(archive: Archive, selection: FrameFilter, out: Path, *, thaw: Thaw | None = None) -> RestorePlan:
    """Find out what a restore would do. Nothing is written.

    Args:
        archive: the archive.
        selection: which frames.
        out: folder it would go to; need not be there.
        thaw: how to ask for archives whose records must be read first and that are cold; None: do not ask.

    Raises:
        BadInputError: a symbolic link in ``out`` leads out of it.
        StoreUnavailableError: the store does not answer.
    """
    names = archives_holding(archive, selection.start, selection.end, camera_id=selection.camera)
    plan = RestorePlan(selection, names)

    def hours() -> Iterator[tuple[Receipt, ...]]:
        results = archive.read_receipts(names)
        for _, parts in groupby(results, key=lambda result: (result.name.hour, result.name.camera_id)):
            receipts = tuple(_verified(parts, plan))
            if receipts and selection.may_hold(receipts):
                yield receipts

    planner = HourPlanner(archive, selection, OutFolder(out), thaw)
    for hour in in_order(hours(), planner.plan, _HOURS_AT_A_TIME):
        plan.problems += hour.problems
        plan.unreadable += hour.match.unreadable if hour.match is not None else 0
        if hour.files or hour.waiting:
            plan.hours.append(hour)
    return plan


def cold_archives(archive: Archive, plan: RestorePlan) -> list[ColdArchive]:
    """The archives of a plan that cannot be read at once; nothing is asked for.

    Raises:
        StoreUnavailableError: the store does not answer.
    """
    receipts = (receipt for hour in plan.hours for receipt in hour.receipts)
    states = in_order(receipts, lambda receipt: request_thaw(archive.part(receipt), None))
    return [cold for cold in states if cold is not None]


@dataclass(frozen=True)
class HourPlanner:
    """Finds out what of an hour is selected. Used by several threads."""

    archive: Archive
    selection: FrameFilter
    out: OutFolder
    thaw: Thaw | None

    def plan(self, receipts: tuple[Receipt, ...]) -> HourPlan:
        """Plan one hour.

        Args:
            receipts: of its parts, by part.

        Raises:
            BadInputError: a symbolic link in the folder leads out of it, or no such retrieval from that tier.
            StoreUnavailableError: the store does not answer.
        """
        hour = Hour.from_key(receipts[0].hour)
        parts = [self.archive.part(receipt) for receipt in receipts]
        indexes, problems = load_indexes(parts)
        plan = HourPlan(receipts[0].camera_id, hour, receipts, problems=tuple(problems))
        try:
            plan = self._searched(plan, parts, indexes)
        except ColdObjectError:
            states = (request_thaw(part, self.thaw) for part in parts)
            return replace(plan, waiting=tuple(cold for cold in states if cold is not None))
        except UserError as error:
            problem = f"{plan.camera} {hour} cannot be searched: {object_problem(error)}"
            return replace(plan, problems=(*plan.problems, problem))
        chosen = plan.chosen(self.selection, indexes)
        extracts = plan.match.extracts if plan.match is not None else ()
        there = 0
        if self.out.path.exists():
            places = Places()
            placed = place_all(places, receipts, indexes)
            members = [(places_of[row], row) for places_of, rows in zip(placed, chosen, strict=True) for row in rows]
            members += [(plan.place(places, extract), extract.row()) for extract in extracts]
            folders = (plan.camera, hour.key)
            there = sum(row.size for place, row in members if self.out.holds((*folders, *place), row, size_only=True))
        extracted = plan.match.extracted_parts if plan.match is not None else frozenset[int]()
        return replace(
            plan,
            archives=sum(bool(rows) or number in extracted for number, rows in enumerate(chosen)),
            files=sum(map(len, chosen)) + len(extracts),
            bytes=sum(row.size for rows in chosen for row in rows) + sum(extract.size for extract in extracts),
            there=there,
        )

    def _searched(
        self, plan: HourPlan, parts: Sequence[ArchivedPart], indexes: Sequence[Sequence[IndexRow]]
    ) -> HourPlan:
        """The plan with what records say, where that is asked for or names alone do not tell.

        Raises:
            UserError: a part cannot be read.
        """
        contents = [part.contents(rows) for part, rows in zip(parts, indexes, strict=True)]
        frames = frozenset(name for content in contents for name in content.frames)
        folder = FrameFolder.of(plan.camera, plan.hour, frames)
        if not self.selection.everything:
            return replace(plan, match=match_hour(self.selection, folder, contents))
        if self.selection.whole(plan.hour):
            return plan
        try:
            return replace(plan, told=records_tell(folder, contents))
        except ColdObjectError:
            return plan  # such frames count as of their whole hour


def _verified(results: Iterator[ReceiptResult], plan: RestorePlan) -> Iterator[Receipt]:
    for result in results:
        if result.receipt is None:
            plan.problems.append(f"{result.name.stem}: {result.problem}")
            continue
        plan.contents.add(result.receipt)
        yield result.receipt


def load_indexes(parts: Sequence[ArchivedPart]) -> tuple[list[list[IndexRow]], list[str]]:
    """The index of each part, without the rows whose name is no file's name; and what is wrong, a line each."""
    indexes: list[list[IndexRow]] = []
    problems: list[str] = []
    for part in parts:
        rows: list[IndexRow] = []
        try:
            for row in part.index():
                try:
                    native_name(row.name)
                    rows.append(row)
                except BadInputError as error:
                    problems.append(f"{part.receipt.index_key}: {error}")
        except UserError as error:
            problems.append(object_problem(error))
        indexes.append(rows)
    return indexes, problems


def place_all(
    places: Places, receipts: Sequence[Receipt], indexes: Sequence[Sequence[IndexRow]]
) -> list[dict[IndexRow, tuple[str, ...]]]:
    """The place of every member of an hour, part by part, selected or not: places do not depend on the selection."""
    places.reserve(native_name(row.name) for rows in indexes for row in rows)
    return [
        {row: places.of(row, receipt.part) for row in rows} for receipt, rows in zip(receipts, indexes, strict=True)
    ]


def object_problem(error: UserError) -> str:
    """The line of an error that concerns one object; one that concerns the store is raised again."""
    if isinstance(error, StoreUnavailableError) and error.transient:
        raise error
    return str(error)


def request_thaw(part: ArchivedPart, thaw: Thaw | None) -> ColdArchive | None:
    """Ask for an archive in a cold tier, once; None when it can be read.

    Args:
        part: the archive.
        thaw: how to ask; None: only inspect.

    Raises:
        BadInputError: no retrieval from that tier is that fast.
        StoreUnavailableError: the store does not answer, or may not be asked for this.
    """
    key, store = part.receipt.archive_key, part.store
    state = at_version(store, part.receipt, lambda version: store.restore_state(key, version))
    if state.readable:
        return None
    if state.status == "requested" or thaw is None:
        return ColdArchive(key, False, str(state))
    days, retrieval = thaw.days, thaw.tier
    state = at_version(
        store, part.receipt, lambda version: store.request_restore(key, version, days=days, retrieval=retrieval)
    )
    return None if state.readable else ColdArchive(key, True, come_back(state.tier, thaw.tier))
