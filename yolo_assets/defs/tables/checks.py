"""Checks of the tables stage: their specs, and how each is decided from what the asset found."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

DETECTIONS = dg.AssetKey("detections")
EVERY_CAMERA_TABLED = dg.AssetCheckSpec(
    "every_camera_tabled", asset=DETECTIONS, description="Every camera of the hour has its tables."
)
NO_ROW_IN_QUARANTINE = dg.AssetCheckSpec(
    "no_row_in_quarantine",
    asset=DETECTIONS,
    description="Every record followed its contract; otherwise the number of rejected rows by camera.",
)


def no_row_in_quarantine(quarantined: Mapping[str, int]) -> dg.AssetCheckResult:
    """A warning when records were rejected.

    Args:
        quarantined: rejected rows by camera-hour, without those that have none.
    """
    return dg.AssetCheckResult(
        asset_key=DETECTIONS,
        check_name=NO_ROW_IN_QUARANTINE.name,
        passed=not quarantined,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(f"{name}: {count} rows" for name, count in quarantined.items()) or "no row",
    )
