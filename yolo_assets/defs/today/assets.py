"""``today``: per camera what came, what lacks, what failed, with the cause. One small table, one page."""

import warnings
from typing import TYPE_CHECKING, Any

import dagster as dg

from yolo_assets.contracts.names import today_page_key
from yolo_assets.contracts.plant import load_plant
from yolo_assets.contracts.times import utc_now
from yolo_assets.defs.code_versions import code_version
from yolo_assets.defs.failures import RETRY_POLICY, by_kind
from yolo_assets.defs.freshness import EVERY_HOUR
from yolo_assets.defs.metadata import table
from yolo_assets.defs.resources import Locations
from yolo_assets.defs.today.checks import EVERY_CAMERA_WELL, every_camera_well
from yolo_assets.defs.today.look import look

if TYPE_CHECKING:
    from yolo_assets.storage import ObjectStore
    from yolo_assets.today.summary import Today

_COLUMNS = {
    "camera": str,
    "status": str,
    "frames": int,
    "last frame": str,
    "archived h": int,
    "missing h": int,
    "late h": int,
    "failed h": int,
    "cause": str,
}


@by_kind
def _look_at_the_plant(context: dg.AssetExecutionContext, locations: Locations) -> dg.MaterializeResult:
    """Look at the plant and write the page."""
    plant = load_plant(locations.settings)
    found, _ = look(locations, plant, context.instance, utc_now())
    write_page(locations.store(), locations, found)
    return dg.MaterializeResult(metadata=metadata(found, plant), check_results=[every_camera_well(found)])


with warnings.catch_warnings():  # Dagster calls virtual assets a preview, at each load of each process
    warnings.simplefilter("ignore")
    today = dg.asset(
        name="today",
        deps=["raw_frames", "hourly_archives", "archive_catalog", "deployed_model"],
        is_virtual=True,  # a view: newer inputs do not make it "unsynced", because the next look is never far away
        check_specs=[EVERY_CAMERA_WELL],
        freshness_policy=EVERY_HOUR,
        group_name="today",
        kinds={"html"},
        owners=["team:platform"],
        code_version=code_version("today"),
        description=(
            "The plant now: per camera what came in the last 24 hours, what lacks, what failed, and why. "
            "`today_sensor` reports it every few minutes without a run; a run by hand looks at once. Cameras of "
            "plant.yaml are there even if they never sent anything. The same as a page for a wall screen lies in the "
            "store, `today/today.html`."
        ),
        retry_policy=RETRY_POLICY,
    )(_look_at_the_plant)
"""The asset."""


def write_page(store: "ObjectStore", locations: Locations, found: "Today") -> None:
    """Write the wall page to the store root."""
    from yolo_assets.today.page import page

    store.put(today_page_key(), page(found, locations.settings.language))


def metadata(found: "Today") -> dict[str, Any]:
    """The plant as the UI shows it."""
    from yolo_assets.today.wording import TodayWording

    words = TodayWording("en")
    notices = words.notices(found)
    return {
        "cameras": table(
            [
                {
                    "camera": camera.camera_id,
                    "status": camera.status,
                    "frames": camera.frames,
                    "last frame": words.last_frame(camera, found.now),
                    "archived h": camera.archived,
                    "missing h": len(camera.missing),
                    "late h": len(camera.late),
                    "failed h": len(camera.failed),
                    "cause": words.reason(camera),
                }
                for camera in found.cameras
            ],
            _COLUMNS,
        ),
        **{status: len(found.having(status)) for status in ("absent", "failed", "unknown", "late", "good")},
        "frames": sum(camera.frames for camera in found.cameras),
        "notices": dg.MetadataValue.md("\n".join(f"- {line}" for line in notices) or "none"),
        "page": today_page_key(),
    }
