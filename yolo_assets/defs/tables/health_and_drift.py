"""``camera_health`` and ``drift_report``: an hour against the reference of each camera and model version."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from yolo_assets.contracts.plant import load_plant
from yolo_assets.contracts.times import Hour
from yolo_assets.defs.automation import on_hour
from yolo_assets.defs.code_versions import code_version
from yolo_assets.defs.failures import RETRY_POLICY, by_kind
from yolo_assets.defs.hours import NO_VALUE, HourEvent, HourResult, each_hour, hourly_check
from yolo_assets.defs.metadata import counted, listed, table
from yolo_assets.defs.partitions import hourly, packed
from yolo_assets.defs.provenance import Provenance
from yolo_assets.defs.resources import Locations
from yolo_assets.defs.versions import content_version

if TYPE_CHECKING:
    from yolo_assets.archive.archive import Archive
    from yolo_assets.contracts.camera_states import CameraStates

HEALTH = {"camera_id": str, "status": str, "frames": int, "longest_gap_s": float, "faults": str}
DRIFT = {
    "camera_id": str,
    "model_version": str,
    "verdict": str,
    "reason": str,
    "usual_objects": float,
    "objects": float,
}
EVERY_CAMERA_HEALTHY = hourly_check(
    "every_camera_healthy",
    "camera_health",
    "No camera needs maintenance that nobody has acknowledged. What is found stays until it is well again.",
)
NO_CAMERA_DRIFTED = hourly_check(
    "no_camera_drifted",
    "drift_report",
    "No model reports something else than in the days after its release, on a camera that is well.",
)
_SHOWN = 200


def _columns(shown: Mapping[str, type], sources: Mapping[str, Mapping[str, Sequence[str]]]) -> dict[str, Any]:
    """Columns of a report and what each is made of. The last hour of a run has them.

    Args:
        shown: the columns, by name.
        sources: for each of them the columns it is made of, by asset.
    """
    deps = {
        column: [dg.TableColumnDep(asset, name) for asset, names in found.items() for name in names]
        for column, found in sources.items()
    }
    return {"dagster/column_schema": table([], shown).schema, "dagster/column_lineage": dg.TableColumnLineage(deps)}


def health_columns() -> dict[str, Any]:
    """Of ``camera_health``."""
    picture = {"frames": ["captured_at", "sequence", "blur", "brightness"], "detections": ["captured_at"]}
    return _columns(
        HEALTH,
        {
            "camera_id": {"frames": ["camera_id"]},
            "status": picture,
            "frames": {"frames": ["image_path"]},
            "longest_gap_s": {"frames": ["captured_at"]},
            "faults": picture,
        },
    )


def drift_columns() -> dict[str, Any]:
    """Of ``drift_report``: a sick camera is called so by ``camera_health``, the rest is of the tables."""
    compared = {"frames": ["captured_at"], "detections": ["captured_at", "class", "confidence"]}
    counts = {"frames": ["captured_at"], "detections": ["image_path", "captured_at"]}
    return _columns(
        DRIFT,
        {
            "camera_id": {"frames": ["camera_id"]},
            "model_version": {"frames": ["model_version"]},
            "verdict": {**compared, "camera_health": ["status"]},
            "reason": compared,
            "usual_objects": counts,
            "objects": counts,
        },
    )


def _archive_within_reach(locations: Locations) -> "Archive | None":
    """The archive, or None while it is away: then no scene is compared, and everything else is judged."""
    from yolo_assets.storage import StoreUnavailableError

    try:
        return locations.archive()
    except StoreUnavailableError:
        return None


@dg.asset(
    deps=["frames", "detections"],
    partitions_def=hourly,
    backfill_policy=packed,
    automation_condition=on_hour(),
    check_specs=[EVERY_CAMERA_HEALTHY],
    group_name="tables",
    kinds={"polars"},
    owners=["team:maintenance"],
    code_version=code_version("monitoring", "tables/scan.py"),
    description=(
        "Sharpness, brightness, frozen and lost frames, moved and silent cameras, against each camera's first week. "
        "What is sick stays sick until it is well or acknowledged (`yolo-assets health`)."
    ),
    dagster_type=NO_VALUE,
    retry_policy=RETRY_POLICY,
)
@by_kind
def camera_health(context: dg.AssetExecutionContext, locations: Locations) -> Iterator[HourEvent]:
    """Keep the figures of the hour, judge every camera, keep the verdicts."""
    from yolo_assets.monitoring.figures import FiguresReader, measure_hour
    from yolo_assets.monitoring.states import health_notes, keep_hour_verdicts
    from yolo_assets.monitoring.verdicts import PlantHistory, judge_cameras

    store, plant, archive = locations.store(), load_plant(locations.settings), _archive_within_reach(locations)
    reader, notes = FiguresReader(store), health_notes(store)

    def health_of(hour: Hour, _: Provenance) -> HourResult | None:
        beginnings = measure_hour(store, locations.settings.spool, archive, hour, notes)
        if beginnings is None:
            return None
        history = PlantHistory(beginnings, notes, plant.shifts, plant.camera_ids)
        states = judge_cameras(hour, reader, history)
        keep_hour_verdicts(store, states)
        rows = health_rows(states)
        sentences = [fault.sentence for camera in states.cameras for fault in camera.faults]
        sick = [camera.camera_id for camera in states.cameras if camera.sick]
        known = sum(bool(camera.faults) and not camera.sick for camera in states.cameras)
        told = f", {known} known" if known else ""
        return HourResult(
            {
                "camera_health": {
                    "summary": f"{len(rows) - len(sick) - known} of {counted(len(rows), 'camera')} are well{told}",
                    "findings": listed(sentences, "every camera is well"),
                    "sick": len(sick),
                    "cameras": table(rows, HEALTH),
                    **(health_columns() if hour.partition_key == context.partition_keys[-1] else {}),
                }
            },
            checks=[every_camera_healthy(states)],
            versions={"camera_health": content_version(rows, sentences)},
        )

    yield from each_hour(context, health_of)


def health_rows(states: "CameraStates") -> list[dict[str, Any]]:
    """A row per camera; its status is ``ok``, ``silent``, ``sick``, or ``known`` when all of it was acknowledged."""
    return [
        {
            "camera_id": camera.camera_id,
            "status": "ok"
            if not camera.faults
            else "known"
            if not camera.sick
            else "silent"
            if all(fault.kind == "silent" for fault in camera.faults)
            else "sick",
            "frames": camera.frames,
            "longest_gap_s": camera.longest_gap_s,
            "faults": ", ".join(fault.kind for fault in camera.faults),
        }
        for camera in states.cameras
    ]


def every_camera_healthy(states: "CameraStates") -> dg.AssetCheckResult:
    """A warning with a sentence for each camera that needs maintenance."""
    wrong = {
        camera.camera_id: " ".join(fault.sentence for fault in camera.faults if fault.acknowledged_by is None)
        for camera in states.cameras
        if camera.sick
    }
    return dg.AssetCheckResult(
        asset_key=EVERY_CAMERA_HEALTHY.asset_key,
        check_name=EVERY_CAMERA_HEALTHY.name,
        passed=not wrong,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{counted(len(wrong), 'camera')} need maintenance" if wrong else "every camera is well",
        metadata=dict(list(wrong.items())[:_SHOWN]),
    )


@dg.asset(
    deps=["detections", "camera_health"],
    partitions_def=hourly,
    backfill_policy=packed,
    automation_condition=on_hour(),
    check_specs=[NO_CAMERA_DRIFTED],
    group_name="tables",
    kinds={"polars"},
    owners=["team:data"],
    code_version=code_version("monitoring"),
    description=(
        "Objects an hour, class mix and confidence of each camera and model against the days after its release: "
        "a sick camera needs maintenance, not training."
    ),
    dagster_type=NO_VALUE,
    retry_policy=RETRY_POLICY,
)
@by_kind
def drift_report(context: dg.AssetExecutionContext, locations: Locations) -> Iterator[HourEvent]:
    """Report the drift that was found with the health of the hour."""
    from yolo_assets.monitoring.states import hour_verdicts

    store = locations.store()

    def drift_of(hour: Hour, _: Provenance) -> HourResult | None:
        states = hour_verdicts(store, hour)
        if states is None:
            return None
        rows = drift_rows(states)
        verdicts = Counter(row["verdict"] for row in rows)
        told = [row for row in rows if row["verdict"] not in ("stable", "learning")]
        metadata: dict[str, Any] = {
            "summary": ", ".join(f"{verdict}: {count}" for verdict, count in verdicts.most_common()),
            "drifted": verdicts["drifted"],
        }
        if told:
            metadata["drift"] = table(told, DRIFT)
            metadata["findings"] = listed(
                [f"{row['camera_id']}: {row['verdict']}, {row['reason']}" for row in told], ""
            )
        if hour.partition_key == context.partition_keys[-1]:
            metadata |= drift_columns()
        return HourResult(
            {"drift_report": metadata},
            checks=[no_camera_drifted(states)],
            versions={"drift_report": content_version(rows)},
        )

    yield from each_hour(context, drift_of)


def drift_rows(states: "CameraStates") -> list[dict[str, Any]]:
    """A row per camera that reported anything."""
    return [
        {
            "camera_id": camera.camera_id,
            "model_version": camera.drift.model_version,
            "verdict": camera.drift.verdict,
            "reason": camera.drift.reason,
            "usual_objects": camera.drift.usual_objects,
            "objects": camera.drift.objects,
        }
        for camera in states.cameras
        if camera.drift is not None
    ]


def no_camera_drifted(states: "CameraStates") -> dg.AssetCheckResult:
    """A warning with a sentence for each camera whose model reports something else, or nothing at all."""
    wrong = {
        camera.camera_id: f"{camera.drift.verdict}: {camera.drift.reason}"
        for camera in states.cameras
        if camera.drift is not None and camera.drift.verdict in ("drifted", "empty belt")
    }
    return dg.AssetCheckResult(
        asset_key=NO_CAMERA_DRIFTED.asset_key,
        check_name=NO_CAMERA_DRIFTED.name,
        passed=not wrong,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{counted(len(wrong), 'camera')} changed" if wrong else "no camera changed",
        metadata=dict(list(wrong.items())[:_SHOWN]),
    )
