"""Named automation conditions. Each docstring says what would go wrong without it.

Sensors watch what is outside the graph; conditions react inside it. Plain ``eager()`` is not used: it covers only the
latest hour, so a camera that was offline overnight would never be archived. A request counts as handled here even when
its run fails; ``recovery`` requests that work again.
"""

from __future__ import annotations

import dagster as dg

_Condition = dg.AutomationCondition


def _handled() -> dg.AutomationCondition:
    """Requested or made since the last tick. A failure of an input that came with it is newer than the request."""
    return (_Condition.newly_requested() | _Condition.newly_updated()) & ~_deps_failed()


def _deps_absent() -> dg.AutomationCondition:
    """An input has nothing for the hour. One that failed has what its other cameras gave."""
    return _Condition.any_deps_match(
        _Condition.missing() & ~_Condition.execution_failed() & ~_Condition.will_be_requested()
    )


def _deps_failed() -> dg.AutomationCondition:
    """A run of an input has just failed: the cameras that did not fail are done, though nothing is materialized."""
    return _Condition.any_deps_match((_Condition.execution_failed() & ~_Condition.in_progress()).newly_true())


def on_hour() -> dg.AutomationCondition:
    """Run an hour once its inputs are there, and again whenever one of them changes.

    Any hour, not only the latest: late hours are the rule after a network fault. An hour whose inputs were reported
    before this condition was first evaluated counts too (``newly_true`` of missing-but-ready), else what arrived while
    the daemon was down would wait for ever. An hour of an input that failed counts as there: one bad camera must not
    keep the others' files in the spool.
    """
    ready = (_Condition.missing() & ~_deps_absent()).newly_true()
    return (
        (ready | _Condition.any_deps_updated() | _deps_failed()).since(_handled())
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
    return _on_change(_Condition.any_deps_updated(), "on_change")


def on_any_hour() -> dg.AutomationCondition:
    """``on_change``, and also when an hour of an input failed: what its other cameras gave is in the archive."""
    return _on_change(_Condition.any_deps_updated() | _deps_failed(), "on_any_hour")


def _on_change(changed: dg.AutomationCondition, label: str) -> dg.AutomationCondition:
    never_made = (_Condition.missing() & _Condition.any_deps_match(~_Condition.missing())).newly_true()
    return ((never_made | changed).since(_handled()) & ~_Condition.in_progress()).with_label(label)


def on_good_change() -> dg.AutomationCondition:
    """``on_change``, and only when the blocking checks of the inputs passed.

    ``blocking=True`` gates only its own run; the next tick would request what is downstream of a failed check. The
    asset that promotes a model verifies again inside its function.
    """
    return (
        _Condition.any_deps_updated().since(_handled())
        & ~_Condition.any_deps_missing()
        & ~_Condition.any_deps_in_progress()
        & ~_Condition.in_progress()
        & _Condition.all_deps_blocking_checks_passed()
    ).with_label("on_good_change")


def daily() -> dg.AutomationCondition:
    """Once a day at 03:00 UTC, whatever came since: people label batches, not a stream of small ones."""
    return (_Condition.cron_tick_passed("0 3 * * *").since(_handled()) & ~_Condition.in_progress()).with_label("daily")


automation = dg.AutomationConditionSensorDefinition(
    "automation",
    target=dg.AssetSelection.all(),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=15,
    description="Evaluates the conditions of all assets. Without this definition Dagster's own sensor starts stopped.",
)
