"""The graph as ``docs/design.md`` has it: a change of keys, dependencies, partitions or conditions shows up here."""

import dagster as dg
import pytest
from dagster._core.definitions.freshness import TimeWindowFreshnessPolicy

from yolo_assets import defs as stages
from yolo_assets.definitions import defs as load

GRAPH = {
    "raw_frames": set(),
    "frames": {"raw_frames"},
    "detections": {"raw_frames"},
    "hourly_archives": {"raw_frames"},
    "reclaimed_spool": {"hourly_archives"},
    "archive_catalog": {"hourly_archives"},
    "archive_audit": {"archive_catalog"},
    "archive_copy": {"archive_catalog"},
    "receipt_checkpoint": {"archive_catalog"},
    "camera_health": {"frames", "detections"},
    "drift_report": {"detections", "camera_health"},
    "annotation_batch": {"archive_catalog", "detections", "drift_report"},
    "labels": {"annotation_batch"},
    "training_dataset": {"labels"},
    "suspicious_labels": {"training_dataset", "promoted_model"},
    "trained_weights": {"training_dataset"},
    "promoted_model": {"trained_weights"},
    "deployed_model": {"promoted_model"},
    "today": {"raw_frames", "hourly_archives", "archive_catalog", "deployed_model"},
}
HOURLY = {"raw_frames", "frames", "detections", "hourly_archives", "reclaimed_spool", "camera_health", "drift_report"}
EXTERNAL = {"raw_frames", "labels"}
SENSORS = (
    *("spool_sensor", "receipts_sensor", "labels_sensor", "fleet_sensor", "recovery_sensor", "automation"),
    *("today_sensor", "alerts_sensor", "search_sensor", "rollout_sensor"),
)
CONDITIONS = {
    "on_hour": HOURLY - EXTERNAL,
    "on_change": {"archive_catalog", "training_dataset", "deployed_model"},
    "on_training_due": {"trained_weights"},
    "on_good_change": {"promoted_model"},
    "daily": {"annotation_batch", "suspicious_labels"},
}


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return load()


@pytest.fixture(scope="module")
def specs(definitions: dg.Definitions) -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}


def test_keys_and_dependencies(specs: dict[str, dg.AssetSpec]) -> None:
    assert {key: {dep.asset_key.to_user_string() for dep in spec.deps} for key, spec in specs.items()} == GRAPH


def test_no_module_with_assets_is_left_out(specs: dict[str, dg.AssetSpec]) -> None:
    every = dg.load_assets_from_package_module(stages, include_specs=True)
    assert {key.to_user_string() for asset in every for key in keys_of(asset)} == set(GRAPH)


def keys_of(asset: object) -> set[dg.AssetKey]:
    if isinstance(asset, dg.AssetsDefinition):
        return set(asset.keys)
    assert isinstance(asset, dg.AssetSpec), asset
    return {asset.key}


def test_partitions_are_hours_in_utc_and_never_cameras(specs: dict[str, dg.AssetSpec]) -> None:
    assert {key for key, spec in specs.items() if spec.partitions_def is not None} == HOURLY
    for key in HOURLY:
        partitions = specs[key].partitions_def
        assert isinstance(partitions, dg.HourlyPartitionsDefinition) and partitions.timezone == "UTC"


def test_conditions(specs: dict[str, dg.AssetSpec]) -> None:
    found: dict[str, set[str]] = {}
    for key, spec in specs.items():
        if spec.automation_condition is not None:
            found.setdefault(spec.automation_condition.get_label() or "?", set()).add(key)
    assert found == CONDITIONS


def test_every_asset_has_a_description_and_an_owner(specs: dict[str, dg.AssetSpec]) -> None:
    for key, spec in specs.items():
        assert spec.description and spec.owners and spec.kinds, key
        assert spec.group_name != "default", key
        assert key in EXTERNAL or spec.code_version, key


def test_sensors_and_schedules_are_on(definitions: dg.Definitions) -> None:
    sensors = {sensor.name: sensor.default_status for sensor in definitions.sensors or []}
    running = dg.DefaultSensorStatus.RUNNING
    assert sensors == dict.fromkeys(SENSORS, running)
    schedules = {schedule.name: schedule.default_status for schedule in definitions.schedules or []}
    assert schedules == {
        "audit_daily": dg.DefaultScheduleStatus.RUNNING,
        "copy_hourly": dg.DefaultScheduleStatus.RUNNING,
        "checkpoint_daily": dg.DefaultScheduleStatus.RUNNING,
        "retention_daily": dg.DefaultScheduleStatus.RUNNING,
    }


def test_backfills_take_three_days_of_hours_a_run(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    for key in HOURLY - EXTERNAL:
        policy = graph.get(dg.AssetKey(key)).backfill_policy
        assert policy is not None and policy.max_partitions_per_run == 72, key


def test_what_the_ui_calls_overdue(specs: dict[str, dg.AssetSpec]) -> None:
    windows = {
        key: spec.freshness_policy.fail_window.to_timedelta().total_seconds() / 3600
        for key, spec in specs.items()
        if isinstance(spec.freshness_policy, TimeWindowFreshnessPolicy)
    }
    assert windows == {"hourly_archives": 4, "archive_catalog": 4, "today": 4, "deployed_model": 36}


def test_verdicts_of_hourly_assets_are_of_one_hour(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    checks = {
        key.name: graph.get(key).partitions_def for asset in HOURLY for key in graph.get(dg.AssetKey(asset)).check_keys
    }
    assert set(checks) == {
        "every_camera_archived",
        "every_camera_reclaimed",
        "every_camera_tabled",
        "no_row_in_quarantine",
        "every_camera_healthy",
        "no_camera_drifted",
    }
    assert all(isinstance(found, dg.HourlyPartitionsDefinition) for found in checks.values())
