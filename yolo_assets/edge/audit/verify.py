"""Verifies the logs of a device: finds what was changed, removed, inserted, moved or cut off.

An attacker with root on the device has its key and can write a new history, but not into the store: verify the log on
the device and its copies in the store, and compare the two. Does not belong here: the chain itself (``chain``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import orjson
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from yolo_assets.contracts.base import canonical_json, is_json_object
from yolo_assets.contracts.device_audit import AuditHead, AuditLine
from yolo_assets.contracts.errors import BadInputError, IntegrityError, SignatureError
from yolo_assets.contracts.fleet import Heartbeat
from yolo_assets.contracts.names import device_audit_key, device_audit_prefix, fleet_key, parse_device_audit_key
from yolo_assets.contracts.signing import SignedContent, TrustedKeys, unverified_content
from yolo_assets.contracts.trusted_key import TrustedKey
from yolo_assets.edge.audit.chain import BEFORE_FIRST, ChainCheck, check_chain
from yolo_assets.edge.audit.files import HEAD, KEY, logs, read_head, read_lines, segments
from yolo_assets.storage.base import ObjectNotFoundError, ObjectStore

Place = Literal["box", "store"]
"""Where a log lies, as ``--json`` names it: ``box`` is the device."""


@dataclass
class LogReport:
    """What one log showed.

    Attributes:
        place: ``box`` for the device, or ``store``.
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
    place: Place
    lines: int = 0
    first: int | None = None
    last: int | None = None
    sha256: str | None = None
    findings: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])
    digests: dict[int, str] = field(default_factory=dict[int, str], repr=False)


def verify_device(folder: Path, keys: TrustedKeys | None = None) -> list[LogReport]:
    """Verify every log on a device.

    Args:
        folder: ``<state>/audit``.
        keys: whose signatures to trust; None: the key in the same folder.

    Raises:
        BadInputError: there is no audit log.
        OSError: it cannot be read.
    """
    if not folder.is_dir() or not (logs(folder) or (folder / HEAD).exists()):
        raise BadInputError(f"there is no audit log in {folder}; give the state folder of an agent that has run")
    head, trouble, given = None, "", keys is not None
    try:
        keys = keys or TrustedKeys.load([folder / f"{KEY}.pub"])
        head = read_head(folder, keys)
    except (IntegrityError, BadInputError, SignatureError) as error:
        trouble = f"the head of the log cannot be trusted: {error}"
    reports = [_device_log(folder, log_id, keys, head) for log_id in logs(folder)]
    if head is not None and head.log_id not in logs(folder):
        reports.append(
            LogReport(head.device_id, head.log_id, "box", findings=["the log that the head names is missing"])
        )
    if keys is not None and not given:
        _note_own_key(reports, keys)
    if trouble:
        (reports or [LogReport("?", "?", "box")])[-1].findings.insert(0, trouble)
    _check_succession(reports, {r.log_id: _first_line(folder / r.log_id) for r in reports})
    return reports


@dataclass(frozen=True)
class _StoredSegment:
    """One object with lines of a log; ``data`` is None when it was removed while the log was read."""

    key: str
    first: int
    last: int
    data: bytes | None


