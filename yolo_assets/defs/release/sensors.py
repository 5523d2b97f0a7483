"""The fleet sensor: ``deployed_model`` runs when a device changes its model, and daily."""

import hashlib

import dagster as dg

from yolo_assets.contracts.times import utc_now
from yolo_assets.defs.lanes import run_tags
from yolo_assets.defs.plant_sensor import PEOPLE_SECONDS, plant_sensor
from yolo_assets.defs.resources import Locations


@plant_sensor(
    seconds=PEOPLE_SECONDS,
    target=dg.AssetSelection.assets("deployed_model"),
    description="Reads the heartbeats; requests deployed_model when a device runs another model, and daily.",
)
def fleet_sensor(context: dg.SensorEvaluationContext, locations: Locations) -> dg.SensorResult | dg.SkipReason:
    """Read the heartbeats once a tick; a tick without any heartbeat requests nothing."""
    from yolo_assets.models.fleet_status import read_heartbeats

    now = utc_now()
    fleet = read_heartbeats(locations.store())
    for problem in fleet.unreadable:
        context.log.warning(problem)
    running = "\n".join(
        sorted(f"{beat.device_id} {beat.model_version} {beat.release} {beat.pinned}" for beat in fleet.heartbeats)
    )
    seen = hashlib.sha256(f"{now.date()}\n{running}".encode()).hexdigest()
    if seen == context.cursor:
        return dg.SkipReason("every device runs what it ran before today")
    if not fleet.heartbeats:
        return dg.SensorResult(cursor=seen, skip_reason="no device has reported yet")
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                # A device that goes back to an earlier model is a change too, and Dagster starts a key only once.
                run_key=f"fleet-{seen[:16]}-{now.isoformat(timespec='seconds')}",
                asset_selection=[dg.AssetKey("deployed_model")],
                tags=run_tags(["deployed_model"], (), now, "a device runs another model than before"),
            )
        ],
        cursor=seen,
    )
