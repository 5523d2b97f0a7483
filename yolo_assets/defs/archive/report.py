"""The archives of an hour as people read them in the UI.

The same tables for what a run here archived and for what remote archivers did. Pure; nothing here reads a store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
from rich.filesize import decimal

from yolo_assets.contracts.names import receipts_prefix
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.times import format_time
from yolo_assets.defs.archive.listing_diff import data_version
from yolo_assets.defs.intake.spool_diff import ChangedHour, ClosedHour
from yolo_assets.defs.links import UiLinks
from yolo_assets.defs.metadata import counted, listed, table
from yolo_assets.defs.resources import OURS

if TYPE_CHECKING:
    from yolo_assets.archive.archiving import ArchiveOutcome
    from yolo_assets.archive.listing import HourReceipts

_ARCHIVES = {"camera": str, "result": str, "frames": int, "size": str}
_ELSEWHERE = {**_ARCHIVES, "archiver": str, "devices": str}
"""Columns of an hour that remote archivers had a part in. Each column costs every event some 200 bytes."""
_ARCHIVERS = {"archiver": str, "signing key": str, "cameras": int, "archives": int, "frames": int, "size": str}
_CAMERAS = {"camera": str, "where": str, "frames": int, "bytes": int}


def hour_metadata(
    hour: HourReceipts,
    names: Mapping[str, str],
    links: UiLinks,
    outcomes: Sequence[ArchiveOutcome] = (),
    failed: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Metadata of one hour of ``hourly_archives``.

    Args:
        hour: every receipt of it.
        names: of the archivers, by the id of their key.
        links: to its receipts.
        outcomes: of the run, for the archives that it made or confirmed.
        failed: the reason for each camera-hour that could not be archived.
    """
    receipts = hour.receipts
    ours = {outcome.receipt.archive_key: outcome for outcome in outcomes if outcome.receipt is not None}
    rows = [{"camera": name, "result": f"FAILED: {reason}"} for name, reason in (failed or {}).items()]
    rows += [_row(receipt, names, ours.get(receipt.archive_key)) for receipt in receipts]
    cameras, size = {receipt.camera_id for receipt in receipts}, sum(receipt.archive_size for receipt in receipts)
    frames = sum(receipt.frame_count for receipt in receipts)
    remote = any(_archiver(receipt, names) != OURS for receipt in receipts)
    bad = f"; FAILED: {', '.join(failed)}" if failed else ""
    metadata: dict[str, Any] = {
        "summary": f"{counted(len(cameras), 'camera')}, {counted(frames, 'frame')}, {decimal(size)}{bad}",
        "archives": table(rows, _ELSEWHERE if remote else _ARCHIVES),
        "frames": frames,
        "archive_bytes": size,
        "receipts": links.stored("archive", receipts_prefix(hour.hour)),
    }
    if remote:
        metadata["archivers"] = table(_archivers(receipts, names), _ARCHIVERS)
    until = [
        f"{format_time(item.retention_until)} ({item.retention_mode})" for item in receipts if item.retention_until
    ]
    if until:
        metadata["write-once until"] = min(until)
    if outcomes:
        metadata |= _work(outcomes)
    if hour.untrusted:
        metadata["untrusted"] = listed([f"{refused.key}: {refused.reason}" for refused in hour.untrusted], "none")
    return metadata


def _work(outcomes: Sequence[ArchiveOutcome]) -> dict[str, Any]:
    """What a run here did for an hour; what did not happen is left out."""
    sent, seconds = sum(outcome.bytes for outcome in outcomes), sum(outcome.seconds for outcome in outcomes)
    figures = {
        "parts_resumed": sum(outcome.resumed_parts for outcome in outcomes),
        "retries": sum(outcome.retries for outcome in outcomes),
    }
    told: dict[str, Any] = {"bytes_archived": sent, "seconds": round(seconds, 2)}
    told |= {name: count for name, count in figures.items() if count}
    left = [f"{problem.path}: {problem.reason}" for outcome in outcomes for problem in outcome.left]
    if left:
        told["remaining_in_spool"] = listed(left, "nothing")
    return told


def archives_report(hour: HourReceipts, names: Mapping[str, str], links: UiLinks) -> dg.AssetMaterialization:
    """``hourly_archives`` of an hour that was archived elsewhere."""
    return dg.AssetMaterialization(
        asset_key="hourly_archives",
        partition=hour.hour.partition_key,
        description="Archived by a remote archiver; known through its receipts.",
        metadata=hour_metadata(hour, names, links),
        tags={"dagster/data_version": data_version({hour.hour: hour.version})},
    )


def frames_report(
    hour: HourReceipts, names: Mapping[str, str], spooled: Sequence[ClosedHour]
) -> dg.AssetMaterialization:
    """``raw_frames`` of an hour that remote archivers archived, with what the spool here holds of it."""
    archived: dict[tuple[str, str], list[int]] = {}
    for receipt in hour.receipts:
        sums = archived.setdefault((receipt.camera_id, f"archived by {_archiver(receipt, names)}"), [0, 0])
        sums[0] += receipt.frame_count
        sums[1] += receipt.total_size
    rows = [(camera, where, frames, size) for (camera, where), (frames, size) in archived.items()]
    rows += [(item.camera_id, "spool", item.frames, item.size) for item in spooled]
    version = ChangedHour(hour.hour, tuple(spooled)).data_version if spooled else ""
    return dg.AssetMaterialization(
        asset_key="raw_frames",
        partition=hour.hour.partition_key,
        metadata={
            "cameras": table([dict(zip(_CAMERAS, row, strict=True)) for row in sorted(rows)], _CAMERAS),
            "dagster/row_count": sum(row[2] for row in rows),
            "bytes": sum(row[3] for row in rows),
        },
        tags={"dagster/data_version": f"{hour.version}{version}"},
    )


def _row(receipt: Receipt, names: Mapping[str, str], outcome: ArchiveOutcome | None) -> dict[str, Any]:
    part = f" part {receipt.part}" if receipt.part > 1 else ""
    return {
        "camera": f"{receipt.camera_id}{part}",
        "result": "archived elsewhere or before" if outcome is None else outcome.status,
        "archiver": _archiver(receipt, names),
        "devices": ", ".join(receipt.device_ids),
        "frames": receipt.frame_count,
        "size": decimal(receipt.archive_size),
    }


def _archivers(receipts: Sequence[Receipt], names: Mapping[str, str]) -> list[dict[str, Any]]:
    by_key: dict[str, list[Receipt]] = {}
    for receipt in receipts:
        by_key.setdefault(_key_id(receipt), []).append(receipt)
    return [
        {
            "archiver": _archiver(made[0], names),
            "signing key": key_id,
            "cameras": len({receipt.camera_id for receipt in made}),
            "archives": len(made),
            "frames": sum(receipt.frame_count for receipt in made),
            "size": decimal(sum(receipt.archive_size for receipt in made)),
        }
        for key_id, made in sorted(by_key.items())
    ]


def _key_id(receipt: Receipt) -> str:
    return receipt.signature.key_id if receipt.signature is not None else ""


def _archiver(receipt: Receipt, names: Mapping[str, str]) -> str:
    return names.get(_key_id(receipt), _key_id(receipt))
