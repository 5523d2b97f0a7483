"""Checks the log on a box: finds what was changed, taken out, put in, moved or cut off.

Who took over the box as root has the key of the device and can write a new history, but not into the store: check
both (``verify_store``), and the two against each other (``findings.compare``).
"""

from __future__ import annotations

from pathlib import Path

from yolo_assets.contracts.device_audit import AuditHead
from yolo_assets.contracts.errors import BadInputError, IntegrityError, SignatureError
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.edge.audit.chain import BEFORE_FIRST, walk
from yolo_assets.edge.audit.files import HEAD, KEY, logs, read_head, read_lines, segments
from yolo_assets.edge.audit.findings import LogReport, check_end, check_succession, document_of, report_of


def verify_box(folder: Path, keys: TrustedKeys | None = None) -> list[LogReport]:
    """Check every log of a box.

    Args:
        folder: ``<state>/audit``.
        keys: whom to believe; None: the key that lies beside the log.

    Raises:
        BadInputError: there is no audit log.
        OSError: it cannot be read.
    """
    if not folder.is_dir() or not (logs(folder) or (folder / HEAD).exists()):
        raise BadInputError(f"there is no audit log in {folder}; give the state folder of an agent that has run")
    head, trouble = None, ""
    try:
        keys = keys or TrustedKeys.load([folder / f"{KEY}.pub"])
        head = read_head(folder, keys)
    except (IntegrityError, BadInputError, SignatureError) as error:
        trouble = f"the head of the log is not to be believed: {error}"
    reports = [_local_log(folder, log_id, keys, head) for log_id in logs(folder)]
    if head is not None and head.log_id not in logs(folder):
        reports.append(LogReport(head.device_id, head.log_id, "box", findings=["the log that the head names is gone"]))
    if trouble:
        (reports or [LogReport("?", "?", "box")])[-1].findings.insert(0, trouble)
    check_succession(reports, {r.log_id: _first_line(folder / r.log_id) for r in reports})
    return reports


def _local_log(folder: Path, log_id: str, keys: TrustedKeys | None, head: AuditHead | None) -> LogReport:
    lines = list(read_lines(folder / log_id))
    torn = [line for line, whole in lines if not whole]
    whole = [line for line, is_whole in lines if is_whole]
    files = segments(folder / log_id)
    current = head if head is not None and head.log_id == log_id else None
    device = current.device_id if current else _device_of(whole)
    pruned = bool(files) and files[0][0] > 1
    done = walk(whole, keys, device_id=device, log_id=log_id, after=None if pruned else BEFORE_FIRST)
    report = report_of(done, device, log_id, "box")
    if torn:
        report.notes.append("a line is being written, or was when the power went; it does not count")
    if pruned:
        report.notes.append(f"lines before {files[0][0]} are in the store only")
    if current is not None:
        if done.first is not None and done.first > current.first_sequence:
            report.findings.append(f"lines {current.first_sequence} to {done.first - 1} are gone from the beginning")
        check_end(report, current.sequence, current.sha256, "its head")
    return report


def _first_line(folder: Path) -> bytes | None:
    return next((line for line, whole in read_lines(folder) if whole), None) if folder.is_dir() else None


def _device_of(lines: list[bytes]) -> str:
    return str((document_of(lines[0] if lines else None) or {}).get("device_id", "?"))
