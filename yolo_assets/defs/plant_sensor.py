"""The form that all sensors of the plant have: they keep Dagster's instance open from one tick to the next.

Dagster opens its instance anew for each tick, which reads the list of its database's versions from disk: a tenth of a
second of processor time a tick, most of what an idle plant costs. Belongs here: how a tick gets its instance, and how
often sensors look. Does not belong here: what they look at.
"""

from __future__ import annotations

import atexit
import copy
import threading
from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg
from dagster._core.instance.ref import InstanceRef

LOOK_SECONDS = 60
"""Between two looks of a sensor that carries work. Announcements are acted on at once, by another process."""
PEOPLE_SECONDS = 300
"""Between two looks of a sensor that informs people."""
FOR_PEOPLE = {"yolo_assets/for": "people"}
"""Tag of sensors that carry no work: who drives the graph by hand leaves them out."""

_lock = threading.Lock()
_kept: dict[str, tuple[InstanceRef, dg.DagsterInstance]] = {}


def kept_instance(ref: InstanceRef) -> dg.DagsterInstance:
    """The instance of a reference, opened once in this process and closed at its end.

    Dagster's own UI shares one instance between threads as well: each query has a connection of its own. Of a reference
    that changed, because the daemon started with another configuration, a new one is opened.
    """
    with _lock:
        known = _kept.get("instance")
        if known is not None and known[0] == ref:
            return known[1]
        opened = dg.DagsterInstance.from_ref(ref)
        if known is None:
            atexit.register(_close)
        # One that another tick may still use is not closed here: it holds no connection between queries.
        _kept["instance"] = ref, opened
        return opened


def _close() -> None:
    _, instance = _kept.pop("instance")
    instance.dispose()


def with_kept_instance(context: dg.SensorEvaluationContext) -> dg.SensorEvaluationContext:
    """The same tick with the kept instance. Without a reference, in a test, the context has its instance already."""
    if context.instance_ref is None:
        return context
    return dg.SensorEvaluationContext(
        instance_ref=context.instance_ref,
        instance=kept_instance(context.instance_ref),
        last_tick_completion_time=context.last_tick_completion_time,
        last_run_key=context.last_run_key,
        cursor=context.cursor,
        log_key=context.log_key,
        repository_name=context.repository_name,
        repository_def=context.repository_def,
        sensor_name=context.sensor_name,
        resources=context.resource_defs,
        last_sensor_start_time=context.last_sensor_start_time,
        code_location_origin=context.code_location_origin,
    )


class PlantSensor(dg.SensorDefinition):
    """A sensor whose ticks share one instance. ``plant_sensor`` makes it of a function."""

    def evaluate_tick(self, context: dg.SensorEvaluationContext) -> Any:
        """Dagster's tick, on the kept instance."""
        with with_kept_instance(context) as kept:
            return super().evaluate_tick(kept)

    def with_attributes(self, **changed: Any) -> PlantSensor:
        """A copy, made while definitions are composed. Dagster's own would be a plain sensor."""
        made = copy.copy(self)
        vars(made).update(vars(super().with_attributes(**changed)))
        return made


def plant_sensor(
    *,
    target: dg.AssetSelection | dg.JobDefinition,
    description: str,
    seconds: int = LOOK_SECONDS,
    tags: Mapping[str, str] | None = None,
) -> Callable[[Callable[..., Any]], PlantSensor]:
    """Make a running sensor of a function that takes the context, and resources by name.

    Args:
        target: what it may request.
        description: shown in the UI.
        seconds: between two ticks.
        tags: of the sensor.
    """

    def made(function: Callable[..., Any]) -> PlantSensor:
        return PlantSensor(
            function.__name__,
            evaluation_fn=function,
            target=target,
            minimum_interval_seconds=seconds,
            default_status=dg.DefaultSensorStatus.RUNNING,
            description=description,
            tags=tags,
        )

    return made


def people_sensor(description: str) -> Callable[[Callable[..., Any]], PlantSensor]:
    """Make a sensor that informs people: it requests nothing, and is shown beside ``today``.

    Args:
        description: shown in the UI.
    """
    return plant_sensor(
        target=dg.AssetSelection.assets("today"), description=description, seconds=PEOPLE_SECONDS, tags=FOR_PEOPLE
    )
