"""The alerts sensor: looks at the plant and the instance, decides what is due, sends it; nothing without a receiver."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import dagster as dg
from dagster import DagsterInstance
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import SensorInstigatorData

from yolo_assets.alerts.causes import GivenUp
from yolo_assets.contracts.plant import load_plant
from yolo_assets.contracts.times import utc_now
from yolo_assets.defs.plant_sensor import people_sensor
from yolo_assets.defs.recovery.sensors import recovery_sensor
from yolo_assets.defs.recovery.unfinished import RecoveryCursor, Target, Unfinished
from yolo_assets.defs.release.checks import GATE_PASSED
from yolo_assets.defs.resources import Locations
from yolo_assets.defs.today.look import shared_looks

if TYPE_CHECKING:
    from yolo_assets.alerts.receivers import OpenReceiver
    from yolo_assets.alerts.state import AlertState, Message
    from yolo_assets.contracts.alerting import AlertSettings

TICK_SECONDS = 45.0
"""After this no further message is begun: a sensor has a minute, of which stores that are away may take most."""

_EXECUTIONS = 20
"""Of the gate that are read: the newest may be planned only, or have failed before the verdict."""


@people_sensor(
    "Tells the receivers of plant.yaml what is wrong, once, and when it is well again: failed runs, absent cameras, "
    "sick cameras, hours that are not archived, uploads that were given up, refused releases, silent devices."
)
def alerts_sensor(context: dg.SensorEvaluationContext, locations: Locations) -> dg.SkipReason:
    """Look, decide, note, send; in this order, so that a process that is killed loses no message."""
    from yolo_assets.alerts.causes import PlantState, problems, unknown_causes
    from yolo_assets.alerts.decide import decide
    from yolo_assets.alerts.outbox import deliver
    from yolo_assets.alerts.state import AlertState

    started = time.monotonic()
    plant, home = load_plant(locations.settings), locations.settings.home
    if not plant.alerts.receivers:
        return dg.SkipReason("plant.yaml names no receiver")
    now, state = utc_now(), AlertState.load(home) or _copy(locations) or AlertState()
    today, fleet = shared_looks.look("alerts", locations, plant, context.instance, now)
    seen = PlantState(
        today=today,
        fleet=fleet,
        given_up=given_up(context.instance),
        refused_by_gate=refused_by_gate(context.instance),
    )
    wrong = problems(seen, plant.alerts, plant.ui)
    decided = decide(state, wrong, now, plant.alerts, unknown=unknown_causes(today))
    decided.save(home)
    after = deliver(
        decided,
        plant.alerts.receivers,
        _sender(_opened(plant.alerts)),
        lambda changed: changed.save(home),
        now,
        go_on=lambda: time.monotonic() - started < TICK_SECONDS,
    )
    for name, trouble in after.trouble.items():
        if trouble.failures:
            context.log.warning(f"{name} took no message, attempt {trouble.failures}: {trouble.error}")
    if after != state and "the heartbeats" not in today.unread:
        _keep_copy(context, locations, after)
    sent = len(decided.outbox) - len(after.outbox)
    return dg.SkipReason(f"{len(wrong)} things are wrong; {sent} messages left, {len(after.outbox)} wait")


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


def _copy(locations: Locations) -> AlertState | None:
    from yolo_assets.alerts.state import AlertState
    from yolo_assets.storage import StoreUnavailableError

    try:
        return AlertState.copied(locations.store())
    except StoreUnavailableError:
        return None


def _keep_copy(context: dg.SensorEvaluationContext, locations: Locations, state: AlertState) -> None:
    from yolo_assets.storage import StoreUnavailableError

    try:
        state.copy_to(locations.store())
    except StoreUnavailableError as error:  # the next tick that changes something writes it
        context.log.warning(f"no copy of what was told is in the store: {error}")


def _opened(settings: AlertSettings) -> dict[str, OpenReceiver | str]:
    """Each receiver, or what is wrong with its URL: that stops none of the others."""
    from yolo_assets.alerts.receivers import OpenReceiver
    from yolo_assets.contracts.errors import BadInputError

    opened: dict[str, OpenReceiver | str] = {}
    for name, receiver in settings.receivers.items():
        try:
            opened[name] = OpenReceiver.of(name, receiver)
        except BadInputError as error:
            opened[name] = str(error)
    return opened


def _sender(opened: Mapping[str, OpenReceiver | str]) -> Callable[[Message], str | None]:
    def send(message: Message) -> str | None:
        receiver = opened[message.receiver]
        return receiver if isinstance(receiver, str) else receiver.send(message)

    return send


def _text(metadata: Mapping[str, object], name: str) -> str:
    value = getattr(metadata.get(name), "value", None)
    return value if isinstance(value, str) else ""
