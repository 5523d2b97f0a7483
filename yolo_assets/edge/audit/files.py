"""Where the files of a log lie and how they are read back. Does not belong here: appending (``log``)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from yolo_assets.contracts.device_audit import AuditHead, AuditLine
from yolo_assets.contracts.dsse import Envelope
from yolo_assets.contracts.errors import BadInputError, IntegrityError, SignatureError
from yolo_assets.contracts.signing import Signer, TrustedKeys, unverified_content
from yolo_assets.edge.audit.chain import BEFORE_FIRST, ChainLink, check_chain
from yolo_assets.spool.files import write_atomic

HEAD = "head.json"
KEY = "device.key"
_FILE = re.compile(r"(\d{10})\.ndjson")
_LOG = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")


def log_file(folder: Path, first: int) -> Path:
    """The file that begins with line ``first``."""
    return folder / f"{first:010d}.ndjson"


def logs(folder: Path) -> list[str]:
    """The logs below ``<state>/audit``, oldest first."""
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and _LOG.fullmatch(path.name))


def segments(folder: Path) -> list[tuple[int, Path]]:
    """The files of a log with the number of their first line, in order."""
    matches = ((_FILE.fullmatch(path.name), path) for path in folder.iterdir())
    return sorted((int(match[1]), path) for match, path in matches if match)


def read_lines(folder: Path) -> Iterator[tuple[bytes, bool]]:
    """Every line of a log in order, and whether it is whole: the last may lack its line end."""
    for _, path in segments(folder):
        *whole, rest = path.read_bytes().split(b"\n")
        for line in whole:
            yield line, True
        if rest:
            yield rest, False


def read_head(folder: Path, keys: TrustedKeys) -> AuditHead | None:
    """The head; None on a fresh state folder.

    Raises:
        IntegrityError: there are logs and no head.
        BadInputError, SignatureError: it is damaged, or was changed.
        OSError: it cannot be read.
    """
    path = folder / HEAD
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        if logs(folder):
            raise IntegrityError(f"there are logs in {folder}, but {HEAD} is missing") from None
        return None
    return keys.open_document(data, "device-audit-head", str(path)).record(AuditHead, str(path))


def write_head(path: Path, head: Envelope) -> None:
    """Replace the signed head, durably."""
    write_atomic(path, head.to_json())


@dataclass(frozen=True)
class LogTail:
    """The end of a log, found sound.

    Attributes:
        path: the last file.
        size: bytes of its whole lines.
        lines: how many these are.
        torn: bytes behind them.
        last: the last line.
        recent: lines of the last two files.
    """

    path: Path
    size: int
    lines: int
    torn: int
    last: ChainLink
    recent: list[AuditLine]


def check_tail(folder: Path, head: AuditHead, signer: Signer) -> LogTail:
    """Whether a log ends as its head records, or later. Reads the last two files: a start must not take minutes.

    Raises:
        IntegrityError: it does not; the message names the difference.
        OSError: it cannot be read.
    """
    files = segments(folder / head.log_id)
    if not files:
        if head.sequence:
            raise IntegrityError(f"the log {head.log_id} is missing; its last line was {head.sequence}")
        return LogTail(log_file(folder / head.log_id, 1), 0, 0, 0, BEFORE_FIRST, [])
    begin = files[-2:]
    lines: list[bytes] = []
    whole: list[bytes] = []
    rest = b""
    for _, path in begin:
        *whole, rest = path.read_bytes().split(b"\n")
        lines += whole
        if rest and path != files[-1][1]:
            raise IntegrityError(f"{path.name} ends in the middle of a line")
    first = begin[0][0]
    after = BEFORE_FIRST if first == 1 else None
    check = check_chain(lines, TrustedKeys.of(signer), device_id=head.device_id, log_id=head.log_id, after=after)
    if check.findings:
        raise IntegrityError(check.findings[0])
    last = check.last or (BEFORE_FIRST if first == 1 else None)
    if last is None or last.sequence < head.sequence:
        have = last.sequence if last else "nothing"
        raise IntegrityError(f"its last line should be {head.sequence} and is {have}")
    if head.sequence and check.digests.get(head.sequence, head.sha256) != head.sha256:
        raise IntegrityError(f"line {head.sequence} is not the one that the head names")
    return LogTail(
        path=files[-1][1],
        size=sum(len(line) + 1 for line in whole),
        lines=len(whole),
        torn=len(rest),
        last=last,
        recent=[_line(raw) for raw in lines],
    )


def _line(raw: bytes) -> AuditLine:
    label = "a line of the audit log"
    try:
        return unverified_content(raw, label).record(AuditLine, label)
    except (BadInputError, SignatureError) as error:
        raise IntegrityError(str(error)) from None
