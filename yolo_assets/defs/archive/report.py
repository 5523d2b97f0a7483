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
from yolo_assets.defs.metadata import megabytes_per_second, table

if TYPE_CHECKING:
    from yolo_assets.archive.archiving import ArchiveOutcome
    from yolo_assets.archive.listing import HourReceipts

_ARCHIVES = {
    "camera-hour": str,
    "result": str,
    "archiver": str,
    "devices": str,
    "frames": int,
    "size": str,
    "MB/s": float,
    "write-once until": str,
}
_ARCHIVERS = {"archiver": str, "signing key": str, "cameras": int, "archives": int, "frames": int, "size": str}
_CAMERAS = {"camera": str, "where": str, "frames": int, "bytes": int}


def hour_metadata(
    hour: HourReceipts,
    names: Mapping[str, str],
    outcomes: Sequence[ArchiveOutcome] = (),
    failed: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Metadata of one hour of ``hourly_archives``.

    Args:
        hour: every receipt of it.
        names: of the archivers, by the id of their key.
        outcomes: of the run, for the archives that it made or confirmed.
        failed: the reason for each camera-hour that could not be archived.
    """
    receipts = hour.receipts
    ours = {outcome.receipt.archive_key: outcome for outcome in outcomes if outcome.receipt is not None}
    rows = [{"camera-hour": name, "result": f"FAILED: {reason}"} for name, reason in (failed or {}).items()]
    rows += [_row(receipt, names, ours.get(receipt.archive_key)) for receipt in receipts]
    metadata: dict[str, Any] = {
        "archives": table(rows, _ARCHIVES),
        "archivers": table(_archivers(receipts, names), _ARCHIVERS),
        "cameras": len({receipt.camera_id for receipt in receipts}),
        "frames": sum(receipt.frame_count for receipt in receipts),
        "bytes_in": sum(receipt.total_size for receipt in receipts),
        "archive_bytes": sum(receipt.archive_size for receipt in receipts),
        "receipts": dg.MetadataValue.path(receipts_prefix(hour.hour)),
    }
    if outcomes:
        metadata |= _work(outcomes)
    if hour.untrusted:
        told = [f"- {refused.key}: {refused.reason}" for refused in hour.untrusted[:50]]
        metadata["untrusted"] = dg.MetadataValue.md("\n".join(told))
    return metadata


def _work(outcomes: Sequence[ArchiveOutcome]) -> dict[str, Any]:
    """What a run here did for an hour; what did not happen is left out."""
    sent, seconds = sum(outcome.bytes for outcome in outcomes), sum(outcome.seconds for outcome in outcomes)
    counted = {
        "parts_resumed": sum(outcome.resumed_parts for outcome in outcomes),
        "retries": sum(outcome.retries for outcome in outcomes),
    }
    told: dict[str, Any] = {"bytes_archived": sent, "seconds": round(seconds, 3)}
    told |= {name: count for name, count in counted.items() if count}
    left = [f"- {problem.path}: {problem.reason}" for outcome in outcomes for problem in outcome.left]
    if left:
        told["remaining_in_spool"] = dg.MetadataValue.md("\n".join(left[:50]))
    return told


def archives_report(hour: HourReceipts, names: Mapping[str, str]) -> dg.AssetMaterialization:
    """``hourly_archives`` of an hour that was archived elsewhere."""
    return dg.AssetMaterialization(
        asset_key="hourly_archives",
        partition=hour.hour.partition_key,
        description="Archived by a remote archiver; known through its receipts.",
        metadata=hour_metadata(hour, names),
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
    row: dict[str, Any] = {
        "camera-hour": receipt.name,
        "result": "archived elsewhere or before" if outcome is None else outcome.status,
        "archiver": _archiver(receipt, names),
        "devices": ", ".join(receipt.device_ids),
        "frames": receipt.frame_count,
        "size": decimal(receipt.archive_size),
    }
    if receipt.retention_until is not None:
        row["write-once until"] = f"{format_time(receipt.retention_until)} ({receipt.retention_mode})"
    if outcome is not None:
        row["MB/s"] = megabytes_per_second(outcome.bytes, outcome.seconds)
    return row


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
