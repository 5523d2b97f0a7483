"""Checks of the tables stage: their specs, and how each is decided from what the asset found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import dagster as dg

from yolo_assets.defs.hours import hourly_check
from yolo_assets.defs.metadata import table

if TYPE_CHECKING:
    import polars as pl

_REASONS = 20
DETECTIONS = dg.AssetKey("detections")
EVERY_CAMERA_TABLED = hourly_check(
    "every_camera_tabled",
    asset="detections",
    description="Every camera of the hour has its tables.",
)
NO_ROW_IN_QUARANTINE = hourly_check(
    "no_row_in_quarantine",
    asset="detections",
    description="Every record followed its contract; otherwise the number of rejected rows by camera.",
)


def no_row_in_quarantine(quarantined: Mapping[str, int], rows: pl.DataFrame | None = None) -> dg.AssetCheckResult:
    """A warning when records were rejected.

    Args:
        quarantined: rejected rows by camera-hour, without those that have none.
        rows: the rejected rows; the most frequent reasons are shown.
    """
    reasons = [] if rows is None else rows["reason"].value_counts(sort=True).head(_REASONS).rows(named=True)
    return dg.AssetCheckResult(
        asset_key=DETECTIONS,
        check_name=NO_ROW_IN_QUARANTINE.name,
        passed=not quarantined,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(f"{name}: {count} rows" for name, count in quarantined.items()) or "no row",
        metadata={"reasons": table(reasons, {"reason": str, "count": int})} if reasons else {},
    )
