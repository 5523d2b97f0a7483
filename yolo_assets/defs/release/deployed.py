"""``deployed_model``: what the fleet runs, against what the channel says."""

import time

import dagster as dg
from pydantic import Field

from yolo_assets.contracts.times import format_time, utc_now
from yolo_assets.defs.automation import on_change
from yolo_assets.defs.locations import Locations
from yolo_assets.defs.metadata import table
from yolo_assets.defs.release.assets import CHANNEL

ADOPTED = "every_live_device_current"


class DeploymentConfig(dg.Config):
    """How long a release may take to reach everybody."""

    wait_seconds: float = Field(default=60.0, ge=0, description="wait so long for live devices to take the release")


@dg.asset(
    deps=["promoted_model"],
    automation_condition=on_change(),
    check_specs=[
        dg.AssetCheckSpec(
            ADOPTED, asset="deployed_model", description="Every device that is alive runs the channel's version."
        )
    ],
    group_name="release",
    kinds={"onnx"},
    owners=["team:edge"],
    code_version="1",
    description="The model on the line: each device's heartbeat against the stable channel.",
)
def deployed_model(
    context: dg.AssetExecutionContext, config: DeploymentConfig, locations: Locations
) -> dg.MaterializeResult:
    """Look until every live device has the release or the time is over; who is behind is reported, not waited for."""
    from yolo_assets.models.fleet_status import fleet_status, read_heartbeats

    registry = locations.registry()
    pointer = registry.channel(locations.model_name, CHANNEL).pointer()
    if pointer is None:
        return dg.MaterializeResult(
            metadata={"release": "none yet"},
            check_results=[dg.AssetCheckResult(check_name=ADOPTED, passed=True, description="nothing is released")],
        )
    deadline = time.monotonic() + config.wait_seconds
    while True:
        fleet = fleet_status(read_heartbeats(registry.store), pointer, utc_now())
        if not fleet.waiting() or time.monotonic() >= deadline:
            break
        time.sleep(0.5)
    behind = fleet.waiting()
    return dg.MaterializeResult(
        metadata={
            "model": pointer.model_version,
            "release": pointer.release,
            "moved_at": format_time(pointer.moved_at),
            "reason": pointer.reason,
            "devices": table(
                [
                    {
                        "device": device.heartbeat.device_id,
                        "state": device.state,
                        "model": device.heartbeat.model_version,
                        "release": device.heartbeat.release,
                        "fps": device.heartbeat.fps,
                        "heard_s_ago": device.age.total_seconds(),
                    }
                    for device in fleet.devices
                ],
                {"device": str, "state": str, "model": str, "release": int, "fps": float, "heard_s_ago": float},
            ),
            "unreadable_heartbeats": len(fleet.unreadable),
        },
        data_version=dg.DataVersion(f"{pointer.release}:{pointer.version}"),
        check_results=[
            dg.AssetCheckResult(
                check_name=ADOPTED,
                passed=not behind,
                severity=dg.AssetCheckSeverity.WARN,
                description=f"not yet: {', '.join(behind)}" if behind else "every live device runs it",
            )
        ],
    )
