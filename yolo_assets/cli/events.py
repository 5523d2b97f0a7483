"""``yolo-assets events``: listen to announcements at the centre."""

from __future__ import annotations

import os
import signal
import threading

import typer

from yolo_assets.cli.common import JsonOption, emit_json, need, note, out, settings
from yolo_assets.contracts.errors import UserError

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

_FIRST_LOOK_SECONDS = 5.0


@app.callback()
def _group() -> None:
    """A group of its own although it holds one command: others follow."""


@app.command()
def listen(as_json: JsonOption = False) -> None:
    """Listen to announcements and do at once what the sensors would find at their next tick.

    Runs beside Dagster's daemon until it is stopped, on the machine of the plant.yaml whose section events names the
    brokers and the receiver. What is announced is looked at in the spool, the archive or the store, and reported only
    when it is there. Polling goes on as the safety net.

    Example: yolo-assets events listen
    """
    need("dagster", "fastapi")
    from yolo_assets.contracts.plant import load_plant
    from yolo_assets.defs.events.service import listening
    from yolo_assets.local.dagster_home import find_dagster_home

    found = settings()
    events = load_plant(found).events
    if events.receiver is None and not any(getattr(broker, "listen", False) for broker in events.brokers):
        raise UserError(f"{found.plant} names nothing to listen to; add events: with brokers or a receiver")
    os.environ["DAGSTER_HOME"] = str(find_dagster_home(found.home))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())

    def said(line: str) -> None:
        if as_json:
            emit_json({"reported": line.removeprefix("reported ")})
        else:
            out().print(line, markup=False)

    with listening(events, said) as service:
        if service.receiver is not None:
            note(f"receiver: {service.receiver.url}")
        stop.wait(_FIRST_LOOK_SECONDS if service.listener.transports else 0)
        for trouble in service.listener.troubles:
            note(f"{trouble}; tried again for ever, polling goes on")
        stop.wait()
