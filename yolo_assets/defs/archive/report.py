"""The archives of an hour as people read them in the UI.

The same tables for what a run here archived and for what remote archivers did. Pure; nothing here reads a store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

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
    "bytes in": int,
    "archive bytes": int,
    "MB/s": float,
    "parts sent": int,
    "parts resumed": int,
    "verified": str,
    "write-once until": str,
    "key": str,
    "sha256": str,
}
_ARCHIVERS = {"archiver": str, "signing key": str, "cameras": int, "archives": int, "frames": int, "archive bytes": int}
_CAMERAS = {"camera": str, "where": str, "frames": int, "bytes": int}


def hour_metadata(
    hour: HourReceipts, names: Mapping[str, str], outcomes: Sequence[ArchiveOutcome] = ()
) -> dict[str, Any]:
    """Metadata of one hour of ``hourly_archives``.

    Args:
        hour: every receipt of it.
        names: of the archivers, by the id of their key.
        outcomes: of the run, for the archives that it made or confirmed.
    """
    receipts = hour.receipts
    ours = {outcome.receipt.archive_key: outcome for outcome in outcomes if outcome.receipt is not None}
    return {
        "archives": table([_row(receipt, names, ours.get(receipt.archive_key)) for receipt in receipts], _ARCHIVES),
        "archivers": table(_archivers(receipts, names), _ARCHIVERS),
        "cameras": len({receipt.camera_id for receipt in receipts}),
        "frames": sum(receipt.frame_count for receipt in receipts),
        "bytes_in": sum(receipt.total_size for receipt in receipts),
        "archive_bytes": sum(receipt.archive_size for receipt in receipts),
        "untrusted": dg.MetadataValue.md(
            "\n".join(f"- {refused.key}: {refused.reason}" for refused in hour.untrusted[:50]) or "none"
        ),
    }


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
        "result": "archived elsewhere or before",
        "archiver": _archiver(receipt, names),
        "devices": ", ".join(receipt.device_ids),
        "frames": receipt.frame_count,
        "bytes in": receipt.total_size,
        "archive bytes": receipt.archive_size,
        "verified": f"{receipt.verified_how} {format_time(receipt.verified_at)}",
        "key": receipt.archive_key,
        "sha256": receipt.sha256,
    }
    if receipt.retention_until is not None:
        row["write-once until"] = f"{format_time(receipt.retention_until)} ({receipt.retention_mode})"
    if outcome is not None:
        row |= {
            "result": outcome.status,
            "MB/s": megabytes_per_second(outcome.bytes, outcome.seconds),
            "parts sent": outcome.sent_parts,
            "parts resumed": outcome.resumed_parts,
        }
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
            "archive bytes": sum(receipt.archive_size for receipt in made),
        }
        for key_id, made in sorted(by_key.items())
    ]


def _key_id(receipt: Receipt) -> str:
    return receipt.signature.key_id if receipt.signature is not None else ""


def _archiver(receipt: Receipt, names: Mapping[str, str]) -> str:
    return names.get(_key_id(receipt), _key_id(receipt))
