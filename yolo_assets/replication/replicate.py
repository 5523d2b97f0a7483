"""Brings a second place of the archive up to date: only what is new is listed, read and sent.

A run compares the receipts of both places from the day on up to which everything was copied, and some days before it;
then those that the catalog says were archived since, whatever their hour; then a slice of the rest, which passes over
everything in the course of many runs. Nothing depends on what a run remembers: what is in the second place decides.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, fields
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Literal

from yolo_assets import __version__
from yolo_assets.archive.archive import in_order
from yolo_assets.catalog.schema import CatalogPointer
from yolo_assets.catalog.versions import pointer_state
from yolo_assets.contracts.copies import CopiedArchive, CopyState, CopyStatement, FailedCopy
from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.names import (
    AUDIT,
    CATALOG_POINTER,
    CHECKPOINTS,
    COPIES,
    DEVICE_KEYS,
    RECEIPTS,
    ArchiveName,
    copy_state_key,
    copy_statement_key,
)
from yolo_assets.contracts.signing import Signer
from yolo_assets.contracts.times import utc_now
from yolo_assets.replication.compare import pairs
from yolo_assets.replication.copying import Copier, CopyCounts
from yolo_assets.runtime.files import lock_folder, write_atomic
from yolo_assets.storage.base import ObjectInfo, ObjectNotFoundError, ObjectStore, StoreUnavailableError

WORKERS = 2
"""Archives at a time: what a kill costs is what is on the way of so many."""
BATCH = 1000
"""Archives of one statement."""
MARGIN = timedelta(days=2)
"""So far back receipts are compared again by every run: hours that come a little late."""
SLICE = 20_000
"""Old keys of a prefix that a run compares: twenty listings of each place."""
CATALOG_EVERY = timedelta(days=1)
"""The catalog is copied at most so often: nothing is deleted in the second place, and each version is a whole file."""
LATE_MARGIN = timedelta(days=8)
"""So long after an hour was archived the catalog may learn of it: it reads everything once a week."""
_KEPT = 100
_PENDING = "pending.ndjson"

Kind = Literal["again", "late", "new", "swept"]


@dataclass(frozen=True)
class CopyOutcome:
    """What became of one archive; ``problem``: why it was not copied."""

    name: ArchiveName
    kind: Kind
    counts: CopyCounts
    copied: CopiedArchive | None = None
    problem: str | None = None


@dataclass
class CopyReport:
    """What a run did.

    Attributes:
        first: URL of the place that is copied.
        copy: URL of the second place.
        counts: what was copied.
        statements: keys of the statements that were written.
        failed: archives that could not be copied, the first of them.
        failed_count: all of them.
        complete: the run came to its end; else its time was over, and the next goes on.
        newest_hour: newest hour that was copied, ever.
        unwritable: why the statements could not be written at the first place, where nothing may be written.
        seconds: how long it took.
    """

    first: str
    copy: str
    counts: CopyCounts = field(default_factory=CopyCounts)
    statements: list[str] = field(default_factory=list[str])
    failed: list[FailedCopy] = field(default_factory=list[FailedCopy])
    failed_count: int = 0
    complete: bool = False
    newest_hour: str | None = None
    unwritable: str | None = None
    seconds: float = 0.0


class Replication:
    """One run from one place to another; see the module."""

    def __init__(
        self,
        copier: Copier,
        root: ObjectStore,
        signer: Signer,
        *,
        late: Callable[[datetime], Iterable[ArchiveName]] = lambda _: (),
        seconds: float | None = None,
        report: Callable[[CopyOutcome], None] = lambda _: None,
    ) -> None:
        """Prepare a run; nothing is read yet.

        Args:
            copier: the two places, and the folder of journals, which must exist; its name is the copy's.
            root: the store root: how far the copy is; its audit trail, device keys and catalog are copied too.
            signer: signs the statements.
            late: archives that were archived since a moment, by the catalog; only a help.
            seconds: begin nothing after this; None: until the end.
            report: called after each archive.
        """
        self._copier, self._root, self._signer = copier, root, signer
        self._first, self._copy = copier.first, copier.copy
        self._late, self._report = late, report
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._pending = _PendingArchives(copier.folder / _PENDING)
        self._done = CopyReport(self._first.url, self._copy.url)
        self._before: CopyState | None = None
        self._sweep: dict[str, str] = {}
        self._through = ""
        self._pinned: str | None = None
        self._all_new_seen = False
        self._over = False

    def run(self) -> CopyReport:
        """Copy what is missing.

        Raises:
            StoreUnavailableError: a place does not answer; what was copied counts, run again.
            FolderBusyError: another process copies between these places.
        """
        begun, began = time.monotonic(), utc_now()
        held = lock_folder(self._copier.folder, f"{self._copy.url} is being filled by another process; try later")
        try:
            self._before = read_state(self._root, self._copier.folder.name)
            if self._before is not None:
                self._sweep, self._through = dict(self._before.sweep), self._before.through
                self._done.newest_hour = self._before.newest_hour
            self._pending.confirm(self._copy.store)
            try:
                for outcome in in_order(self._names(), self._copy_one, WORKERS):
                    self._count(outcome)
                    if self._pending.confirmed >= BATCH:
                        self._state_batch(began)
                self._state_batch(began)
                if self._all_new_seen:
                    self._through = max(self._through, began.date().isoformat())
                if not self._is_over():
                    self._copy_objects()
                    self._copy_catalog()
                self._done.complete = not self._over
            finally:
                with suppress(StoreUnavailableError):  # what ended the run is told, not this
                    self._save(began)
        finally:
            os.close(held)
        self._done.seconds = time.monotonic() - begun
        return self._done

    # What is missing ------------------------------------------------------------------------------------------------

    def _names(self) -> Iterator[tuple[ArchiveName, Kind]]:
        """Archives to copy, until the time is over."""
        for name, kind in self._missing_names():
            if self._is_over():
                return
            yield name, kind
        self._all_new_seen = True

    def _missing_names(self) -> Iterator[tuple[ArchiveName, Kind]]:
        before, start = self._before, self._start()
        asked: set[ArchiveName] = set()
        for failed in before.failed if before is not None else ():
            with suppress(BadInputError):
                name = ArchiveName.parse(failed.name)
                asked.add(name)
                yield name, "again"
        if before is not None and before.complete_at is not None and start:
            for name in self._late(before.complete_at - LATE_MARGIN):
                is_old = name.hour.date < start and name not in asked
                if is_old and self._copy.store.head(name.receipt_key) is None:
                    asked.add(name)
                    yield name, "late"
        after = f"{RECEIPTS}date={start}" if start else None
        for name in self._receipts(
            here
            for here, there in pairs(
                self._first.store.list(RECEIPTS, start_after=after), self._copy.store.list(RECEIPTS, start_after=after)
            )
            if here is not None and there is None
        ):
            if name not in asked:
                yield name, "new"
        if after is not None:
            for name in self._receipts(self._slice("receipts", self._first.store, RECEIPTS, before=after)):
                if name not in asked:
                    yield name, "swept"

    def _start(self) -> str:
        """The day from which on receipts are compared; empty: from the first."""
        if not self._through:
            return ""
        return (date.fromisoformat(self._through) - MARGIN).isoformat()

    def _receipts(self, infos: Iterable[ObjectInfo]) -> Iterator[ArchiveName]:
        for info in infos:
            with suppress(BadInputError):
                name = ArchiveName.parse(info.key)
                if name.receipt_key == info.key:
                    yield name

    def _slice(self, label: str, store: ObjectStore, prefix: str, before: str | None = None) -> Iterator[ObjectInfo]:
        """Of the next keys with ``prefix``, up to ``before``, those that the second place lacks."""
        position = self._sweep.get(label, "")
        after = position if position.startswith(prefix) else None
        most, seen = (SLICE if self._before is not None else None), 0
        for here, there in pairs(
            store.list(prefix, start_after=after), self._copy.store.list(prefix, start_after=after)
        ):
            if here is None:
                continue
            if before is not None and here.key >= before:
                break
            if seen == most:
                self._sweep[label] = position
                return
            if there is None:
                yield here
            seen, position = seen + 1, here.key
        self._sweep[label] = ""

    def _is_over(self) -> bool:
        self._over = self._over or (self._deadline is not None and time.monotonic() >= self._deadline)
        return self._over

    # Copying --------------------------------------------------------------------------------------------------------

    def _copy_one(self, item: tuple[ArchiveName, Kind]) -> CopyOutcome:
        name, kind = item
        try:
            copied, counts = self._copier.archive(name, self._pending.note)
        except UserError as error:
            if isinstance(error, StoreUnavailableError) and error.transient:
                raise
            return CopyOutcome(name, kind, CopyCounts(), problem=str(error))
        return CopyOutcome(name, kind, counts, copied)

    def _count(self, outcome: CopyOutcome) -> None:
        if outcome.copied is not None:
            self._pending.confirmed_now(outcome.copied)
            self._add(outcome.counts)
            self._done.newest_hour = max(self._done.newest_hour or "", outcome.name.hour.key)
        else:
            self._fail(outcome.name.stem, outcome.problem or "")
            if self._done.failed_count > _KEPT and outcome.kind == "new" and self._pinned is None:
                self._pinned = outcome.name.hour.date
        if outcome.kind == "new":
            self._through = max(self._through, outcome.name.hour.date)
        self._report(outcome)

    def _add(self, counts: CopyCounts) -> None:
        for one in fields(CopyCounts):
            setattr(self._done.counts, one.name, getattr(self._done.counts, one.name) + getattr(counts, one.name))

    def _fail(self, name: str, reason: str) -> None:
        self._done.failed_count += 1
        if len(self._done.failed) < _KEPT:
            self._done.failed.append(FailedCopy(name=name, reason=reason))

    def _copy_objects(self) -> None:
        """What lies beside the archives: audits, checkpoints, device keys, statements, the centre's audit trail."""
        places = [(self._first.store, "archive", prefix) for prefix in (AUDIT, CHECKPOINTS, DEVICE_KEYS, COPIES)]
        places += [(self._root, "store", prefix) for prefix in (AUDIT, DEVICE_KEYS)]
        for store, root, prefix in places:
            missing = self._slice(f"{root}:{prefix}", store, prefix)
            if self._through and prefix in (AUDIT, COPIES):  # new ones, wherever the pass over all of them is
                missing = _chained(self._new_objects(store, f"{prefix}date="), missing)
            for info in missing:
                if prefix == COPIES and not info.key.startswith(f"{COPIES}date="):
                    continue
                if self._is_over():
                    return
                try:
                    self._add(self._copier.object(store, info.key, info.size))
                except UserError as error:
                    if isinstance(error, StoreUnavailableError) and error.transient:
                        raise
                    self._fail(info.key, str(error))

    def _new_objects(self, store: ObjectStore, prefix: str) -> Iterator[ObjectInfo]:
        after = f"{prefix}{self._start()}"
        listed = pairs(store.list(prefix, start_after=after), self._copy.store.list(prefix, start_after=after))
        return (here for here, there in listed if here is not None and there is None)

    def _copy_catalog(self) -> None:
        """The newest catalog and its pointer, once a day."""
        try:
            data = self._root.get(CATALOG_POINTER)
            pointer = CatalogPointer.from_json(data, CATALOG_POINTER)
        except (ObjectNotFoundError, BadInputError):
            return  # none was published, or it must be rebuilt
        there, _ = pointer_state(self._copy.store)
        if there is not None and pointer.created_at - there.created_at < CATALOG_EVERY:
            return
        try:
            self._add(self._copier.object(self._root, pointer.key, pointer.size, pointer.sha256))
        except ObjectNotFoundError:
            return  # deleted meanwhile, as a newer one was published: the next run's
        self._copy.store.put(CATALOG_POINTER, data)

    # What is written down -------------------------------------------------------------------------------------------

    def _state_batch(self, began: datetime) -> None:
        """Name both places of what was copied since the last statement: at the first place, then at the second."""
        entries = self._pending.take()
        if not entries:
            return
        now = utc_now()
        batch_id = f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
        statement = CopyStatement(
            batch_id=batch_id,
            first=self._first.url,
            second=self._copy.url,
            began_at=began,
            finished_at=now,
            archives=tuple(entries),
            writer_version=__version__,
        )
        key, data = copy_statement_key(batch_id), self._signer.seal(statement.payload(), "archive-copy").to_json()
        try:
            self._first.store.put_if_absent(key, data)
        except StoreUnavailableError as error:
            if error.transient:
                raise
            self._done.unwritable = str(error)  # an old NAS that is read-only, which the archive moves away from
        self._copy.store.put_if_absent(key, data)
        self._pending.stated(entries)
        self._done.statements.append(key)

    def _save(self, began: datetime) -> None:
        before, done = self._before, self._done
        state = CopyState(
            first=self._first.url,
            second=self._copy.url,
            through=min(self._through, self._pinned or self._through),
            sweep=self._sweep,
            complete_at=began if done.complete else None if before is None else before.complete_at,
            checked_at=utc_now(),
            newest_hour=done.newest_hour,
            failed=tuple(done.failed),
            failed_count=done.failed_count,
        )
        self._root.put(copy_state_key(self._copier.folder.name), state.to_json())


