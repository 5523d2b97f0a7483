"""``today``: per camera what came, what lacks, what failed, with the cause. One small table, one page."""

import warnings

import dagster as dg

from yolo_assets.contracts.plant import load_plant
from yolo_assets.contracts.times import utc_now
from yolo_assets.defs.code_versions import code_version
from yolo_assets.defs.failures import RETRY_POLICY, by_kind
from yolo_assets.defs.freshness import EVERY_HOUR
from yolo_assets.defs.resources import Locations
from yolo_assets.defs.today.checks import EVERY_CAMERA_WELL, every_camera_well
from yolo_assets.defs.today.look import look
from yolo_assets.defs.today.shown import TodayLinks, today_metadata, write_page


@by_kind
def _look_at_the_plant(context: dg.AssetExecutionContext, locations: Locations) -> dg.MaterializeResult:
    """Look at the plant and write the page."""
    plant = load_plant(locations.settings)
    found, fleet = look(locations, plant, context.instance, utc_now())
    write_page(locations.store(), locations, found)
    shown = today_metadata(found, TodayLinks.of(plant, locations.links(), fleet))
    return dg.MaterializeResult(metadata=shown, check_results=[every_camera_well(found)])


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
