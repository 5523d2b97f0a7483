"""The alerts sensor: looks at the plant, decides what is due, sends it. Without a receiver it does nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import dagster as dg

from yolo_assets.contracts.plant import load_plant
from yolo_assets.contracts.times import utc_now
from yolo_assets.defs.alerts.instance import given_up, refused_by_gate, sick_cameras
from yolo_assets.defs.plant_sensor import people_sensor
from yolo_assets.defs.resources import Locations
from yolo_assets.defs.today.look import shared_looks

if TYPE_CHECKING:
    from yolo_assets.alerts.receivers import OpenReceiver
    from yolo_assets.alerts.state import AlertState, Message
    from yolo_assets.contracts.alerting import AlertSettings

TICK_SECONDS = 45.0
"""After this no further message is begun: a sensor has a minute, of which stores that are away may take most."""


@people_sensor(
    "Tells the receivers of plant.yaml what is wrong, once, and when it is well again: failed runs, absent cameras, "
    "hours that are not archived, uploads that were given up, refused releases, silent devices."
)
def alerts_sensor(context: dg.SensorEvaluationContext, locations: Locations) -> dg.SkipReason:
    """Look, decide, note, send; in this order, so that a process that is killed loses no message."""
    from yolo_assets.alerts.causes import PlantState, problems, receivers_of, unknown_causes
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
        sick=sick_cameras(context.instance) if receivers_of("camera_sick", plant.alerts) else {},
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
