"""The condition that the plant's policy starts a training: ``training`` in ``plant.yaml``.

    labels ─► training_dataset ──────┐
    the cameras' states, the clock ──┴─► due ─► trained_weights is requested

Belongs here: what Dagster knows of the last training and of what came since. Does not belong here: the policy
(``training.starting``), and what else a training waits for (``automation``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.plant import load_plant
from yolo_assets.contracts.times import utc_now
from yolo_assets.defs.event_log import NO_PARTITION, EventLog
from yolo_assets.defs.resources import Locations

if TYPE_CHECKING:
    from dagster._core.definitions.declarative_automation.automation_context import AutomationContext

    from yolo_assets.training.starting import NewLabels, StartDecision

WEIGHTS, DATASET = dg.AssetKey("trained_weights"), dg.AssetKey("training_dataset")
_VERSION = "dagster/data_version"
_LOOK_AGAIN = timedelta(minutes=1)


@dataclass
class DueMemory:
    """What the newest evaluation said; of one process.

    Attributes:
        why: a training was requested, or is not.
        look_at: when the answer may change without an event; None: never.
    """

    why: str = ""
    look_at: datetime | None = None
    counted: dict[tuple[str | None, str], int] = field(default_factory=dict)

    def must_look(self, now: datetime) -> bool:
        """Whether a time has come for which a training waits."""
        return self.look_at is not None and now >= self.look_at


MEMORY = DueMemory()


class TrainingDue(dg.AutomationCondition):
    """True while the plant's policy wants a training of what came since the last one."""

    @property
    def name(self) -> str:
        """As the UI shows it."""
        return "training_due"

    @property
    def description(self) -> str:
        """As the UI shows it."""
        return "Enough was labelled, or it waited long enough: training in plant.yaml"

    @property
    def requires_cursor(self) -> bool:
        """It remembers nothing."""
        return False

    def evaluate(self, context: AutomationContext) -> dg.AutomationResult:
        """Asked last, when nothing else holds a training back."""
        empty = context.get_empty_subset()
        if context.candidate_subset.is_empty:
            MEMORY.look_at = None
            return dg.AutomationResult(context, empty)
        now = context.evaluation_time
        try:
            decision = start_decision(context.asset_graph_view.instance, Locations.from_env(), now)
            MEMORY.why, MEMORY.look_at = decision.why, decision.look_at
        except UserError as error:  # a store that is away, a plant.yaml that is wrong: no reason to stop all conditions
            MEMORY.why, MEMORY.look_at = str(error), now + _LOOK_AGAIN
            return dg.AutomationResult(context, empty)
        return dg.AutomationResult(context, context.candidate_subset if decision.due else empty)


def start_decision(instance: dg.DagsterInstance, locations: Locations, now: datetime) -> StartDecision:
    """Whether a training is due, of what the newest attempt has not seen.

    Args:
        instance: with the events of ``training_dataset`` and ``trained_weights``.
        locations: the store with the datasets, and ``plant.yaml``.
        now: aware.

    Raises:
        UserError: ``plant.yaml`` is wrong, or the store does not answer.
    """
    from yolo_assets.training.starting import StartDecision, decide_start

    policy = load_plant(locations.settings).training
    new = _new_labels(instance, locations)
    return decide_start(policy, new, now) if new is not None else StartDecision(False, "there is no dataset yet")


def decision_of(dagster_home: Path, locations: Locations) -> StartDecision:
    """Whether a training is due now, of the instance in a folder with a ``dagster.yaml``.

    Raises:
        UserError: as for ``start_decision``.
    """
    with dg.DagsterInstance.from_config(str(dagster_home)) as instance:
        return start_decision(instance, locations, utc_now())


def _new_labels(instance: dg.DagsterInstance, locations: Locations) -> NewLabels | None:
    from yolo_assets.monitoring.states import camera_states
    from yolo_assets.training.starting import NewLabels

    newest = instance.fetch_materializations(DATASET, limit=1).records
    version = _version(newest[0]) if newest else None
    if version is None:
        return None
    attempt = EventLog(instance).planned(WEIGHTS, [NO_PARTITION]).get(NO_PARTITION)
    position = attempt.position if attempt is not None else 0
    since = dg.AssetRecordsFilter(DATASET, after_storage_id=position)
    first = instance.fetch_materializations(since, limit=1, ascending=True).records
    images = _count(locations, _trained_on(instance, position), version)
    states = camera_states(locations.store()) if images else None
    return NewLabels(
        images=images,
        first=_at(first[0] if first else newest[0]),
        last=_at(newest[0]),
        drifted=states is not None and bool(states.drifted_cameras),
    )


def _trained_on(instance: dg.DagsterInstance, attempt: int) -> str | None:
    """The dataset of the newest attempt, whatever became of it; None before the first."""
    made = instance.fetch_materializations(WEIGHTS, limit=1).records
    if made and made[0].storage_id > attempt and made[0].asset_materialization is not None:
        told = made[0].asset_materialization.metadata.get("dataset")
        return str(told.value) if told is not None else None
    if not attempt:
        return None
    before = instance.fetch_materializations(dg.AssetRecordsFilter(DATASET, before_storage_id=attempt), limit=1).records
    return _version(before[0]) if before else None


def _count(locations: Locations, trained_on: str | None, version: str) -> int:
    from yolo_assets.learning.dataset import read_dataset
    from yolo_assets.storage import ObjectNotFoundError
    from yolo_assets.training.starting import count_new

    key = (trained_on, version)
    if key not in MEMORY.counted:
        store = locations.store()
        try:
            before = read_dataset(store, trained_on).manifest if trained_on is not None else None
        except ObjectNotFoundError:  # it was deleted: everything counts
            before = None
        MEMORY.counted = {key: count_new(before, read_dataset(store, version).manifest)}
    return MEMORY.counted[key]


def _version(record: dg.EventLogRecord) -> str | None:
    made = record.asset_materialization
    return (made.tags or {}).get(_VERSION) if made is not None else None


def _at(record: dg.EventLogRecord) -> datetime:
    return datetime.fromtimestamp(record.timestamp, UTC)
