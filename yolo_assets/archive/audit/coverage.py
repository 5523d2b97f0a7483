"""Records of audits: writes what an audit verified, and counts from all records what is covered.

Belongs here: the records under ``audit/`` and what they add up to. Does not belong here: verifying
(``verification``), and choosing what is due (``audit``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from types import MappingProxyType
from typing import TypeVar

from yolo_assets.archive.archive import Archive, in_order
from yolo_assets.archive.options import VerifyHow
from yolo_assets.contracts.audit import AuditClaim, AuditRecord
from yolo_assets.contracts.dsse import PayloadKind
from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.names import AUDIT, ArchiveName, audit_key, parse_audit_key
from yolo_assets.contracts.signing import Signer, TrustedKeys, is_signed
from yolo_assets.contracts.times import format_time
from yolo_assets.storage.base import ObjectStore, StoreUnavailableError

LOST_DAYS = 90
"""So long an archive without retention is named once nothing of it is left: it may have been removed on purpose."""

D = TypeVar("D", AuditClaim, AuditRecord)


@dataclass
class AuditTimes:
    """When audits last verified an archive.

    Attributes:
        any: in whatever depth, and whatever they found.
        deep: in full, or as deep as could be done when that was asked for.
        full: every byte was read and was as it should be.
        problem: what was wrong the last time; None when nothing was.
    """

    any: datetime | None = None
    deep: datetime | None = None
    full: datetime | None = None
    problem: str | None = None


_NEVER = AuditTimes()


@dataclass
class AuditHistory:
    """What audits recorded.

    Attributes:
        signed: times by stem of the archive, from records with a verified signature.
        unsigned: the same from records without a signature.
        claims: of audits that are under way.
        untrusted: records whose verification failed, a line each.
        good: archives that were as they should be at some time, in signed records, and until when it is a problem if
            nothing is left of one; None: as long as it is asked about.
    """

    signed: dict[str, AuditTimes] = field(default_factory=dict[str, AuditTimes])
    unsigned: dict[str, AuditTimes] = field(default_factory=dict[str, AuditTimes])
    claims: list[AuditClaim] = field(default_factory=list[AuditClaim])
    untrusted: list[str] = field(default_factory=list[str])
    good: dict[str, datetime | None] = field(default_factory=dict[str, datetime | None])

    def add(self, record: AuditRecord) -> None:
        """Count a record; in any order."""
        times_by_name = self.unsigned if record.signature is None else self.signed
        wrong = {name: lines[0] for name, lines in record.problems.items() if lines}
        wrong |= {name: f"it could not be verified: {why}" for name, why in record.unchecked.items()}
        at = record.finished_at
        for name in names_in(record, "head"):
            times = times_by_name.setdefault(name, AuditTimes())
            if times.any is None or at >= times.any:
                times.any, times.problem = at, wrong.get(name)
        for name in names_in(record, "full"):
            times_by_name[name].deep = max(at, times_by_name[name].deep or at)
        if record.signature is not None:
            self.good |= {name: self.good.get(name) for name in (*record.full, *record.head, *record.cold)}
            for name, until in record.kept_until.items():
                self.good[name] = max(until, self.good.get(name) or until)
        for name in record.full:
            times_by_name[name].full = max(at, times_by_name[name].full or at)

    def last_verified(self, name: str, how: VerifyHow, *, unsigned_counts: bool) -> datetime:
        """When an archive was last verified, as deep as ``how``; when its hour ended if it never was."""
        entries = [self.signed.get(name), self.unsigned.get(name) if unsigned_counts else None]
        moments = [times.deep if how == "full" else times.any for times in entries if times is not None]
        return max((at for at in moments if at is not None), default=hour_end(name))

    def lost(self, there: Collection[str], now: datetime) -> dict[str, datetime]:
        """Archives that audits saw and of which nothing is left, and until when that is a problem."""
        gone = {
            name: until or now + timedelta(days=LOST_DAYS) for name, until in self.good.items() if name not in there
        }
        return {name: until for name, until in gone.items() if until > now}

    def problem(self, name: str) -> str | None:
        """What was wrong when an archive was last verified, in signed records."""
        times = self.signed.get(name)
        return times.problem if times is not None else None


def names_in(record: AuditRecord, how: VerifyHow) -> Iterator[str]:
    """The archives that a record says were verified, at least as deep as ``how`` or as could be done."""
    yield from (*record.full, *record.cold, *record.problems, *record.unchecked)
    if how == "head":
        yield from record.head


@dataclass(frozen=True)
class Coverage:
    """How much of the archive was verified within some days: counted from records with a verified signature.

    Attributes:
        days: how many.
        archives: archives with a receipt.
        size: their bytes.
        full: archives of which every byte was read and was as it should be.
        full_size: their bytes.
        head: archives of which receipt, index, size and ETag were as they should be, in full or not.
        unsigned: archives that only unsigned audits verified.
        oldest: the archive that was not verified in full for the longest time.
        oldest_since: when it last was, or the end of its hour when it never had one.
        oldest_never: it never had one.
        wrong: what was wrong when an archive was last verified, by stem.
        distrusted: audit records whose verification failed, a line each.
    """

    days: float
    archives: int
    size: int
    full: int
    full_size: int
    head: int
    unsigned: int
    oldest: str | None
    oldest_since: datetime | None
    oldest_never: bool
    wrong: dict[str, str]
    distrusted: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """For people; the first says all when all is well."""
        if not self.archives:
            yield "there is no archive yet"
            return
        yield (
            f"{self.full:,} of {self.archives:,} archives ({self.full_size:,} of {self.size:,} bytes) verified in full "
            f"within the last {self.days:g} days, {self.head:,} by receipt, index, size and ETag or in full"
        )
        if self.oldest is not None and self.oldest_since is not None:
            since = format_time(self.oldest_since)
            never = f"never since its hour ended, {since}" if self.oldest_never else f"last at {since}"
            yield f"longest without being verified in full: {self.oldest}, {never}"
        if self.unsigned:
            yield f"{self.unsigned:,} more by unsigned audits; they do not count"
        for name, problem in sorted(self.wrong.items()):
            yield f"wrong when last verified: {name}: {problem}"
        for line in self.distrusted:
            yield f"untrusted: {line}"


def count(
    sizes: Mapping[str, int],
    history: AuditHistory,
    days: float,
    now: datetime,
    gone: Mapping[str, str] = MappingProxyType({}),
) -> Coverage:
    """Coverage of these archives.

    Args:
        sizes: bytes by stem of every archive there is.
        history: what audits recorded.
        days: of the window that ends now.
        now: the present.
        gone: what the listings show to be missing, a line each, by stem.
    """
    since = now - timedelta(days=days)
    full = full_size = head = unsigned = 0
    oldest: tuple[datetime, bool, str] | None = None
    wrong: dict[str, str] = {}
    for name, size in sizes.items():
        times = history.signed.get(name, _NEVER)
        if (problem := gone.get(name, times.problem)) is not None:
            wrong[name] = problem
        elif times.any is not None and times.any >= since:
            head += 1
            if times.full is not None and times.full >= since:
                full, full_size = full + 1, full_size + size
        elif (unsigned_at := history.unsigned.get(name, _NEVER).any) is not None and unsigned_at >= since:
            unsigned += 1
        last = (times.full or hour_end(name), times.full is None, name)
        oldest = last if oldest is None or last < oldest else oldest
    since_when, never, name = oldest or (None, False, None)
    total, distrusted = sum(sizes.values()), tuple(history.untrusted)
    return Coverage(
        days, len(sizes), total, full, full_size, head, unsigned, name, since_when, never, wrong, distrusted
    )


def hour_end(name: str) -> datetime:
    """The end of the hour that the archive of this stem holds."""
    return ArchiveName.parse(name).hour.end


def read_history(
    archive: Archive,
    names: Iterable[str],
    *,
    how: VerifyHow = "full",
    since: datetime,
    now: datetime,
) -> AuditHistory:
    """What audits recorded about these archives.

    Read from the newest day back: to ``since``, and on until each archive was seen or did not exist yet. So an old
    archive root with a daily audit reads the records of one round, not of all its years.

    Args:
        archive: the archive.
        names: stems of the archives.
        how: how deep an archive must have been verified to be seen.
        since: days from here on are read in any case.
        now: the present; claims that expired by then are forgotten.
    """
    history = AuditHistory()
    unseen = {name: ArchiveName.parse(name).hour.date for name in names}
    ended: set[str] = set()
    listed = [info.key for info in archive.store.list(AUDIT)]
    keys = sorted((key for key in listed if parse_audit_key(key)), reverse=True)
    for day, keys_of_day in groupby(keys, key=lambda key: key.split("/")[1].removeprefix("date=")):
        # An archive cannot have been audited on a day before its hour.
        if day < since.date().isoformat() and not any(hour <= day for hour in unseen.values()):
            break
        for document in in_order(list(keys_of_day), lambda key: _load(archive, key)):
            if isinstance(document, str):
                history.untrusted.append(document)
            elif isinstance(document, AuditRecord):
                history.add(document)
                ended |= {document.audit_id} if document.last else set()
                for name in names_in(document, how):
                    unseen.pop(name, None)
            elif document.expires_at > now:
                history.claims.append(document)
    history.claims = [claim for claim in history.claims if claim.audit_id not in ended]
    return history


def put_document(store: ObjectStore, document: D, signer: Signer | None) -> D:
    """Write a claim or a record, signed if there is a key, and return it as it was written."""
    key = _key(document)
    if signer is None:
        store.put_if_absent(key, document.payload())
        return document
    data = signer.seal(document.payload(), _payload_kind(type(document))).to_json()
    store.put_if_absent(key, data)
    return _document(data, type(document), TrustedKeys.of(signer), key)


def _key(document: AuditClaim | AuditRecord) -> str:
    return audit_key(document.audit_id, document.number if isinstance(document, AuditRecord) else None)


def _payload_kind(kind: type[AuditClaim | AuditRecord]) -> PayloadKind:
    return "archive-audit-claim" if kind is AuditClaim else "archive-audit"


def _document(data: bytes, kind: type[D], trusted: TrustedKeys, key: str) -> D:
    if not is_signed(data, key):
        return kind.from_json(data, key)
    return trusted.open_document(data, _payload_kind(kind), key).record(kind, key)


def _load(archive: Archive, key: str) -> AuditClaim | AuditRecord | str:
    """A claim or a record, its signature checked if it has one; or why it is untrusted."""
    parsed = parse_audit_key(key)
    try:
        data = archive.store.get(key)
        claim = parsed is not None and parsed[1] is None
        trusted = archive.trusted
        document = _document(data, AuditClaim, trusted, key) if claim else _document(data, AuditRecord, trusted, key)
    except UserError as error:
        if isinstance(error, StoreUnavailableError) and error.transient:
            raise
        return str(error)
    return document if _key(document) == key else f"{key} is the record of another audit; it was moved or copied"
