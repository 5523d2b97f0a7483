"""The audit log of one device: who changed its model, settings, masks and batches; signed lines, chained by hash.

A line is a DSSE envelope with the JSON of an ``AuditLine``. It holds the SHA-256 of the line before it, so a line
cannot be changed, removed, inserted or moved without a trace; it is signed by the key of the device, so the chain
cannot be recomputed without that key. The end of the chain is anchored by an ``AuditHead``: next to the log, in the
heartbeat, and in the copies in the store, so that lines cut off at the end are noticed. Belongs here: the records.
Writing and checking is ``edge.audit``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from yolo_assets.contracts.base import Record, Time, canonical_json
from yolo_assets.contracts.signing import SignedRecord

GENESIS = "0" * 64
"""What the first line of a log has in place of a hash."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class AuditEntry(Record):
    """What happened: when, at whose request, from what, to what, with what result, and why."""

    model_config = ConfigDict(protected_namespaces=())

    at: Time
    kind: str = Field(description="begin, recovered, model, pin, unpin, lot, mask, settings …")
    who: str = Field(description="the operator or the part of the agent that requested it")
    source: str | None = Field(default=None, description="<name>/<version>, batch or mask before")
    target: str | None = Field(default=None, description="<name>/<version> requested, batch or mask now")
    result: str
    reason: str
    seconds: float | None = Field(default=None, ge=0)
    release: int | None = None
    forced: Literal[True] | None = Field(default=None, description="the model was released although refused")
    unjudged: Literal[True] | None = Field(default=None, description="the model was released although not judged")
    public_key: str | None = Field(default=None, description="PEM, in the first line: the key that signs this log")


class AuditLine(AuditEntry, SignedRecord):
    """One line of a log: an entry with its place in the chain."""

    schema_version: Literal[1] = 1
    device_id: str
    log_id: str = Field(description="a device begins a new log when the old one is lost or damaged")
    sequence: int = Field(ge=1, description="1, 2, 3 … without a gap")
    previous: Sha256 = Field(description="SHA-256 of the line before, its line end not included; zeros in the first")

    def payload(self) -> bytes:
        """The bytes that are signed; what is not known is left out."""
        return canonical_json(self.model_dump(mode="json", exclude={"signature"}, exclude_none=True))


class AuditHead(SignedRecord):
    """Where a log begins and ends, as the device says. A line may be newer than the head, never the other way round."""

    schema_version: Literal[1] = 1
    device_id: str
    log_id: str
    sequence: int = Field(ge=0, description="of the last line; 0: none yet")
    sha256: Sha256 = Field(description="of the last line")
    first_sequence: int = Field(default=1, ge=1, description="the oldest line the device still has")
    shipped: int = Field(default=0, ge=0, description="lines up to this one are in the store")
    at: Time

    def payload(self) -> bytes:
        """The bytes that are signed; what is not known is left out."""
        return canonical_json(self.model_dump(mode="json", exclude={"signature"}, exclude_none=True))
