"""The archives of an hour as people read them in the UI.

The same tables for what a run here archived and for what boxes elsewhere did. Pure; nothing here asks a store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.times import format_time
from yolo_assets.defs.archive.news import data_version
from yolo_assets.defs.intake.reporting import ClosedHour, HourNews
from yolo_assets.defs.metadata import megabytes_per_second, table

if TYPE_CHECKING:
    from yolo_assets.archive.archiving import ArchiveOutcome
    from yolo_assets.archive.listing import HourReceipts

_ARCHIVES = {
    "camera-hour": str,
    "result": str,
    "box": str,
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
_BOXES = {"box": str, "signing key": str, "cameras": int, "archives": int, "frames": int, "archive bytes": int}
_CAMERAS = {"camera": str, "where": str, "frames": int, "bytes": int}


def hour_metadata(
    found: HourReceipts, names: Mapping[str, str], outcomes: Sequence[ArchiveOutcome] = ()
) -> dict[str, Any]:
    """Metadata of one hour of ``hourly_archives``.

    Args:
        found: every receipt of the hour.
        names: what the boxes are called, by the id of their key.
        outcomes: of the run, for the archives that it made or confirmed.
    """
    ours = {outcome.receipt.archive_key: outcome for outcome in outcomes if outcome.receipt is not None}
    return {
        "archives": table([_row(one, names, ours.get(one.archive_key)) for one in found.receipts], _ARCHIVES),
        "boxes": table(_boxes(found.receipts, names), _BOXES),
        "cameras": len({one.camera_id for one in found.receipts}),
        "frames": sum(one.frame_count for one in found.receipts),
        "bytes_in": sum(one.total_size for one in found.receipts),
        "archive_bytes": sum(one.archive_size for one in found.receipts),
        "not_believed": dg.MetadataValue.md(
            "\n".join(f"- {one.key}: {one.reason}" for one in found.untrusted[:50]) or "none"
        ),
    }


def archives_report(found: HourReceipts, names: Mapping[str, str]) -> dg.AssetMaterialization:
    """``hourly_archives`` of an hour that was archived elsewhere."""
    return dg.AssetMaterialization(
        asset_key="hourly_archives",
        partition=found.hour.partition_key,
        description="Archived by a box outside; seen through its receipts.",
        metadata=hour_metadata(found, names),
        tags={"dagster/data_version": data_version({found.hour: found.version})},
    )


def frames_report(
    found: HourReceipts, names: Mapping[str, str], spooled: Sequence[ClosedHour]
) -> dg.AssetMaterialization:
    """``raw_frames`` of an hour of which boxes archived something, with what the spool here holds of it."""
    archived: dict[tuple[str, str], list[int]] = {}
    for one in found.receipts:
        sums = archived.setdefault((one.camera_id, f"archived by {_box(one, names)}"), [0, 0])
        sums[0] += one.frame_count
        sums[1] += one.total_size
    rows = [(camera, where, frames, size) for (camera, where), (frames, size) in archived.items()]
    rows += [(item.camera_id, "spool", item.frames, item.size) for item in spooled]
    version = HourNews(found.hour, tuple(spooled)).data_version if spooled else ""
    return dg.AssetMaterialization(
        asset_key="raw_frames",
        partition=found.hour.partition_key,
        metadata={
            "cameras": table([dict(zip(_CAMERAS, row, strict=True)) for row in sorted(rows)], _CAMERAS),
            "dagster/row_count": sum(row[2] for row in rows),
            "bytes": sum(row[3] for row in rows),
        },
        tags={"dagster/data_version": f"{found.version}{version}"},
    )


def _row(receipt: Receipt, names: Mapping[str, str], outcome: ArchiveOutcome | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "camera-hour": receipt.name,
        "result": "archived elsewhere or before",
        "box": _box(receipt, names),
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


def _boxes(receipts: Sequence[Receipt], names: Mapping[str, str]) -> list[dict[str, Any]]:
    by_key: dict[str, list[Receipt]] = {}
    for receipt in receipts:
        by_key.setdefault(_key_id(receipt), []).append(receipt)
    return [
        {
            "box": _box(made[0], names),
            "signing key": key_id,
            "cameras": len({one.camera_id for one in made}),
            "archives": len(made),
            "frames": sum(one.frame_count for one in made),
            "archive bytes": sum(one.archive_size for one in made),
        }
        for key_id, made in sorted(by_key.items())
    ]


def _key_id(receipt: Receipt) -> str:
    return receipt.signature.key_id if receipt.signature is not None else ""


def _box(receipt: Receipt, names: Mapping[str, str]) -> str:
    return names.get(_key_id(receipt), _key_id(receipt))
