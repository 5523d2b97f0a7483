"""Ticks of the plant's sensors as the code server evaluates them: one instance for all of them."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._core.instance.ref import InstanceRef

from yolo_assets.defs import plant_sensor as module
from yolo_assets.defs.automation import AutomationSensor
from yolo_assets.defs.plant_sensor import PlantSensor, plant_sensor


class Plant(dg.ConfigurableResource):
    """A resource, which Dagster opens its instance for."""

    name: str = "north"


seen: list[tuple[dg.DagsterInstance, str | None, object]] = []


@plant_sensor(target=dg.AssetSelection.all(), description="looks")
def looking(context: dg.SensorEvaluationContext, plant: Plant) -> dg.SensorResult:
    """Notes what it was given."""
    seen.append((context.instance, context.cursor, context.log_key))
    return dg.SensorResult(skip_reason=plant.name, cursor="after")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dg.DagsterInstance]]:
    """Every instance that was opened by a reference; none is kept before and after."""
    found: list[dg.DagsterInstance] = []
    real = dg.DagsterInstance.from_ref

    def counted(ref: InstanceRef) -> dg.DagsterInstance:
        found.append(real(ref))
        return found[-1]

    monkeypatch.setattr(dg.DagsterInstance, "from_ref", counted)
    monkeypatch.setattr(module, "_kept", {})
    monkeypatch.setattr(module.atexit, "register", lambda _: None)
    seen.clear()
    yield found
    for instance in found:
        instance.dispose()


def tick(ref: InstanceRef) -> str | None:
    """One, with the context that Dagster's code server builds."""
    with dg.SensorEvaluationContext(
        ref,
        cursor="before",
        log_key=["a", "b", "1"],
        sensor_name="looking",
        resources={"plant": dg.ResourceDefinition.hardcoded_resource(Plant())},
    ) as context:
        return looking.evaluate_tick(context).skip_message


def test_ticks_share_one_instance(tmp_path, opened) -> None:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        opened.clear()
        assert [tick(instance.get_ref()) for _ in range(3)] == ["north"] * 3
    assert len(opened) == 1
    assert [(found is opened[0], cursor, key) for found, cursor, key in seen] == [(True, "before", ["a", "b", "1"])] * 3


def test_another_configuration_opens_another_instance(tmp_path, opened) -> None:
    refs: list[InstanceRef] = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        with dg.instance_for_test(temp_dir=str(tmp_path / name)) as instance:
            refs.append(instance.get_ref())
    opened.clear()
    for ref in (refs[0], refs[0], refs[1], refs[1]):
        tick(ref)
    assert len(opened) == 2
    assert seen[-1][0] is opened[1]


def test_a_database_that_is_away_is_tried_again(tmp_path, opened, monkeypatch) -> None:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        ref = instance.get_ref()
    working = dg.DagsterInstance.from_ref

    def away(_: InstanceRef) -> dg.DagsterInstance:
        raise ConnectionError("the database is away")

    with monkeypatch.context() as patch:
        patch.setattr(dg.DagsterInstance, "from_ref", away)
        with pytest.raises(ConnectionError):
            tick(ref)
    assert dg.DagsterInstance.from_ref == working
    assert tick(ref) == "north"


def test_every_sensor_of_the_plant_keeps_its_instance() -> None:
    from yolo_assets.definitions import defs

    sensors = defs().get_repository_def().sensor_defs
    assert len(sensors) >= 8
    assert [sensor.name for sensor in sensors if not isinstance(sensor, PlantSensor | AutomationSensor)] == []


def test_a_copy_is_of_the_same_kind() -> None:
    copied = looking.with_attributes(metadata={"plant": "north"})
    assert isinstance(copied, PlantSensor)
    assert (copied.name, copied.minimum_interval_seconds, copied.required_resource_keys) == ("looking", 60, {"plant"})
    assert set(copied.metadata) == {"plant"}
    assert not looking.metadata
