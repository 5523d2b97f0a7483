"""Dagster's daemon in one process, with a clock of ours: ticks sensors and conditions and runs what they request.

As the daemon does, it keeps each sensor's cursor, stores what a sensor reports, starts a run key once, and goes on
after a run or a tick that failed. Runs execute at once, one after the other.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster._core.test_utils import freeze_time

from yolo_assets.contracts.times import utc_now

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Ran:
    """A run of the daemon."""

    assets: tuple[str, ...]
    partition: str | None
    success: bool
    at: datetime
    tags: dict[str, str]


@dataclass
class AutomationDaemon:
    """Over one instance and one set of definitions. Not for several threads.

    Attributes:
        before_run: called before each run, with its assets.
        running: assets of the run that goes on; empty between runs.
        failed_ticks: the error of each sensor tick that failed.
    """

    definitions: dg.Definitions
    instance: dg.DagsterInstance
    now: datetime = field(default_factory=utc_now)
    sensors: tuple[str, ...] | None = None
    runs: list[Ran] = field(default_factory=list)
    failed_ticks: list[str] = field(default_factory=list)
    before_run: Callable[[tuple[str, ...]], object] = lambda _: None
    running: tuple[str, ...] = ()
    _cursors: dict[str, str | None] = field(default_factory=dict)
    _run_keys: set[tuple[str, str]] = field(default_factory=set)
    _conditions: Any = None

    def __post_init__(self) -> None:
        self._job = self.definitions.resolve_implicit_global_asset_job_def()
        self._repository = self.definitions.get_repository_def()

    def tick(self) -> list[Ran]:
        """One tick of every sensor and of the conditions, and every run they request. Returns these runs."""
        before = len(self.runs)
        with self._time():
            requests = [request for sensor in self._plain_sensors() for request in self._evaluate(sensor)]
            for name, request in requests:
                self._launch(name, request)
            self._evaluate_conditions()
        return self.runs[before:]

    def tick_sensors(self) -> list[str]:
        """One tick of every sensor; runs that they request are not started. Returns the errors of failed ticks."""
        before = len(self.failed_ticks)
        with self._time():
            for sensor in self._plain_sensors():
                self._evaluate(sensor)
        return self.failed_ticks[before:]

    def last_error(self) -> str:
        """Why the newest run failed, innermost cause."""
        run = self.instance.get_runs(limit=1)[0]
        for entry in self.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
            error = entry.get_dagster_event().step_failure_data.error
            while error is not None and error.cause is not None:
                error = error.cause
            return str(error)
        return "no step failed"

    def step_retries(self) -> int:
        """How often a step of any run was retried."""
        runs = self.instance.get_runs()
        kind = dg.DagsterEventType.STEP_UP_FOR_RETRY
        return sum(len(self.instance.all_logs(run.run_id, of_type=kind)) for run in runs)

    def advance(self, span: timedelta) -> list[Ran]:
        """Later by ``span``, then one tick."""
        self.now += span
        return self.tick()

    def settle(self, span: timedelta = timedelta(minutes=1), most: int = 40) -> list[Ran]:
        """Ticks, each ``span`` later, until one requests nothing and nothing waits. Returns every run."""
        before = len(self.runs)
        for _ in range(most):
            if not self.advance(span) and not self.waiting():
                return self.runs[before:]
        raise AssertionError(f"still at work after {most} ticks: {self.runs[-5:]}, {self.failed_ticks[-3:]}")

    def waiting(self) -> bool:
        """Whether the recovery sensor's cursor holds unfinished work, or the last tick of a sensor failed."""
        return '"run"' in (self._cursors.get("recovery_sensor") or "") or self._tick_failed

    def run(
        self,
        *assets: str,
        partition: str | None = None,
        tags: dict[str, str] | None = None,
        config: dict[str, Any] | None = None,
    ) -> bool:
        """A run that a person starts."""
        with self._time():
            return self._execute(assets, partition, config or {}, tags or {})

    _tick_failed: bool = False

    def _plain_sensors(self) -> Iterator[dg.SensorDefinition]:
        self._tick_failed = False
        for sensor in self.definitions.sensors or []:
            if isinstance(sensor, dg.AutomationConditionSensorDefinition):
                continue
            assert isinstance(sensor, dg.SensorDefinition)
            if self.sensors is None or sensor.name in self.sensors:
                yield sensor

    def _evaluate(self, sensor: dg.SensorDefinition) -> list[tuple[str, dg.RunRequest]]:
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self._cursors.get(sensor.name),
            repository_def=self._repository,
            resources=dict(self.definitions.resources or {}),
        ) as context:
            try:
                data = sensor.evaluate_tick(context)
            except Exception as error:  # as the daemon: the tick is marked as failed, the next one comes
                cause = error.__cause__ or error
                self.failed_ticks.append(f"{sensor.name}: {cause}")
                self._tick_failed = True
                return []
        for event in data.asset_events:
            self.instance.report_runless_asset_event(event)  # pyright: ignore[reportArgumentType]
        self._cursors[sensor.name] = data.cursor
        return [(sensor.name, request) for request in data.run_requests or []]

    def _launch(self, sensor: str, request: dg.RunRequest) -> None:
        if request.run_key is not None:
            if (sensor, request.run_key) in self._run_keys:
                return
            self._run_keys.add((sensor, request.run_key))
        assets = tuple(key.to_user_string() for key in request.asset_selection or ())
        self._execute(assets, request.partition_key, dict(request.run_config), dict(request.tags))

    def _evaluate_conditions(self) -> None:
        for _ in range(20):
            found = dg.evaluate_automation_conditions(self.definitions, self.instance, cursor=self._conditions)
            self._conditions = found.cursor
            requested: dict[str | None, list[str]] = {}
            for spec in self.definitions.resolve_all_asset_specs():
                for partition in found.get_requested_partitions(spec.key):
                    requested.setdefault(partition, []).append(spec.key.to_user_string())
            if not requested:
                return
            for partition, assets in requested.items():
                self._execute(tuple(assets), partition, {}, {})
        raise AssertionError("the conditions request runs without end")

    def _execute(
        self, assets: tuple[str, ...], partition: str | None, config: dict[str, Any], tags: dict[str, str]
    ) -> bool:
        self.before_run(assets)
        self.running = assets
        try:
            result = self._job.execute_in_process(
                instance=self.instance,
                partition_key=partition,
                asset_selection=[dg.AssetKey.from_user_string(asset) for asset in assets],
                run_config={**QUIET, **config},
                raise_on_error=False,
                tags=tags,
            )
        finally:
            self.running = ()
        self.runs.append(Ran(assets, partition, result.success, self.now, tags))
        return result.success

    @contextlib.contextmanager
    def _time(self) -> Iterator[None]:
        with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch, freeze_time(self.now):
            warnings.simplefilter("ignore")
            patch.setattr("yolo_assets.defs.recovery.sensors.utc_now", lambda: self.now)
            patch.setattr("dagster._core.definitions.policy.calculate_delay", lambda **_: 0)
            logging.getLogger("dagster").setLevel(logging.CRITICAL)
            yield
