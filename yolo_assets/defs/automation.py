"""Named automation conditions. Each docstring says what would go wrong without it.

Sensors watch what is outside the graph; conditions react inside it. Plain ``eager()`` is not used: it covers only the
latest hour, so a camera that was offline overnight would never be archived. A request counts as handled here even when
its run fails; ``recovery`` requests that work again.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import dagster as dg
from dagster._core.definitions.sensor_definition import SensorExecutionData
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, BulkActionsFilter, BulkActionStatus
from dagster_shared.record import copy

from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.defs.inputs_changed import InputsChanged, NeverTried
from yolo_assets.defs.lanes import hours_request, is_live, pack, run_tags
from yolo_assets.defs.plant_sensor import with_kept_instance
from yolo_assets.defs.training_due import MEMORY, TrainingDue

_Condition = dg.AutomationCondition


def _handled() -> dg.AutomationCondition:
    return _Condition.newly_requested() | _Condition.newly_updated()


def _deps_absent() -> dg.AutomationCondition:
    """An input has nothing for the hour. One that failed has what its other cameras gave."""
    return _Condition.any_deps_match(
        _Condition.missing() & ~_Condition.execution_failed() & ~_Condition.will_be_requested()
    )


def _still_missing(inputs: dg.AutomationCondition) -> dg.AutomationCondition:
    """Missing since its inputs are there, not requested since then, and never tried: ``recovery`` has what failed."""
    return (_Condition.missing() & inputs).newly_true().since(_handled()) & NeverTried()


def on_hour() -> dg.AutomationCondition:
    """Run an hour once its inputs are there, and again whenever the data version of one of them changes.

    Any hour, not only the latest: late hours are the rule after a network fault. An hour whose inputs were reported
    before this condition was first evaluated counts too (``newly_true`` of missing-but-ready), else what arrived while
    the daemon was down would wait for ever. What follows an hour that is requested now comes into the same run. An
    input that failed holds nothing back: one bad camera must not keep the others' files in the spool.
    """
    ready = _still_missing(~_Condition.any_deps_missing())
    return (
        (InputsChanged() | ready | _Condition.any_deps_match(_Condition.will_be_requested()))
        & ~_deps_absent()
        & ~_Condition.any_deps_in_progress()
        & ~_Condition.in_progress()
    ).with_label("on_hour")


def on_change() -> dg.AutomationCondition:
    """For an asset without partitions over hourly inputs: run when any input changed, one run at a time.

    It does not wait for missing hours (there are always some) nor for inputs in progress (during a backfill there are
    always some): ``eager()`` would never fire. Inputs that were there before this condition was first evaluated count
    too: a new centre may report a full archive before its conditions were ever evaluated.
    """
    never_made = _still_missing(_Condition.any_deps_match(~_Condition.missing()))
    return (
        (InputsChanged() | never_made | _Condition.any_deps_match(_Condition.will_be_requested()))
        & ~_Condition.in_progress()
    ).with_label("on_change")


def on_good_change() -> dg.AutomationCondition:
    """``on_change``, and only when the blocking checks of the inputs passed.

    ``blocking=True`` gates only its own run; the next tick would request what is downstream of a failed check. The
    asset that promotes a model verifies again inside its function.
    """
    return (
        (InputsChanged() | _Condition.any_deps_match(_Condition.will_be_requested()))
        & ~_Condition.any_deps_missing()
        & ~_Condition.any_deps_in_progress()
        & ~_Condition.in_progress()
        & _Condition.all_deps_blocking_checks_passed()
    ).with_label("on_good_change")


DAILY = frozenset({"annotation_batch", "suspicious_labels"})
"""What has the condition ``daily``."""


def on_training_due() -> dg.AutomationCondition:
    """When the plant's policy wants a training, and the blocking checks of the dataset passed.

    ``on_good_change`` would start nine trainings for nine label files, one after the other. What waits is not
    forgotten: it is counted from the dataset of the newest attempt, whatever became of that.
    """
    return (
        ~_Condition.any_deps_missing()
        & ~_Condition.any_deps_in_progress()
        & ~_Condition.in_progress()
        & _Condition.all_deps_blocking_checks_passed()
        & TrainingDue()
    ).with_label("on_training_due")


def daily() -> dg.AutomationCondition:
    """Once a day at 03:00 UTC, whatever came since: people label batches, not a stream of small ones."""
    return (_Condition.cron_tick_passed("0 3 * * *").since(_handled()) & ~_Condition.in_progress()).with_label("daily")


class AutomationSensor(dg.AutomationConditionSensorDefinition):
    """Evaluates the conditions, packs the hours they request into runs, and gives each run its lane.

    Dagster's own requests are one run a partition, or one backfill for everything that a tick requests, and their tags
    are the same for all: live hours would wait among thousands of old ones. It is evaluated in the code server: the
    daemon knows no conditions but Dagster's own.
    """

    def __init__(self, metadata: Any = None) -> None:
        """The one automation of the graph.

        Args:
            metadata: shown with it in the UI.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", dg.BetaWarning)  # of use_user_code_server, at every load of every process
            super().__init__(
                "automation",
                target=dg.AssetSelection.all(),
                default_status=dg.DefaultSensorStatus.RUNNING,
                minimum_interval_seconds=30,
                description=(
                    "Evaluates the conditions of all assets, and packs what they request into runs. Without this "
                    "definition Dagster's own sensor starts stopped."
                ),
                metadata=metadata,
                emit_backfills=False,
                use_user_code_server=True,
            )

    _quiet_ticks: int = 0
    """Evaluations in a row that found the same state and requested nothing."""
    _known: tuple[str | None, Any] = (None, None)
    """The cursor that the newest evaluation returned, and the state that it found."""

    def evaluate_tick(self, context: dg.SensorEvaluationContext) -> Any:
        """Dagster's tick; its requests packed and tagged.

        An evaluation costs the more the older the plant is, also when nothing happens for hours. After two in a row
        that requested nothing there is none until something happens, or a time comes for which a training waits.
        """
        with with_kept_instance(context) as kept:
            return self._evaluate(kept)

    def _evaluate(self, context: dg.SensorEvaluationContext) -> SensorExecutionData:
        state = _state(context.instance)
        rests = self._quiet_ticks >= 2 and not MEMORY.must_look(utc_now())
        if rests and (context.cursor, state) == self._known:
            return SensorExecutionData(skip_message="nothing happened since the last evaluation", cursor=context.cursor)
        data = super().evaluate_tick(context)
        if data.run_requests:
            self._quiet_ticks = 0
        else:
            self._quiet_ticks = self._quiet_ticks + 1 if state == self._known[1] else 1
        self._known = (data.cursor, state)
        return copy(data, run_requests=in_lanes(data.run_requests or (), utc_now()))

    def with_attributes(self, *, jobs: Any = None, metadata: Any = None) -> AutomationSensor:
        """A copy, made while definitions are composed. Dagster's own would be of its own class."""
        return AutomationSensor(metadata)


