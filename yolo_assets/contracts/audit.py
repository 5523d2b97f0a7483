"""The records of an audit of the archive: which archives it checked, how, and with what result.

Append-only: an audit reserves the archives it is going to check, then writes one record or several. Coverage is
counted from these records, never from the calendar.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from yolo_assets.contracts.base import Time
from yolo_assets.contracts.signing import SignedRecord


class AuditClaim(SignedRecord):
    """``audit/date=…/verify-<id>.claim.json``: what an audit is checking, so that another machine takes the rest."""

    schema_version: Literal[1] = 1
    audit_id: str
    started_at: Time
    expires_at: Time = Field(description="an audit that has not ended by then was killed")
    names: tuple[str, ...] = Field(description="names of archives, without ending")


class AuditRecord(SignedRecord):
    """``audit/date=…/verify-<id>.<n>.json``: a stretch of one audit. ``<name>`` below is the stem of an archive."""

    schema_version: Literal[1] = 1
    audit_id: str
    number: int = Field(ge=1)
    last: bool = Field(description="the audit ended with this record")
    stopped: str | None = Field(default=None, description="why it ended early")
    share: str = Field(description="of the archives, as a fraction like 1/30")
    started_at: Time
    finished_at: Time
    archives: int = Field(ge=0, description="archives with a receipt when the audit began")
    archives_size: int = Field(ge=0, description="their bytes")
    full: tuple[str, ...] = Field(default=(), description="every byte read, all as it should be")
    head: tuple[str, ...] = Field(default=(), description="receipt, index, size and ETag, all as they should be")
    cold: tuple[str, ...] = Field(
        default=(), description="checked as head although full was requested: in a tier that cannot be read"
    )
    problems: dict[str, tuple[str, ...]] = Field(default_factory=dict, description="what differs, by name")
    unchecked: dict[str, str] = Field(default_factory=dict, description="why it could not be checked, by name")
    kept_until: dict[str, Time] = Field(
        default_factory=dict,
        description="until when an archive that has disappeared is a problem, by name: the end of its retention",
    )
    bytes_read: int = Field(ge=0)
    writer_version: str
