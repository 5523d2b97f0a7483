"""Checks the copies of a device's logs in the store, and that none is shorter than the device last said."""

from __future__ import annotations

from itertools import groupby

from yolo_assets.contracts.device_audit import AuditHead
from yolo_assets.contracts.errors import BadInputError, SignatureError
from yolo_assets.contracts.fleet import Heartbeat
from yolo_assets.contracts.names import device_audit_prefix, fleet_key, parse_device_audit_key
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.edge.audit.chain import walk
from yolo_assets.edge.audit.findings import LogReport, check_end, check_succession, key_of, report_of
from yolo_assets.storage.base import ObjectNotFoundError, ObjectStore


def verify_store(store: ObjectStore, device_id: str, keys: TrustedKeys | None = None) -> list[LogReport]:
    """Check the copies of a device's logs, and that none is shorter than the device last said.

    Args:
        store: the store root.
        device_id: the device.
        keys: whom to believe; None: the key that each log begins with.

    Raises:
        BadInputError: the store holds no audit log of this device.
        StoreUnavailableError: the store does not answer.
    """
    found = [parsed for info in store.list(device_audit_prefix(device_id)) if (parsed := _parse(info.key))]
    head, remark = _heartbeat_head(store, device_id)
    if not found and head is None:
        raise BadInputError(
            f"{store.url} holds no audit log of {device_id}; name the device as its configuration does, or let it run"
        )
    reports: list[LogReport] = []
    begins: dict[str, bytes | None] = {}
    for log_id, group in groupby(sorted(found), key=lambda one: one[0]):
        report, begins[log_id] = _stored_log(store, device_id, log_id, [(f, t, k) for _, f, t, k in group], keys)
        reports.append(report)
    _check_heartbeat(reports, device_id, head, remark, begins, keys)
    check_succession(reports, begins)
    return reports


def _stored_log(
    store: ObjectStore, device_id: str, log_id: str, parts: list[tuple[int, int, str]], keys: TrustedKeys | None
) -> tuple[LogReport, bytes | None]:
    """Objects may overlap, where a crash came between sending and noting it; then they must agree."""
    lines: list[bytes] = []
    faults: list[str] = []
    for first, last, key in parts:
        try:
            data = store.get(key)
        except ObjectNotFoundError:
            faults.append(f"lines {first} to {last} were taken out of the store while they were read")
            continue
        *mine, rest = data.split(b"\n")
        if rest or len(mine) != last - first + 1:
            faults.append(
                f"{key} should hold {last - first + 1} lines and holds {len(mine)}{' and a piece' * bool(rest)}"
            )
        repeated = max(0, min(len(mine), len(lines) + 1 - first)) if first <= len(lines) else 0
        if repeated and lines[first - 1 : first - 1 + repeated] != mine[:repeated]:
            faults.append(f"{key} tells lines {first} to {first + repeated - 1} differently from an older object")
        lines += mine[repeated:]
    begin = lines[0] if lines else None
    if keys is None:
        keys = key_of(begin)
        if keys is None:
            faults.append("it does not begin with the key that signs it; give that with --key")
    report = report_of(walk(lines, keys, device_id=device_id, log_id=log_id), device_id, log_id, "store")
    report.findings = faults + report.findings
    return report, begin


def _heartbeat_head(store: ObjectStore, device_id: str) -> tuple[AuditHead | None, str]:
    try:
        beat = Heartbeat.from_json(store.get(fleet_key(device_id)), fleet_key(device_id))
    except ObjectNotFoundError:
        return None, "the device has no heartbeat in the store, so lines cut off at the end would not be missed"
    except BadInputError as error:
        return None, f"the heartbeat cannot be read: {error}"
    if beat.audit is None:
        return None, "the heartbeat says nothing about the audit log"
    return beat.audit, ""


def _check_heartbeat(
    reports: list[LogReport],
    device_id: str,
    head: AuditHead | None,
    remark: str,
    begins: dict[str, bytes | None],
    keys: TrustedKeys | None,
) -> None:
    if head is None:
        reports[-1].notes.append(remark)
        return
    mine = next((report for report in reports if report.log_id == head.log_id), None)
    if mine is None:
        mine = LogReport(device_id, head.log_id, "store")
        mine.notes.append("nothing of the log that the device writes now was shipped yet")
        reports.append(mine)
    believed = keys or key_of(begins.get(head.log_id))
    if believed is not None:
        try:
            believed.verify_document(head.model_dump(mode="json", exclude_none=True), "the head in the heartbeat")
        except SignatureError as error:
            mine.findings.append(str(error))
            return
    last = mine.last or 0
    if last < head.shipped:
        mine.findings.append(f"lines {last + 1} to {head.shipped} were shipped and are gone, as the heartbeat shows")
    elif last < head.sequence:
        mine.notes.append(f"lines {last + 1} to {head.sequence} are on the box and not shipped yet")
    elif head.sequence:
        check_end(mine, head.sequence, head.sha256, "the heartbeat")


def _parse(key: str) -> tuple[str, int, int, str] | None:
    parsed = parse_device_audit_key(key)
    return (parsed[1], parsed[2], parsed[3], key) if parsed else None
