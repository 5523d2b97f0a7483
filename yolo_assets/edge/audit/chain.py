"""The chain itself: how a line is made, and how a sequence of lines is verified. No files, no store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from yolo_assets.contracts.base import canonical_json, is_json_object
from yolo_assets.contracts.device_audit import GENESIS, AuditLine
from yolo_assets.contracts.errors import BadInputError, SignatureError
from yolo_assets.contracts.signing import Signer, TrustedKeys, unverified_content


def digest(line: bytes) -> str:
    """SHA-256 of a line without its line end, hexadecimal."""
    return hashlib.sha256(line).hexdigest()


def signed_line(line: AuditLine, signer: Signer) -> bytes:
    """The bytes of a line in the log, without a line end: a DSSE envelope."""
    return signer.seal(line.payload(), "device-audit-line").to_json()


@dataclass(frozen=True)
class ChainLink:
    """A line that was read, by its place in the chain. ``sequence`` 0 with ``GENESIS`` is before the first."""

    sequence: int
    sha256: str


BEFORE_FIRST = ChainLink(0, GENESIS)


@dataclass
class ChainCheck:
    """What a run of lines showed.

    Attributes:
        lines: how many were read.
        first: number of the first; None when there was none.
        last: the last; None when there was none, or it could not be read.
        digests: SHA-256 by line number.
        findings: what is wrong, one sentence each; empty: nothing is.
    """

    lines: int = 0
    first: int | None = None
    last: ChainLink | None = None
    digests: dict[int, str] = field(default_factory=dict[int, str])
    findings: list[str] = field(default_factory=list[str])


def check_chain(
    lines: Iterable[bytes],
    keys: TrustedKeys | None,
    *,
    device_id: str,
    log_id: str,
    after: ChainLink | None = BEFORE_FIRST,
) -> ChainCheck:
    """Verify a run of lines: form, signature, numbers, hashes.

    Args:
        lines: in their order, without line ends.
        keys: whose signatures to trust; None leaves signatures unverified.
        device_id: whose log it is.
        log_id: which log.
        after: what the first line must follow; None: anything, the older lines are not here.
    """
    check = ChainCheck()
    before, sound = after, True
    for raw in lines:
        check.lines += 1
        document = _parse(raw)
        if document is None:
            expected = f"where line {before.sequence + 1} should be" if before else f"line {check.lines} of those read"
            check.findings.append(f"{expected}: not an audit line; it was changed or damaged")
            before, sound = (ChainLink(before.sequence + 1, digest(raw)) if before else None), False
            continue
        number = document["sequence"]
        check.first = number if check.first is None else check.first
        wrong = list(_own_faults(raw, document, keys, device_id, log_id))
        check.findings += [f"line {number} {fault}" for fault in wrong]
        if before is not None:
            check.findings += _order_faults(before, number, document["previous"], sound=sound and not wrong)
        before, sound = ChainLink(number, digest(raw)), not wrong
        check.digests.setdefault(number, before.sha256)
    check.last = before if check.lines else None
    return check


def _parse(raw: bytes) -> dict[str, Any] | None:
    """What a line says, whoever signed it, when it has what a chain needs."""
    try:
        document = orjson.loads(unverified_content(raw, "a line").payload)
    except (BadInputError, SignatureError, orjson.JSONDecodeError):
        return None
    if not is_json_object(document) or not isinstance(document.get("previous"), str):
        return None
    number = document.get("sequence")
    return document if type(number) is int and number > 0 else None


def _own_faults(
    raw: bytes, document: dict[str, Any], keys: TrustedKeys | None, device_id: str, log_id: str
) -> Iterator[str]:
    """What is wrong with a line by itself."""
    if (document.get("device_id"), document.get("log_id")) != (device_id, log_id):
        yield f"belongs to another log ({document.get('device_id')}, {document.get('log_id')})"
    if canonical_json(orjson.loads(raw)) != raw:
        yield "was changed: it is not written as the agent writes"
    if keys is not None:
        try:
            keys.open_document(raw, "device-audit-line", "it")
        except SignatureError as error:
            yield f"was changed: {error}"


def _order_faults(before: ChainLink, number: int, previous: str, *, sound: bool) -> Iterator[str]:
    """What is wrong between a line and the one before it; ``sound``: neither has a fault of its own."""
    expected = before.sequence + 1
    if number > expected:
        missing = f"line {expected} is" if number == expected + 1 else f"lines {expected} to {number - 1} are"
        yield f"{missing} missing before line {number}"
    elif number < expected:
        yield f"line {number} comes after line {before.sequence}: lines were moved or inserted"
    elif previous != before.sha256 and sound:
        yield f"line {number} does not follow from line {before.sequence}: that one replaced another"
