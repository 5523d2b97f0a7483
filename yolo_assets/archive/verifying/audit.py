"""One rotating audit: the part of the archives that is due is verified, what was seen is recorded, coverage counted.

Made for a daily timer and for several machines: what is due follows from what earlier audits recorded, and an audit
claims its part before it begins. Killed, it has recorded all but its last minutes. Belongs here: the course of one
audit. Choosing is ``choice``, looking ``verify``, records and coverage ``records``.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

from yolo_assets import __version__
from yolo_assets.archive.archiving.options import VerifyHow
from yolo_assets.archive.verifying.census import Census, take_census
from yolo_assets.archive.verifying.choice import Candidate, choose
from yolo_assets.archive.verifying.records import Coverage, History, count, put_document, read_history
from yolo_assets.archive.verifying.verify import VerifyReport, verify_archives
from yolo_assets.contracts.audit import AuditClaim, AuditRecord
from yolo_assets.contracts.names import ArchiveName, audit_key
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import utc_now
from yolo_assets.storage.base import ObjectStore, StoreUnavailableError

CLAIM_HOURS = 12
"""How long what an audit claimed is left to it when it does not end: it was killed."""
RECORD_SECONDS = 900
"""How often a long audit records what it has seen so far."""
_OVERHEAD = 64 << 10
"""What looking at an archive costs beside its bytes, in bytes: its receipt and its index."""


@dataclass(frozen=True)
class AuditReport:
    """What one audit did.

    Attributes:
        audit_id: names its records.
        records: their keys.
        chosen: archives that were due.
        full: verified in full and good.
        head: verified by receipt, index, size and ETag and good.
        cold: of these, archives in a tier that cannot be read, where a full look was asked for.
        bytes_read: of archives.
        problems: what differs, by stem: of what was looked at, and of what the listings show to be gone.
        unchecked: why an archive could not be looked at, by stem.
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
        """Whether nothing differs, and all that was due was looked at."""
        return not (self.problems or self.unchecked or self.stopped)


def audit(
    archive: ObjectStore,
    trusted: TrustedKeys,
    signer: Signer | None,
    share: Fraction,
    how: VerifyHow = "head",
    now: datetime | None = None,
    *,
    begin: Callable[[int], None] = lambda _: None,
    report: Callable[[VerifyReport], None] = lambda _: None,
) -> AuditReport:
    """Verify the part of the archives that is due, and record it under ``audit/``.

    After as many calls as shares make a whole, every archive that was there at the first was looked at. An archive
    that differed at its last look is looked at again by every call. Archives whose object, index or receipt is gone
    are found by every call, whatever is due; also one of which nothing is left, if an audit saw it before.

    Args:
        archive: the archive root.
        trusted: keys that may have signed receipts and records.
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
    history = read_history(archive, census.sizes, trusted, how=how, since=since, now=started)
    lost = history.lost(census.sizes, started)
    census = census.with_lost(_lines(lost))
    due = _due(census, history, share, how, unsigned_counts=signer is None)
    audit_id = f"{started:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"
    # Written before hours of reading, it also shows that the records can be written.
    expires = started + timedelta(hours=CLAIM_HOURS)
    claim = AuditClaim(audit_id=audit_id, started_at=started, expires_at=expires, names=tuple(one.name for one in due))
    put_document(archive, claim, signer)
    log = _Log(archive, signer, audit_id, str(share), census, lost, now)
    begin(len(due))
    stopped: str | None = None
    try:
        for found in verify_archives(archive, [ArchiveName.parse(one.name) for one in due], trusted, how):
            log.add(found)
            report(found)
    except StoreUnavailableError as error:
        stopped = str(error)
    except BaseException:
        with suppress(StoreUnavailableError):  # what ended us is to be told, not this
            log.write(last=True, stopped="it was interrupted")
        raise
    log.write(last=True, stopped=stopped)
    for record in log.records:
        history.add(record)
    covered = count(census.sizes, history, days, now or utc_now(), census.gone)
    return _report(audit_id, covered, len(due), log.records, stopped, census)


def coverage(archive: ObjectStore, trusted: TrustedKeys, days: float = 30, now: datetime | None = None) -> Coverage:
    """How much of the archive audits looked at within some days, counted from their records; nothing is verified."""
    moment = now or utc_now()
    census = take_census(archive, now=now)
    history = read_history(archive, census.sizes, trusted, since=moment - timedelta(days=days), now=moment)
    census = census.with_lost(_lines(history.lost(census.sizes, moment)))
    return count(census.sizes, history, days, moment, census.gone)


def _lines(lost: Iterable[str]) -> dict[str, str]:
    return {name: f"nothing of {name} is in the store; an earlier audit saw it" for name in lost}


def _due(
    census: Census, history: History, share: Fraction, how: VerifyHow, *, unsigned_counts: bool
) -> list[Candidate]:
    taken = (name for claim in history.claims if claim.signature or unsigned_counts for name in claim.names)
    candidates = [
        Candidate(
            name,
            size + _OVERHEAD if how == "full" else 1,
            history.last_look(name, how, unsigned_counts=unsigned_counts),
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


class _Log:
    """What an audit has seen and not yet recorded, and the records it wrote."""

    def __init__(
        self,
        archive: ObjectStore,
        signer: Signer | None,
        audit_id: str,
        share: str,
        census: Census,
        lost: Mapping[str, datetime],
        now: datetime | None,
    ) -> None:
        self.records: list[AuditRecord] = []
        self._archive, self._signer, self._now = archive, signer, now
        self._audit_id, self._share, self._census, self._lost = audit_id, share, census, lost
        self._begin()

    def _begin(self) -> None:
        self._seen: list[VerifyReport] = []
        self._started_at = self._now or utc_now()
        self._started = time.monotonic()

    def add(self, found: VerifyReport) -> None:
        self._seen.append(found)
        if time.monotonic() - self._started > RECORD_SECONDS:
            self.write(last=False)

    def write(self, *, last: bool, stopped: str | None = None) -> None:
        good = [found for found in self._seen if found.ok]
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
            full=tuple(found.name for found in good if found.how == "full"),
            head=tuple(found.name for found in good if found.how == "head" and not found.cold),
            cold=tuple(found.name for found in good if found.cold),
            problems={found.name: tuple(found.problems) for found in self._seen if found.problems},
            unchecked={found.name: found.unchecked for found in self._seen if found.unchecked and not found.problems},
            kept_until={found.name: found.kept_until for found in good if found.kept_until} | dict(self._lost),
            bytes_read=sum(found.bytes_read for found in self._seen),
            writer_version=__version__,
        )
        self.records.append(put_document(self._archive, record, self._signer))
        self._begin()
