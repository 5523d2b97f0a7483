"""The sensors of releases.

``fleet_sensor``: ``deployed_model`` runs when a device changes its model, and daily. ``rollout_sensor``: a rollout
takes its next step, and the statement of the newest release is renewed.
"""

import hashlib

import dagster as dg

from yolo_assets.contracts.times import utc_now
from yolo_assets.defs.lanes import run_tags
from yolo_assets.defs.plant_sensor import LOOK_SECONDS, PEOPLE_SECONDS, plant_sensor
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


@plant_sensor(
    seconds=LOOK_SECONDS,
    target=dg.AssetSelection.assets("deployed_model"),
    description="Where plant.yaml has a section rollout: its next wave or a pause, by the heartbeats.",
)
def rollout_sensor(context: dg.SensorEvaluationContext, locations: Locations) -> dg.SkipReason:
    """One look at the rollout of ``stable``; moving a channel takes a moment and needs no run."""
    from yolo_assets.contracts.plant import load_plant
    from yolo_assets.models.fleet_status import read_heartbeats
    from yolo_assets.models.rollout import WAVED_CHANNEL, Rollouts
    from yolo_assets.storage.base import CasConflictError

    settings, plant = locations.settings, load_plant(locations.settings)
    if plant.rollout is None:
        return dg.SkipReason("plant.yaml has no section rollout")
    if not settings.promotion_key.exists():
        return dg.SkipReason("the promotion key is not here")
    promoter, now = locations.plant_promoter(), utc_now()
    promoter.renew(settings.model_name, WAVED_CHANNEL, now)
    rollouts = Rollouts(promoter, settings.model_name, WAVED_CHANNEL)
    try:
        before = rollouts.newest()
        record = rollouts.look(read_heartbeats(promoter.registry.store).heartbeats, now)
    except CasConflictError as error:
        return dg.SkipReason(f"somebody else moved it meanwhile, it is looked at again: {error}")
    if record is None:
        return dg.SkipReason("nothing was rolled out in waves yet")
    for step in record.steps[len(before.steps) if before is not None else 0 :]:
        context.log.info(f"{step.by}: {step.what}")
    return dg.SkipReason(f"{record.model_version} is {record.state}, wave {record.wave} of {len(record.waves)}")
