"""One rotating audit: verifies the archives that are due, records the results and counts the coverage.

Made for a daily timer and for several machines: what is due follows from what earlier audits recorded, and an audit
reserves its archives before it begins. When it is killed, all but its last minutes are recorded. The archives form a
queue. An audit takes at least its share of the bytes, or all there are, from the front, and puts what it took at the
end. After as many audits as shares make a whole (30 audits of 1/30) each archive has been verified, however many
machines ran them and on whatever days; archives that arrive meanwhile join the end. Does not belong here: verifying one
archive (``verification``), records and coverage (``coverage``).
"""

from __future__ import annotations

import hashlib
import math
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

from yolo_assets import __version__
from yolo_assets.archive.archive import Archive
from yolo_assets.archive.audit.census import Census, take_census
from yolo_assets.archive.audit.coverage import AuditHistory, Coverage, count, put_document, read_history
from yolo_assets.archive.audit.verification import VerifyReport, verify_archives
from yolo_assets.archive.options import VerifyHow
from yolo_assets.contracts.audit import AuditClaim, AuditRecord
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import ArchiveName, audit_key
from yolo_assets.contracts.signing import Signer
from yolo_assets.contracts.times import utc_now
from yolo_assets.storage.base import ObjectStore, StoreUnavailableError

CLAIM_HOURS = 12
"""How long what an audit claimed is left to it when it does not end: it was killed."""
RECORD_SECONDS = 900
"""How often a long audit records what it has seen so far."""
_OVERHEAD = 64 << 10
"""What verifying an archive costs in addition to its bytes, in bytes: its receipt and its index."""


@dataclass(frozen=True)
class AuditCandidate:
    """An archive that may be chosen.

    Attributes:
        name: its stem.
        weight: what verifying it costs, at least 1: bytes in full, 1 otherwise.
        verified_at: when it was last verified, as deep as is asked now; when its hour ended if it never was.
        damaged: something differed when it was last verified.
    """

    name: str
    weight: int
    verified_at: datetime
    damaged: bool = False


def parse_share(text: str) -> Fraction:
    """``1/30`` or ``0.05``.

    Raises:
        BadInputError: not more than 0 and at most 1.
    """
    try:
        share = Fraction(text)
    except (ValueError, ZeroDivisionError):
        share = Fraction(0)
    if not 0 < share <= 1:
        raise BadInputError(f"{text!r} is not a share of the archives; write it like 1/30")
    return share


def choose(candidates: Sequence[AuditCandidate], share: Fraction, taken: Iterable[str] = ()) -> list[AuditCandidate]:
    """The archives to verify now, first those that are known to be damaged.

    A damaged one is verified again by every call, in addition to the share, so that an alarm lasts as long as the
    damage; of many damaged ones as many as weigh a share.

    Args:
        candidates: every archive.
        share: more than 0, at most 1.
        taken: names that another audit is verifying just now.

    Returns:
        Longest ago first. What is not known to be damaged weighs at least ``share`` of all unless nothing is left, and
        at most one archive more.
    """
    busy = frozenset(taken)
    budget = share * sum(candidate.weight for candidate in candidates)
    free = sorted((candidate for candidate in candidates if candidate.name not in busy), key=_order)
    return [
        *_until(budget, (candidate for candidate in free if candidate.damaged)),
        *_until(budget, (candidate for candidate in free if not candidate.damaged)),
    ]


def _until(budget: Fraction, queue: Iterable[AuditCandidate]) -> list[AuditCandidate]:
    chosen: list[AuditCandidate] = []
    weight = 0
    for candidate in queue:
        if weight >= budget:
            break
        chosen.append(candidate)
        weight += candidate.weight
    return chosen


def _order(candidate: AuditCandidate) -> tuple[datetime, bytes]:
    # Archives of one hour end together: a hash mixes the cameras, so that a call cut short has seen some of each.
    return candidate.verified_at, hashlib.blake2b(candidate.name.encode(), digest_size=8).digest()


@dataclass(frozen=True)
class AuditReport:
    """What one audit did.

    Attributes:
        audit_id: names its records.
        records: their keys.
        chosen: archives that were due.
        full: verified in full and good.
        head: verified by receipt, index, size and ETag and good.
        cold: of these, archives in a tier that cannot be read, where verification in full was asked for.
        bytes_read: of archives.
        problems: what differs, by stem: of what was verified, and of what the listings show to be gone.
        unchecked: why an archive could not be verified, by stem.
        stopped: why the audit ended early; None when it did not.
        unfinished: archives without a receipt: on their way, or left by a crash.
        coverage: counted from the records, these included.
    """

    audit_id: str
    coverage: Coverage
    records: tuple[str, ...]
    chosen: int
    full: int
    head: int
    cold: int
    bytes_read: int
    problems: dict[str, tuple[str, ...]]
    unchecked: dict[str, str]
    stopped: str | None
    unfinished: int

    @property
    def ok(self) -> bool:
        """Whether nothing differs, and all that was due was verified."""
        return not (self.problems or self.unchecked or self.stopped)


