"""A second copy of the archive: the statements that name both places, and how far the copy is."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Literal

from pydantic import Field

from yolo_assets.contracts.base import Record, Time
from yolo_assets.contracts.signing import SignedRecord


def copy_id_of(first: str, copy: str) -> str:
    """Names a pair of places: sixteen hexadecimal digits of their URLs."""
    return hashlib.sha256(f"{first.rstrip('/')}\n{copy.rstrip('/')}".encode()).hexdigest()[:16]


class CopiedArchive(Record):
    """One archive as it lies in the second place.

    A receipt names the ETag and the version of the first place. Those of the copy stand here: with them it is seen
    without reading that nothing was written over it.
    """

    name: str = Field(description="stem of the archive")
    receipt_sha256: str = Field(description="of the receipt's bytes, alike in both places")
    size: int = Field(ge=0, description="bytes of the archive")
    etag: str = Field(description="of the archive in the second place")
    version_id: str | None = Field(default=None, description="in the second place, where it keeps versions")
    locked: bool = Field(default=False, description="the second place confirmed the retention of the receipt")


class CopyStatement(SignedRecord):
    """``copies/date=…/<id>.json`` in both places: which archives lie in both, once a batch, never changed."""

    schema_version: Literal[1] = 1
    batch_id: str
    first: str = Field(description="URL of the place that was copied")
    second: str = Field(description="URL of the place it was copied to")
    began_at: Time
    finished_at: Time
    archives: tuple[CopiedArchive, ...]
    writer_version: str


class FailedCopy(Record):
    """An archive that could not be copied, and why."""

    name: str
    reason: str


class CopyState(Record):
    """``copies/<id>.json`` in the store root: how far one copy is. Losing it costs listings, nothing else."""

    schema_version: Literal[1] = 1
    first: str
    second: str
    through: str = Field(default="", description="all days before this one were compared and copied, YYYY-MM-DD")
    sweep: dict[str, str] = Field(default_factory=dict, description="where the slow pass over old keys is, by prefix")
    complete_at: Time | None = Field(default=None, description="when the last run began that left nothing to do")
    checked_at: Time
    newest_hour: str | None = Field(default=None, description="newest hour that was copied, YYYYMMDD_HH")
    failed: tuple[FailedCopy, ...] = Field(default=(), description="the first of them")
    failed_count: int = Field(default=0, ge=0)


class CopyLag(Record):
    """How far a copy is behind, by the catalog and its state.

    Attributes:
        archives: archived since the last complete run, or failed.
        bytes: of them.
        oldest: when the oldest of them was archived; None: none waits.
        newest_hour: newest hour that was copied.
        failed: archives that cannot be copied.
    """

    archives: int
    bytes: int
    oldest: Time | None
    newest_hour: str | None
    failed: int

    def age_seconds(self, now: datetime) -> float:
        """For how long the oldest waits; 0: none does."""
        return 0.0 if self.oldest is None else max(0.0, (now - self.oldest).total_seconds())
