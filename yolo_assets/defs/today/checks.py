"""The check of ``today``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from yolo_assets.today.summary import Today

EVERY_CAMERA_WELL = dg.AssetCheckSpec(
    "every_camera_well", asset="today", description="No camera is absent or sick, and no work on one failed."
)
_NAMED = 10


def every_camera_well(today: Today) -> dg.AssetCheckResult:
    """A warning that names the cameras that are absent, failed or sick."""
    wrong = today.having("absent", "failed", "sick")
    named = ", ".join(f"{camera.camera_id} ({camera.status})" for camera in wrong[:_NAMED])
    more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
    return dg.AssetCheckResult(
        asset_key=EVERY_CAMERA_WELL.asset_key,
        check_name=EVERY_CAMERA_WELL.name,
        passed=not wrong,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{named}{more}" if wrong else "no camera is absent, failed or sick",
    )
