"""What Dagster's instance knows that somebody should be told, besides failed runs."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg
from dagster import DagsterInstance
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import SensorInstigatorData

from yolo_assets.alerts.causes import GivenUp
from yolo_assets.defs.recovery.sensors import recovery_sensor
from yolo_assets.defs.recovery.unfinished import RecoveryCursor, Target, Unfinished
from yolo_assets.defs.release.checks import GATE_PASSED

_EXECUTIONS = 20
"""Of the gate that are read: the newest may be planned only, or have failed before the verdict."""
_HEALTH = dg.AssetKey("camera_health")


def given_up(instance: DagsterInstance) -> list[GivenUp]:
    """Work that the recovery sensor gave up, by asset."""
    groups: dict[str, list[tuple[str, Unfinished]]] = {}
    for state in instance.all_instigator_state(instigator_type=InstigatorType.SENSOR):
        data = state.instigator_data
        if state.instigator_name == recovery_sensor.name and isinstance(data, SensorInstigatorData):
            for name, work in RecoveryCursor.load(data.cursor).targets.items():
                if work.given_up:
                    target = Target.parse(name)
                    groups.setdefault(target.asset, []).append((target.partition, work))
    return [
        GivenUp(
            what=asset,
            parts=tuple(sorted(partition for partition, _ in group if partition)),
            failures=max(work.failures for _, work in group),
            run_id=max(group, key=lambda item: item[1].ended)[1].run,
        )
        for asset, group in sorted(groups.items())
    ]


def refused_by_gate(instance: DagsterInstance) -> dict[str, str]:
    """The sentence with which the gate refused a candidate, by its version; empty when it passed the newest one."""
    key = dg.AssetCheckKey(dg.AssetKey("promoted_model"), GATE_PASSED.name)
    history = instance.event_log_storage.get_asset_check_execution_history(key, limit=_EXECUTIONS)
    verdicts = (record.evaluation for record in history)
    evaluation = next((verdict for verdict in verdicts if isinstance(verdict, dg.AssetCheckEvaluation)), None)
    if evaluation is None or evaluation.passed:
        return {}
    event = instance.get_latest_materialization_event(key.asset_key)
    metadata = event.asset_materialization.metadata if event is not None and event.asset_materialization else {}
    return {_text(metadata, "model") or "the newest candidate": evaluation.description or "no reason is given"}


def sick_cameras(instance: DagsterInstance) -> dict[str, str]:
    """What ``camera_health`` says of cameras that are not well, in the newest hour; silent ones are ``today``'s."""
    event = instance.get_latest_materialization_event(_HEALTH)
    metadata = event.asset_materialization.metadata if event is not None and event.asset_materialization else {}
    rows = getattr(metadata.get("cameras"), "records", ())
    sick = {str(row.data["camera_id"]): str(row.data["status"]) for row in rows if "camera_id" in row.data}
    return {
        camera: f"its picture is {status} in the newest hour; camera_health shows the figures"
        for camera, status in sick.items()
        if status not in ("ok", "silent")
    }


def _text(metadata: Mapping[str, object], name: str) -> str:
    value = getattr(metadata.get(name), "value", None)
    return value if isinstance(value, str) else ""