def read_state(root: ObjectStore, copy_id: str) -> CopyState | None:
    """How far a copy is; None: nothing was copied yet, or that was forgotten.

    Args:
        root: the store root.
        copy_id: see ``copy_id_of``.
    """
    key = copy_state_key(copy_id)
    try:
        return CopyState.from_json(root.get(key), key)
    except (ObjectNotFoundError, BadInputError):
        return None


def _chained(*iterators: Iterator[ObjectInfo]) -> Iterator[ObjectInfo]:
    seen: set[str] = set()
    for iterator in iterators:
        for info in iterator:
            if info.key not in seen:
                seen.add(info.key)
                yield info


class _PendingArchives:
    """Archives that no statement names yet, in a file: a run that is killed leaves them to the next. For threads."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._noted: dict[str, CopiedArchive] = {}
        self._there: set[str] = set()
        try:
            lines = file.read_bytes().splitlines()
        except FileNotFoundError:
            lines = []
        for line in lines:
            with suppress(BadInputError):  # cut short by a kill: its receipt was not sent
                entry = CopiedArchive.from_json(line, str(file))
                self._noted[entry.name] = entry

    def confirm(self, store: ObjectStore) -> None:
        """Find out which of those that an earlier run left are in the second place."""
        for name in list(self._noted):
            if store.head(ArchiveName.parse(name).receipt_key) is not None:
                self._there.add(name)

    def note(self, entry: CopiedArchive) -> None:
        """Its receipt is about to be sent."""
        with self._lock:
            self._noted[entry.name] = entry
            with self._file.open("ab") as file:
                file.write(entry.to_json() + b"\n")
                file.flush()
                os.fsync(file.fileno())

    def confirmed_now(self, entry: CopiedArchive) -> None:
        """It is in the second place."""
        self._there.add(entry.name)

    @property
    def confirmed(self) -> int:
        """How many the next statement names."""
        return len(self._there)

    def take(self) -> list[CopiedArchive]:
        """Those that are in the second place."""
        with self._lock:
            return [self._noted[name] for name in sorted(self._there)]

    def stated(self, entries: list[CopiedArchive]) -> None:
        """A statement names them."""
        with self._lock:
            for entry in entries:
                self._noted.pop(entry.name, None)
                self._there.discard(entry.name)
            write_atomic(self._file, b"".join(entry.to_json() + b"\n" for entry in self._noted.values()))