@dataclass
class DeviceCopies:
    """The copies of a device's logs in a store, read and not yet verified.

    Attributes:
        device_id: the device.
        segments: of each log, in order.
        head: the end of the log by the device's heartbeat, not verified yet; None when it has none.
        signed_head: the same as the device signed it.
        no_head: why there is none.
    """

    device_id: str
    segments: dict[str, list[_StoredSegment]] = field(default_factory=dict[str, list[_StoredSegment]])
    head: AuditHead | None = None
    signed_head: bytes = b""
    no_head: str = ""

    @classmethod
    def read(cls, store: ObjectStore, device_id: str) -> DeviceCopies:
        """Read everything that a store holds of a device's logs.

        Raises:
            BadInputError: the store holds no audit log of this device.
            StoreUnavailableError: the store does not answer.
        """
        copies = cls(device_id)
        parsed = (parse_device_audit_key(info.key) for info in store.list(device_audit_prefix(device_id)))
        for _, log_id, first, last in sorted(place for place in parsed if place is not None):
            key = device_audit_key(device_id, log_id, first, last)
            try:
                data = store.get(key)
            except ObjectNotFoundError:
                data = None
            copies.segments.setdefault(log_id, []).append(_StoredSegment(key, first, last, data))
        try:
            beat = Heartbeat.from_json(store.get(fleet_key(device_id)), fleet_key(device_id))
            copies.no_head = "the heartbeat holds nothing about the audit log"
            if beat.audit is not None:
                copies.signed_head = canonical_json(
                    beat.audit.model_dump(mode="json", by_alias=True, exclude_none=True)
                )
                label = "the head in the heartbeat"
                copies.head = unverified_content(copies.signed_head, label).record(AuditHead, label)
        except ObjectNotFoundError:
            copies.no_head = (
                "the device has no heartbeat in the store, so lines cut off at the end would not be noticed"
            )
        except (BadInputError, SignatureError) as error:
            copies.no_head = f"the heartbeat cannot be read: {error}"
        if not copies.segments and copies.head is None:
            raise BadInputError(
                f"{store.url} holds no audit log of {device_id}; give the device_id of its configuration; it must "
                "have run before"
            )
        return copies

    def verify(self, keys: TrustedKeys | None = None) -> list[LogReport]:
        """Verify the copies, and that none is shorter than the device last reported.

        Args:
            keys: whose signatures to trust; None: the key that each log begins with.
        """
        reports: list[LogReport] = []
        begins: dict[str, bytes | None] = {}
        for log_id, parts in self.segments.items():
            report, begins[log_id] = self._verify_log(log_id, parts, keys)
            reports.append(report)
        self._check_heartbeat(reports, begins, keys)
        _check_succession(reports, begins)
        return reports

    def lines(self) -> Iterator[AuditLine]:
        """What the lines say, log by log, each once and whoever signed it; ``verify`` says whether they are sound."""
        for parts in self.segments.values():
            told = 0
            for raw in (line for part in parts for line in (part.data or b"").splitlines()):
                content = _content_of(raw)
                try:
                    line = AuditLine.from_json(content.payload, "a line") if content is not None else None
                except BadInputError:
                    continue
                if line is not None and line.sequence > told:
                    told = line.sequence
                    yield line

    def _verify_log(
        self, log_id: str, parts: list[_StoredSegment], keys: TrustedKeys | None
    ) -> tuple[LogReport, bytes | None]:
        """Objects may overlap, where a crash came between sending and noting it; then they must agree."""
        lines: list[bytes] = []
        faults: list[str] = []
        for part in parts:
            first, last, key = part.first, part.last, part.key
            if part.data is None:
                faults.append(f"lines {first} to {last} were removed from the store while they were read")
                continue
            *mine, rest = part.data.split(b"\n")
            if rest or len(mine) != last - first + 1:
                faults.append(
                    f"{key} should hold {last - first + 1} lines and holds {len(mine)}{' and a piece' * bool(rest)}"
                )
            repeated = max(0, min(len(mine), len(lines) + 1 - first)) if first <= len(lines) else 0
            if repeated and lines[first - 1 : first - 1 + repeated] != mine[:repeated]:
                faults.append(f"{key} holds other lines {first} to {first + repeated - 1} than an older object")
            lines += mine[repeated:]
        begin = lines[0] if lines else None
        given = keys is not None
        if keys is None:
            keys = _key_of(begin)
            if keys is None:
                faults.append("it does not begin with the key that signs it; give that with --key")
        check = check_chain(lines, keys, device_id=self.device_id, log_id=log_id)
        report = _report_of(check, self.device_id, log_id, "store")
        report.findings = faults + report.findings
        if keys is not None and not given:
            _note_own_key([report], keys)
        return report, begin

    def _check_heartbeat(
        self, reports: list[LogReport], begins: dict[str, bytes | None], keys: TrustedKeys | None
    ) -> None:
        head = self.head
        if head is None:
            reports[-1].notes.append(self.no_head)
            return
        mine = next((report for report in reports if report.log_id == head.log_id), None)
        if mine is None:
            mine = LogReport(self.device_id, head.log_id, "store")
            mine.notes.append("nothing of the log that the device writes now was shipped yet")
            reports.append(mine)
        trusted = keys or _key_of(begins.get(head.log_id))
        if trusted is not None:
            try:
                trusted.open_document(self.signed_head, "device-audit-head", "the head in the heartbeat")
            except SignatureError as error:
                mine.findings.append(str(error))
                return
        last = mine.last or 0
        if last < head.shipped:
            mine.findings.append(
                f"lines {last + 1} to {head.shipped} were shipped and are missing, as the heartbeat shows"
            )
        elif last < head.sequence:
            mine.notes.append(f"lines {last + 1} to {head.sequence} are on the device and not shipped yet")
        elif head.sequence:
            _check_end(mine, head.sequence, head.sha256, "the heartbeat")


def compare(device: Iterable[LogReport], store: Iterable[LogReport]) -> list[str]:
    """Where the device and the store differ in the same lines, one sentence each."""
    stored = {report.log_id: report for report in store}
    differences: list[str] = []
    for report in device:
        other = stored.pop(report.log_id, None)
        log = f"log {report.log_id}"
        if other is None:
            if report.lines:
                differences.append(
                    f"{log} is on the device and not in the store; it was not shipped yet, or was deleted"
                )
            continue
        differing = sorted(n for n, sha in report.digests.items() if other.digests.get(n, sha) != sha)
        if differing:
            differences.append(f"{log}: line {differing[0]} on the device is not line {differing[0]} in the store")
        if other.last is not None and (report.last or 0) < other.last:
            differences.append(f"{log} ends with line {report.last} on the device and with {other.last} in the store")
    differences += [f"log {log_id} is in the store and missing on the device" for log_id in stored]
    return differences


