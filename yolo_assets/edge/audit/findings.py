"""What a check of a log says, and what can be said by comparing logs: with each other, with what knows their end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import orjson
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.edge.audit.chain import Walked


@dataclass
class LogReport:
    """What one log showed.

    Attributes:
        place: ``box`` or ``store``.
        lines: how many were read.
        first: number of the first line.
        last: number of the last line.
        sha256: of the last line.
        findings: what is wrong; empty: nothing is.
        notes: what is worth knowing and is not wrong.
        digests: SHA-256 by line number.
    """

    device_id: str
    log_id: str
    place: str
    lines: int = 0
    first: int | None = None
    last: int | None = None
    sha256: str | None = None
    findings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    digests: dict[int, str] = field(default_factory=dict, repr=False)


def report_of(done: Walked, device_id: str, log_id: str, place: str) -> LogReport:
    """What a walk showed, as a report."""
    last = done.last
    return LogReport(
        device_id=device_id,
        log_id=log_id,
        place=place,
        lines=done.lines,
        first=done.first,
        last=last.sequence if last else None,
        sha256=last.sha256 if last else None,
        findings=list(done.findings),
        digests=done.digests,
    )


def check_end(report: LogReport, sequence: int, sha256: str, who: str) -> None:
    """The log must reach what somebody who knows says of its end."""
    last = report.last or 0
    if last < sequence:
        gone = f"line {sequence} is" if sequence == last + 1 else f"lines {last + 1} to {sequence} are"
        report.findings.append(f"{gone} cut off at the end, as {who} shows")
    elif sequence and report.digests.get(sequence, sha256) != sha256:
        report.findings.append(f"line {sequence} is not the one that {who} names")


def check_succession(reports: list[LogReport], begins: dict[str, bytes | None]) -> None:
    """A log that took over from another says from where; that other one must be there, and reach so far.

    Args:
        reports: of one device, oldest first.
        begins: the oldest line that is there of each log; which log it goes on from stands in its very first.
    """
    known = {report.log_id: report for report in reports}
    for number, report in enumerate(reports):
        begin = document_of(begins.get(report.log_id))
        if begin is None or begin.get("kind") != "begin":
            continue
        source = begin.get("source")
        if not isinstance(source, str):
            if number:
                older = reports[number - 1].log_id
                report.notes.append(f"the device began it knowing nothing of log {older}: its state folder was new")
            continue
        words = source.split()
        older = known.get(words[0])
        if older is None:
            report.findings.append(f"it goes on from log {words[0]}, which is gone")
            continue
        report.notes.append(f"it goes on from log {words[0]}, which was damaged")
        if len(words) == 4 and words[2].isdigit():
            check_end(older, int(words[2]), words[3], "the log after it")


def compare(box: Iterable[LogReport], store: Iterable[LogReport]) -> list[str]:
    """Where the box and the store tell different stories about the same lines, a line each."""
    stored = {report.log_id: report for report in store}
    found: list[str] = []
    for report in box:
        other = stored.pop(report.log_id, None)
        if other is None:
            if report.lines:
                found.append(
                    f"log {report.log_id} is on the box and not in the store; it was not shipped yet, or is gone"
                )
            continue
        differing = sorted(n for n, sha in report.digests.items() if other.digests.get(n, sha) != sha)
        if differing:
            found.append(f"log {report.log_id}: line {differing[0]} on the box is not line {differing[0]} in the store")
        if other.last is not None and (report.last or 0) < other.last:
            found.append(
                f"log {report.log_id} ends with line {report.last} on the box and with {other.last} in the store"
            )
    found += [f"log {log_id} is in the store and gone from the box" for log_id in stored]
    return found


def document_of(line: bytes | None) -> dict[str, object] | None:
    """A line as JSON; None when there is none, or it is none."""
    try:
        found = orjson.loads(line) if line is not None else None
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def key_of(begin: bytes | None) -> TrustedKeys | None:
    """The key that a log says it is signed with."""
    pem = (document_of(begin) or {}).get("public_key")
    signature = (document_of(begin) or {}).get("signature")
    if not isinstance(pem, str) or not isinstance(signature, dict):
        return None
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except ValueError:
        return None
    return TrustedKeys({str(signature.get("key_id")): key}) if isinstance(key, Ed25519PublicKey) else None
