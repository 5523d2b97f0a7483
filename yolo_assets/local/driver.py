"""The asset graph driven from one process: the same sensors and conditions as the daemon's, evaluated at once.

The demo uses it to save the tick intervals and a process for each run. Everything is stored in the real instance
(``DAGSTER_HOME``) and ``make up`` shows it. ``make up`` itself runs the daemon, with its own processes.
"""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.times import Hour, utc_now

if TYPE_CHECKING:
    import dagster as dg
    from dagster_shared.error import SerializableErrorInfo

    from yolo_assets.defs.lanes import HourRange

_FAILURE = "dagster._core.definitions.events.Failure: "
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class Graph:
    """The graph over one home. Not for several threads."""

    def __init__(self, on_run: Callable[[str], None] = lambda _: None) -> None:
        """Open the instance that ``DAGSTER_HOME`` names; ``YOLO_ASSETS_*`` must be set already.

        Args:
            on_run: called with one line for each run that is about to start.
        """
        with _no_dagster_warnings():
            import dagster as dg

            from yolo_assets.definitions import defs

            self._dg = dg
            self._defs = defs()
            self._on_run = on_run
            self._conditions: Any = None
            self._cursors: dict[str, str | None] = {}
            self.instance = dg.DagsterInstance.get()
            self._job = self._defs.resolve_implicit_global_asset_job_def()

    def __enter__(self) -> Graph:
        return self

    def __exit__(self, *_: object) -> None:
        self.instance.dispose()

    def look(self) -> int:
        """A tick of each sensor that carries work; their reports are stored. Returns how many events were reported."""
        with _no_dagster_warnings(), _ctrl_c():
            return self._look()

    def _look(self) -> int:
        from yolo_assets.defs.plant_sensor import FOR_PEOPLE

        reported = 0
        for sensor in self._defs.sensors or []:
            if isinstance(sensor, self._dg.AutomationConditionSensorDefinition) or sensor.tags.keys() & FOR_PEOPLE:
                continue
            with self._dg.build_sensor_context(
                instance=self.instance,
                cursor=self._cursors.get(sensor.name),
                repository_def=self._defs.get_repository_def(),
                resources=dict(self._defs.resources or {}),
            ) as context:
                data = sensor.evaluate_tick(context)
            self._cursors[sensor.name] = data.cursor
            for event in data.asset_events:
                self.instance.report_runless_asset_event(event)  # pyright: ignore[reportArgumentType]
                reported += 1
        return reported

    def carry(self) -> list[str]:
        """Evaluate the automation conditions and run what they request, until nothing more is requested.

        A run that fails does not stop the others: what hangs on the rest of an hour is requested and run.

        Returns:
            The assets that ran, one entry a partition.

        Raises:
            UserError: runs failed; the message is the cause of the first.
        """
        done: list[str] = []
        failed: list[UserError] = []
        for _ in range(50):  # the graph is a few assets deep: more rounds than this mean a loop
            with warnings.catch_warnings(), _ctrl_c_waits():
                warnings.simplefilter("ignore")
                evaluated = self._dg.evaluate_automation_conditions(self._defs, self.instance, cursor=self._conditions)
            self._conditions = evaluated.cursor
            requested: dict[str | None, list[dg.AssetKey]] = defaultdict(list)
            for spec in self._defs.resolve_all_asset_specs():
                for partition in evaluated.get_requested_partitions(spec.key):
                    requested[partition].append(spec.key)
            if not requested:
                if failed:
                    raise failed[0]
                return done
            for assets, hours in _runs(requested):
                try:
                    self.run(assets, hours)
                except UserError as error:
                    failed.append(error)
                partitions = [hour.partition_key for hour in hours.hours] if hours is not None else [""]
                done += [f"{asset}[{partition}]" for partition in partitions for asset in assets]
        raise UserError("the automation conditions request runs without end; see the Automation page of the UI")

    def run(
        self, assets: Sequence[str], hours: HourRange | None = None, config: Mapping[str, Any] | None = None
    ) -> dict[str, dict[str, Any]]:
        """Materialize assets in one run.

        Args:
            assets: their keys as Dagster shows them.
            hours: of the run; None for assets without partitions.
            config: of the run.

        Returns:
            Metadata of each asset that was materialized, plain values by name; of several hours the last one's.

        Raises:
            UserError: the run failed; the message is its cause.
            KeyboardInterrupt: Ctrl-C came during the run, which Dagster takes for a failure of it.
        """
        from yolo_assets.defs.lanes import hours_request

        request = hours_request(assets, hours, utc_now(), "the demo") if hours is not None else None
        self._on_run(", ".join(assets) + (f"  {hours}" if hours is not None else ""))
        with _no_dagster_warnings(), _ctrl_c():
            result = self._job.execute_in_process(
                instance=self.instance,
                partition_key=request.partition_key if request is not None else None,
                asset_selection=[self._dg.AssetKey(asset) for asset in assets],
                run_config={**QUIET, **(config or {})},
                raise_on_error=False,
                tags={**(request.tags if request is not None else {}), "yolo_assets/driven_by": "demo"},
            )
        if not result.success:
            raise UserError(f"{', '.join(assets)} failed: {_cause(result)} (run {result.run_id})")
        made: dict[str, dict[str, Any]] = {}
        for event in result.get_asset_materialization_events():
            materialization = event.step_materialization_data.materialization
            made[materialization.asset_key.to_user_string()] = _plain(materialization)
        return made

    def history(self, asset: str) -> list[dict[str, Any]]:
        """Metadata of every materialization of an asset in this instance, oldest first."""
        records = self.instance.fetch_materializations(self._dg.AssetKey(asset), limit=10_000, ascending=True).records
        return [_plain(record.asset_materialization) for record in records if record.asset_materialization is not None]

    def latest(self, asset: str) -> dict[str, Any]:
        """Metadata of the newest materialization of an asset; empty when there is none."""
        return (self.history(asset) or [{}])[-1]