def audit(
    archive: Archive,
    signer: Signer | None,
    share: Fraction,
    how: VerifyHow = "head",
    now: datetime | None = None,
    *,
    begin: Callable[[int], None] = lambda _: None,
    report: Callable[[VerifyReport], None] = lambda _: None,
) -> AuditReport:
    """Verify the part of the archives that is due, and record it under ``audit/``.

    After as many calls as shares make a whole, every archive that was there at the first was verified. An archive
    that differed when it was last verified is verified again by every call. Archives whose object, index or receipt is
    gone are found by every call, whatever is due; also one of which nothing is left, if an audit saw it before.

    Args:
        archive: the archive.
        signer: signs the records; None leaves them unsigned, and they do not count as covered.
        share: of the bytes for ``full``, of the number of archives for ``head``; more than 0, at most 1.
        how: ``head`` or ``full``.
        now: the present; for tests.
        begin: called once with how many archives are due.
        report: called after each archive.

    Raises:
        StoreUnavailableError: the store does not answer, or does not let us write below ``audit/``; nothing was
            verified that is not recorded.
    """
    started = now or utc_now()
    days = math.ceil(1 / share)
    census = take_census(archive, now=now)
    since = started - timedelta(days=days)
    history = read_history(archive, census.sizes, how=how, since=since, now=started)
    lost = history.lost(census.sizes, started)
    census = census.with_lost(_lines(lost))
    due = _due(census, history, share, how, unsigned_counts=signer is None)
    audit_id = f"{started:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"
    # Written before hours of reading, it also shows that the records can be written.
    expires = started + timedelta(hours=CLAIM_HOURS)
    names = tuple(candidate.name for candidate in due)
    claim = AuditClaim(audit_id=audit_id, started_at=started, expires_at=expires, names=names)
    put_document(archive.store, claim, signer)
    log = _RecordWriter(archive.store, signer, audit_id, str(share), census, lost, now)
    begin(len(due))
    stopped: str | None = None
    try:
        for result in verify_archives(archive, map(ArchiveName.parse, names), how):
            log.add(result)
            report(result)
    except StoreUnavailableError as error:
        stopped = str(error)
    except BaseException:
        with suppress(StoreUnavailableError):  # what ended the audit is reported, not this
            log.write(last=True, stopped="it was interrupted")
        raise
    log.write(last=True, stopped=stopped)
    for record in log.records:
        history.add(record)
    covered = count(census.sizes, history, days, now or utc_now(), census.gone)
    return _report(audit_id, covered, len(due), log.records, stopped, census)


def coverage(archive: Archive, days: float = 30, now: datetime | None = None) -> Coverage:
    """How much of the archive audits verified within some days, counted from their records; nothing is verified."""
    moment = now or utc_now()
    census = take_census(archive, now=now)
    history = read_history(archive, census.sizes, since=moment - timedelta(days=days), now=moment)
    census = census.with_lost(_lines(history.lost(census.sizes, moment)))
    return count(census.sizes, history, days, moment, census.gone)


def _lines(lost: Iterable[str]) -> dict[str, str]:
    return {name: f"nothing of {name} is in the store; an earlier audit saw it" for name in lost}


def _due(
    census: Census, history: AuditHistory, share: Fraction, how: VerifyHow, *, unsigned_counts: bool
) -> list[AuditCandidate]:
    taken = (name for claim in history.claims if claim.signature or unsigned_counts for name in claim.names)
    candidates = [
        AuditCandidate(
            name,
            size + _OVERHEAD if how == "full" else 1,
            history.last_verified(name, how, unsigned_counts=unsigned_counts),
            name in census.gone or history.problem(name) is not None,
        )
        for name, size in census.sizes.items()
    ]
    return choose(candidates, share, taken)


def _report(
    audit_id: str, covered: Coverage, chosen: int, records: list[AuditRecord], stopped: str | None, census: Census
) -> AuditReport:
    problems = {name: lines for record in records for name, lines in record.problems.items()}
    return AuditReport(
        audit_id=audit_id,
        coverage=covered,
        records=tuple(audit_key(audit_id, record.number) for record in records),
        chosen=chosen,
        full=sum(len(record.full) for record in records),
        head=sum(len(record.head) + len(record.cold) for record in records),
        cold=sum(len(record.cold) for record in records),
        bytes_read=sum(record.bytes_read for record in records),
        problems={name: (line,) for name, line in census.gone.items()} | problems,
        unchecked={name: why for record in records for name, why in record.unchecked.items()},
        stopped=stopped,
        unfinished=census.unfinished,
    )


class _RecordWriter:
    """Results that an audit has not recorded yet, and the records it wrote."""

    def __init__(
        self,
        store: ObjectStore,
        signer: Signer | None,
        audit_id: str,
        share: str,
        census: Census,
        lost: Mapping[str, datetime],
        now: datetime | None,
    ) -> None:
        self.records: list[AuditRecord] = []
        self._store, self._signer, self._now = store, signer, now
        self._audit_id, self._share, self._census, self._lost = audit_id, share, census, lost
        self._begin()

    def _begin(self) -> None:
        self._results: list[VerifyReport] = []
        self._started_at = self._now or utc_now()
        self._started = time.monotonic()

    def add(self, result: VerifyReport) -> None:
        self._results.append(result)
        if time.monotonic() - self._started > RECORD_SECONDS:
            self.write(last=False)

    def write(self, *, last: bool, stopped: str | None = None) -> None:
        good = [result for result in self._results if result.ok]
        record = AuditRecord(
            audit_id=self._audit_id,
            number=len(self.records) + 1,
            last=last,
            stopped=stopped,
            share=self._share,
            started_at=self._started_at,
            finished_at=self._now or utc_now(),
            archives=len(self._census.sizes),
            archives_size=self._census.size,
            full=tuple(result.name for result in good if result.how == "full"),
            head=tuple(result.name for result in good if result.how == "head" and not result.cold),
            cold=tuple(result.name for result in good if result.cold),
            problems={result.name: tuple(result.problems) for result in self._results if result.problems},
            unchecked={
                result.name: result.unchecked for result in self._results if result.unchecked and not result.problems
            },
            kept_until={result.name: result.kept_until for result in good if result.kept_until} | dict(self._lost),
            bytes_read=sum(result.bytes_read for result in self._results),
            writer_version=__version__,
        )
        self.records.append(put_document(self._store, record, self._signer))
        self._begin()