def _state(instance: dg.DagsterInstance) -> tuple[Any, ...]:
    """What conditions depend on: events, backfills, and the hour, with which partitions and schedules begin."""
    unfinished = BulkActionsFilter(statuses=[s for s in BulkActionStatus if s not in BULK_ACTION_TERMINAL_STATUSES])
    backfills = tuple(sorted(backfill.backfill_id for backfill in instance.get_backfills(unfinished)))
    return instance.event_log_storage.get_maximum_record_id(), backfills, Hour.of(utc_now())


def in_lanes(requests: Iterable[dg.RunRequest], now: datetime) -> list[dg.RunRequest]:
    """The same work in fewer runs: neighbouring hours of the same assets together, live hours apart from old ones.

    Args:
        requests: of the conditions, each for one partition or for assets without partitions.
        now: aware.
    """
    made: list[dg.RunRequest] = []
    hours: dict[tuple[tuple[str, ...], bool], list[Hour]] = defaultdict(list)
    tags: dict[str, str] = {}
    for request in requests:
        assets = tuple(sorted(key.to_user_string() for key in request.asset_selection or ()))
        if request.partition_key is not None:
            hour = Hour.from_partition_key(request.partition_key)
            hours[assets, is_live(hour, now)].append(hour)
            tags |= {name: value for name, value in request.tags.items() if name != "dagster/partition"}
        else:
            why = "the daily batch" if set(assets) <= DAILY else "an input is new or has changed"
            if assets == ("trained_weights",) and MEMORY.why:
                why = MEMORY.why
            made.append(request.with_replaced_attrs(tags={**request.tags, **run_tags(assets, (), now, why)}))
    for (assets, live), found in sorted(hours.items(), reverse=True):
        why = f"{'these hours' if live else 'these old hours'} are new, or an input of them has changed"
        for packed in pack(found):
            # Dagster resolved the requests already: nobody adds the partition to the run's tags after this.
            one = {"dagster/partition": packed.first.partition_key} if packed.first == packed.last else {}
            made.append(hours_request(assets, packed, now, why, tags={**tags, **one}))
    return made


automation = AutomationSensor()