def _runs(requested: Mapping[str | None, Sequence[dg.AssetKey]]) -> Iterator[tuple[list[str], HourRange | None]]:
    """The runs for what the conditions request: neighbouring hours of the same assets in one, as the daemon does it.

    Args:
        requested: assets by the hour's partition, or by None.
    """
    from yolo_assets.defs.lanes import pack

    hours: dict[tuple[str, ...], list[Hour]] = defaultdict(list)
    for partition, keys in requested.items():
        if partition is not None:
            hours[tuple(key.to_user_string() for key in keys)].append(Hour.from_partition_key(partition))
    packed = [(span, assets) for assets, of_these in hours.items() for span in pack(of_these)]
    for span, assets in sorted(packed, key=lambda run: run[0].first):
        yield list(assets), span
    if None in requested:
        yield [key.to_user_string() for key in requested[None]], None


def _plain(materialization: dg.AssetMaterialization) -> dict[str, Any]:
    return {name: getattr(value, "value", value) for name, value in materialization.metadata.items()}


@contextmanager
def _no_dagster_warnings() -> Iterator[None]:
    """Dagster's warnings about features in preview are not for those who watch the demo."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="dagster")
        yield


@contextmanager
def _ctrl_c() -> Iterator[None]:
    """Ctrl-C in the block is KeyboardInterrupt at its end, if not before.

    While a step runs Dagster raises an error of its own; between steps it only sets a flag, which is lost when the run
    ends. Libraries turn it into errors of theirs (pydantic, while it serializes): any error in a block in which Ctrl-C
    was pressed is Ctrl-C. The interpreter writes every signal to the wake-up descriptor, whatever the handler.
    """
    import dagster as dg

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread receives signals
        return
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    os.set_blocking(write_end, False)
    before = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    failed: Exception | None = None
    try:
        yield
    except dg.DagsterExecutionInterruptedError:
        raise KeyboardInterrupt from None
    except Exception as error:
        failed = error
    finally:
        signal.set_wakeup_fd(before)
        with os.fdopen(read_end, "rb") as pipe, os.fdopen(write_end, "wb"):
            numbers = pipe.read() or b""
    if signal.SIGINT in numbers:
        raise KeyboardInterrupt from None
    if failed is not None:
        raise failed


@contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """Ctrl-C takes effect at the end of the block, which is short.

    Dagster evaluates conditions in an event loop. Tasks that are cancelled half-way leave futures which other tasks
    still resolve: a page of InvalidStateError for one Ctrl-C. With a handler in place the loop installs none.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread receives signals
        return
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.default_int_handler)
    if pressed:
        raise KeyboardInterrupt


def _errors(result: dg.ExecuteInProcessResult) -> Iterator[SerializableErrorInfo]:
    """Every error of the run's failed steps and of the run itself, each followed by its causes."""
    for event in result.all_events:
        error = event.step_failure_data.error if event.is_step_failure else None
        if event.is_job_failure:
            error = event.job_failure_data.error
        while error is not None:
            yield error
            error = error.cause


def _cause(result: dg.ExecuteInProcessResult) -> str:
    """The innermost error message of the first failed step."""
    for error in _errors(result):
        if error.cause is None:
            return " ".join(error.message.split()).removeprefix(_FAILURE)
    return "no step reported a cause; see the run in the UI"