def _device_log(folder: Path, log_id: str, keys: TrustedKeys | None, head: AuditHead | None) -> LogReport:
    lines = list(read_lines(folder / log_id))
    torn = [line for line, whole in lines if not whole]
    whole = [line for line, is_whole in lines if is_whole]
    files = segments(folder / log_id)
    current = head if head is not None and head.log_id == log_id else None
    device = current.device_id if current else _device_of(whole)
    pruned = bool(files) and files[0][0] > 1
    check = check_chain(whole, keys, device_id=device, log_id=log_id, after=None if pruned else BEFORE_FIRST)
    report = _report_of(check, device, log_id, "box")
    if torn:
        report.notes.append("a line is being written, or was when the power went; it does not count")
    if pruned:
        report.notes.append(f"lines before {files[0][0]} are in the store only")
    if current is not None:
        if check.first is not None and check.first > current.first_sequence:
            report.findings.append(
                f"lines {current.first_sequence} to {check.first - 1} are missing from the beginning"
            )
        _check_end(report, current.sequence, current.sha256, "its head")
    return report


def _report_of(check: ChainCheck, device_id: str, log_id: str, place: Place) -> LogReport:
    last = check.last
    return LogReport(
        device_id=device_id,
        log_id=log_id,
        place=place,
        lines=check.lines,
        first=check.first,
        last=last.sequence if last else None,
        sha256=last.sha256 if last else None,
        findings=list(check.findings),
        digests=check.digests,
    )


def _note_own_key(reports: Iterable[LogReport], keys: TrustedKeys) -> None:
    """Show the key that lies beside what it signs; it is no proof of who wrote it."""
    for report in reports:
        report.notes.append(
            f"checked with key {', '.join(keys.keys)}, which lies with the log itself; who wrote it is proven only by "
            "a key kept elsewhere (--key)"
        )


def _check_end(report: LogReport, sequence: int, sha256: str, source: str) -> None:
    """The log must reach the end that a source names."""
    last = report.last or 0
    if last < sequence:
        gone = f"line {sequence} is" if sequence == last + 1 else f"lines {last + 1} to {sequence} are"
        report.findings.append(f"{gone} cut off at the end, as {source} shows")
    elif sequence and report.digests.get(sequence, sha256) != sha256:
        report.findings.append(f"line {sequence} is not the one that {source} names")


def _check_succession(reports: list[LogReport], begins: dict[str, bytes | None]) -> None:
    """A log that continues another names it and its end; that other one must be there, and reach so far.

    Args:
        reports: of one device, oldest first.
        begins: the oldest line that is there of each log; which log it continues stands in its very first.
    """
    by_id = {report.log_id: report for report in reports}
    for number, report in enumerate(reports):
        begin = _document_of(begins.get(report.log_id))
        if begin is None or begin.get("kind") != "begin":
            continue
        source = begin.get("source")
        if not isinstance(source, str):
            if number:
                older = reports[number - 1].log_id
                report.notes.append(f"the device began it without knowing log {older}: its state folder was new")
            continue
        words = source.split()
        older = by_id.get(words[0])
        if older is None:
            report.findings.append(f"it continues log {words[0]}, which is missing")
            continue
        report.notes.append(f"it continues log {words[0]}, which was damaged")
        if len(words) == 4 and words[2].isdigit():
            _check_end(older, int(words[2]), words[3], "the log after it")


def _document_of(line: bytes | None) -> dict[str, object] | None:
    """What a line says, whoever signed it; None when there is none, or it is none."""
    content = _content_of(line)
    try:
        document = orjson.loads(content.payload) if content is not None else None
    except orjson.JSONDecodeError:
        return None
    return document if is_json_object(document) else None


def _content_of(line: bytes | None) -> SignedContent | None:
    try:
        return unverified_content(line, "a line") if line is not None else None
    except (BadInputError, SignatureError):
        return None


def _key_of(begin: bytes | None) -> TrustedKeys | None:
    """The key that a log names as its own in its first line."""
    content = _content_of(begin)
    pem = (_document_of(begin) or {}).get("public_key")
    if not isinstance(pem, str) or content is None:
        return None
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except ValueError:
        return None
    if not isinstance(key, Ed25519PublicKey):
        return None
    return TrustedKeys({content.signature.key_id: TrustedKey(key)})


def _first_line(folder: Path) -> bytes | None:
    return next((line for line, whole in read_lines(folder) if whole), None) if folder.is_dir() else None


def _device_of(lines: list[bytes]) -> str:
    return str((_document_of(lines[0] if lines else None) or {}).get("device_id", "?"))
