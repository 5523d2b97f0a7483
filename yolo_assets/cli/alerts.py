"""``yolo-assets alerts``: what stands and waits, and a message to try a receiver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from yolo_assets.cli import common
from yolo_assets.contracts.errors import UserError

if TYPE_CHECKING:
    from yolo_assets.contracts.alerting import AlertSettings

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

ReceiverOption = Annotated[
    list[str] | None, typer.Option("--receiver", help="Only this receiver; may be repeated.", metavar="NAME")
]


@app.command()
def ls(as_json: common.JsonOption = False) -> None:
    """What is wrong, since when, who was told; messages that wait; receivers that take none.

    It shows what the sensor saw last. Exit 1: a receiver took no message at the last attempt.

    Example: yolo-assets alerts ls
    """
    from yolo_assets.alerts.state import AlertState
    from yolo_assets.contracts.plant import load_plant

    found = common.settings()
    alerts, state = load_plant(found).alerts, AlertState.load(found.home) or AlertState()
    failing = {name: trouble for name, trouble in state.trouble.items() if trouble.failures}
    if as_json:
        document = state.model_dump(mode="json")
        common.emit_json({"receivers": sorted(alerts.receivers), **document})
    else:
        out = common.out()
        for item in sorted(state.standing.values(), key=lambda item: item.first_at):
            told = f"told {item.told_at:%Y-%m-%d %H:%M}" if item.told_at is not None else "not told"
            out.print(f"{item.first_at:%Y-%m-%d %H:%M}  {told}  {item.problem.sentence}", markup=False)
        if not state.standing:
            common.note("nothing is wrong" if alerts.receivers else "plant.yaml names no receiver; nobody is told")
        for name, trouble in state.trouble.items():
            if trouble.lost:
                common.note(f"{name}: {trouble.lost} messages were given up")
    if failing:
        name, trouble = next(iter(failing.items()))
        waiting = sum(message.receiver == name for message in state.outbox)
        raise UserError(
            f"{name} took no message, attempt {trouble.failures}: {trouble.error}; {waiting} wait for it; "
            f"try it: yolo-assets alerts test --receiver {name}"
        )


@app.command()
def test(receiver: ReceiverOption = None, as_json: common.JsonOption = False) -> None:
    """Send a test message to every receiver of plant.yaml, or to some of them, now and once.

    Exit 1: one did not take it; the line says why. Nothing that waits or stands is changed.

    Example: yolo-assets alerts test --receiver night
    """
    from yolo_assets.alerts.receivers import OpenReceiver
    from yolo_assets.alerts.state import Message
    from yolo_assets.contracts.errors import BadInputError
    from yolo_assets.contracts.plant import load_plant
    from yolo_assets.contracts.times import utc_now

    common.need("apprise")
    plant = load_plant(common.settings())
    outcomes: dict[str, str | None] = {}
    for name in _chosen(plant.alerts, receiver):
        message = Message(
            number=0,
            receiver=name,
            news="new",
            title="Test message",
            body=f"yolo_assets can reach you as {name}. Nothing is wrong.{f' {plant.ui}' if plant.ui else ''}",
            made_at=utc_now(),
        )
        try:
            outcomes[name] = OpenReceiver.of(name, plant.alerts.receivers[name]).send(message)
        except BadInputError as error:
            outcomes[name] = str(error)
    if as_json:
        common.emit_json([{"receiver": name, "error": error} for name, error in outcomes.items()])
    else:
        for name, error in outcomes.items():
            if error is None:
                common.out().print(f"{name}: sent", markup=False)
    wrong = {name: error for name, error in outcomes.items() if error is not None}
    if wrong:
        name, error = next(iter(wrong.items()))
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise UserError(f"{name} did not take the message{more}: {error}")


def _chosen(settings: AlertSettings, names: list[str] | None) -> list[str]:
    known = sorted(settings.receivers)
    if not known:
        raise UserError("plant.yaml names no receiver; add one under alerts: receivers:")
    for name in names or ():
        if name not in known:
            raise UserError(f"there is no receiver {name}; there are: {', '.join(known)}")
    return names or known
