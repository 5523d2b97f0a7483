"""``deployed_model``: what the fleet runs, against what the channel says."""

import time
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from yolo_assets.contracts.times import format_time, utc_now
from yolo_assets.defs.automation import on_change
from yolo_assets.defs.code_versions import code_version
from yolo_assets.defs.failures import RETRY_POLICY, by_kind
from yolo_assets.defs.freshness import EVERY_DAY
from yolo_assets.defs.metadata import listed, table
from yolo_assets.defs.release.assets import CHANNEL
from yolo_assets.defs.release.checks import EVERY_LIVE_DEVICE_CURRENT, every_live_device_current
from yolo_assets.defs.resources import Locations

if TYPE_CHECKING:
    from yolo_assets.models.fleet_status import FleetStatus


class DeploymentConfig(dg.Config):
    """How long a release may take to reach every device."""

    wait_seconds: float = Field(
        default=120.0, ge=0, description="how long after its promotion every live device must have the release"
    )


@dg.asset(
    deps=["promoted_model"],
    automation_condition=on_change(),
    check_specs=[EVERY_LIVE_DEVICE_CURRENT],
    freshness_policy=EVERY_DAY,
    group_name="release",
    kinds={"onnx"},
    owners=["team:edge"],
    code_version=code_version("models/fleet_status.py"),
    description="The model on the line: each device's heartbeat against the stable channel.",
    retry_policy=RETRY_POLICY,
)
@by_kind
def deployed_model(
    context: dg.AssetExecutionContext, config: DeploymentConfig, locations: Locations
) -> dg.MaterializeResult:
    """Poll until every live device has the release or the time is over; devices that are behind are reported."""
    from yolo_assets.models.fleet_status import fleet_status, read_heartbeats

    registry = locations.registry()
    pointer = registry.channel(locations.settings.model_name, CHANNEL).pointer()
    if pointer is None:
        return dg.MaterializeResult(
            metadata={"release": "none yet"},
            check_results=[every_live_device_current([])],
        )
    passed = (utc_now() - pointer.moved_at).total_seconds()
    deadline = time.monotonic() + max(0.0, config.wait_seconds - passed)
    while True:
        fleet = fleet_status(read_heartbeats(registry.store), pointer, utc_now())
        if not fleet.waiting() or time.monotonic() >= deadline:
            break
        time.sleep(0.5)
    return dg.MaterializeResult(
        metadata={
            "model": pointer.model_version,
            "release": pointer.release,
            "moved_at": format_time(pointer.moved_at),
            "reason": pointer.reason,
            **locations.links().report(pointer.model_version),
            **_pages(fleet),
            **_rollout(locations),
            "devices": table(
                [
                    {
                        "device": device.heartbeat.device_id,
                        "state": device.state,
                        "model": device.heartbeat.model_version,
                        "release": device.heartbeat.release,
                        "fps": device.heartbeat.fps,
                        "heartbeat_s_ago": device.age.total_seconds(),
                        "took_s": device.took.total_seconds() if device.took is not None else None,
                    }
                    for device in fleet.devices
                ],
                {
                    **{"device": str, "state": str, "model": str, "release": int, "fps": float},
                    **{"heartbeat_s_ago": float, "took_s": float},
                },
            ),
            "unreadable_heartbeats": len(fleet.unreadable),
        },
        data_version=dg.DataVersion(f"{pointer.release}:{pointer.version}"),
        check_results=[every_live_device_current(fleet.waiting())],
    )


def _rollout(locations: Locations) -> dict[str, Any]:
    """The newest rollout in waves, where there is one: its state, its wave, who failed, its last steps."""
    from yolo_assets.models.rollout import read_rollout

    record = read_rollout(locations.registry(), locations.settings.model_name, CHANNEL)
    if record is None:
        return {}
    failed = [f"{device}: {reason}" for device, reason in record.failed.items()]
    steps = [f"{format_time(step.at)} {step.by}: {step.what}" for step in reversed(record.steps)]
    return {
        "rollout": f"{record.model_version} {record.state}, wave {record.wave} of {len(record.waves)}",
        "rollout_failed": listed(failed, "no device"),
        "rollout_steps": listed(steps, "none"),
    }


def _pages(fleet: "FleetStatus") -> dict[str, Any]:
    """Links to the live pages of the devices that tell theirs, those that need a look first."""
    beats = [device for device in fleet.devices if device.heartbeat.page is not None]
    beats.sort(key=lambda device: (device.state == "current", device.heartbeat.device_id))
    lines = [f"[{device.heartbeat.device_id}]({device.heartbeat.page}) {device.state}" for device in beats]
    return {"live_pages": listed(lines, "")} if lines else {}
