"""The today sensor: keeps ``today`` and its page current without a run, which would cost a process each time."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from yolo_assets.contracts.plant import load_plant
from yolo_assets.contracts.times import utc_now
from yolo_assets.defs.cursors import SensorCursor
from yolo_assets.defs.plant_sensor import people_sensor
from yolo_assets.defs.resources import Locations
from yolo_assets.defs.today.checks import every_camera_well
from yolo_assets.defs.today.look import shared_looks
from yolo_assets.defs.today.shown import TodayLinks, today_metadata, write_page

if TYPE_CHECKING:
    from yolo_assets.today.summary import Today

REPORTED_AT_LEAST = timedelta(hours=1)
"""The table is stored with each report, for ever: it is reported when a verdict changes, and once in this time."""


class TodayCursor(SensorCursor):
    """What was reported last.

    Attributes:
        verdicts: hash of them.
        at: when; None: never.
    """

    verdicts: str = ""
    at: datetime | None = None


@people_sensor(
    "Looks at the plant: writes the wall page to the store, and reports today when a verdict on a camera changed or an "
    "hour went by."
)
def today_sensor(context: dg.SensorEvaluationContext, locations: Locations) -> dg.SensorResult:
    """Look once a tick."""
    from yolo_assets.storage import StoreUnavailableError

    now, cursor = utc_now(), TodayCursor.load(context.cursor)
    plant = load_plant(locations.settings)
    found, fleet = shared_looks.look("today", locations, plant, context.instance, now)
    try:
        if "the heartbeats" not in found.unread:  # else the store is away, and trying takes a tick's time
            write_page(locations.store(), locations, found)
    except StoreUnavailableError as error:  # what the page lacks now, the table says
        context.log.warning(f"the page is not written: {error}")
    counts = ", ".join(f"{len(found.having(status))} {status}" for status in ("absent", "failed", "late", "good"))
    verdicts = _verdicts(found)
    if verdicts == cursor.verdicts and cursor.at is not None and now - cursor.at < REPORTED_AT_LEAST:
        return dg.SensorResult(skip_reason=f"no verdict changed: {counts}", cursor=cursor.model_dump_json())
    check = every_camera_well(found)
    shown = today_metadata(found, TodayLinks.of(plant, locations.links(), fleet))
    return dg.SensorResult(
        asset_events=[
            dg.AssetMaterialization("today", metadata=shown),
            dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey("today"),
                check_name=check.check_name or "",
                passed=check.passed,
                severity=check.severity,
                description=check.description,
                metadata={},
            ),
        ],
        skip_reason=f"reported: {counts}",
        cursor=TodayCursor(verdicts=verdicts, at=now).model_dump_json(),
    )


def _verdicts(found: Today) -> str:
    lines = [f"{camera.camera_id} {camera.status} {camera.reason.key} {len(camera.failed)}" for camera in found.cameras]
    lines += [f"{failure.what} {failure.reason}" for failure in found.troubles] + sorted(found.unread)
    return hashlib.sha256("\n".join(lines).encode("utf-8", "backslashreplace")).hexdigest()[:16]
