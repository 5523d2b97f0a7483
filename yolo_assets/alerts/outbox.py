"""Sending what waits: in order for each receiver, retried, bounded; one that fails never stops the others."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from yolo_assets.alerts.state import AlertState, Message, Trouble
from yolo_assets.runtime.backoff import Backoff

GIVEN_UP_AFTER = timedelta(hours=24)
"""A message that is older and fails is given up: who reads it a day later looks at a page instead."""
MOST_WAITING = 100
"""Messages to one receiver; the oldest are given up beyond."""
_PAUSES = Backoff(first_s=60, longest_s=3600)


def deliver(
    state: AlertState,
    receivers: Collection[str],
    send: Callable[[Message], str | None],
    save: Callable[[AlertState], None],
    now: datetime,
    *,
    go_on: Callable[[], bool] = lambda: True,
) -> AlertState:
    """Send what is due and note each message at once.

    Args:
        state: with the outbox; saved already, so that a process that is killed here loses nothing.
        receivers: those that there are; what waits for others is dropped.
        send: sends one message; returns what is wrong, or None when the receiver took it.
        save: keeps the state.
        now: aware.
        go_on: asked before each message; False leaves the rest for the next time.

    Returns:
        The state afterwards, saved.
    """
    state = _tidied(state, receivers)
    for name in sorted(receivers, key=lambda name: _next_at(state, name, now)):
        for message in [message for message in state.outbox if message.receiver == name]:
            if _next_at(state, name, now) > now or not go_on():
                break
            error = send(message)
            state = _sent(state, message, now) if error is None else _failed(state, message, error, now)
            save(state)
    return state


def _next_at(state: AlertState, receiver: str, now: datetime) -> datetime:
    trouble = state.trouble.get(receiver)
    return min(trouble.next_at, now + timedelta(seconds=_PAUSES.longest_s)) if trouble else now


def _sent(state: AlertState, message: Message, now: datetime) -> AlertState:
    trouble = dict(state.trouble)
    known = trouble.pop(message.receiver, None)
    if known is not None and known.lost:
        trouble[message.receiver] = Trouble(next_at=now, lost=known.lost)
    return _without(state, [message]).model_copy(update={"trouble": trouble})


def _failed(state: AlertState, message: Message, error: str, now: datetime) -> AlertState:
    known = state.trouble.get(message.receiver, Trouble(next_at=now))
    given_up = now - message.made_at >= GIVEN_UP_AFTER
    trouble = Trouble(
        failures=known.failures + 1,
        next_at=now + timedelta(seconds=_PAUSES.seconds(known.failures + 1)),
        error=error,
        lost=known.lost + given_up,
    )
    state = state.model_copy(update={"trouble": {**state.trouble, message.receiver: trouble}})
    return _without(state, [message]) if given_up else state


def _tidied(state: AlertState, receivers: Collection[str]) -> AlertState:
    """Without what waits for receivers that are no more, and without the oldest of too many messages."""
    gone = [message for message in state.outbox if message.receiver not in receivers]
    trouble = {name: known for name, known in state.trouble.items() if name in receivers}
    for name in receivers:
        waiting = [message for message in state.outbox if message.receiver == name]
        if too_many := waiting[: max(0, len(waiting) - MOST_WAITING)]:
            gone += too_many
            known = trouble.get(name, Trouble(next_at=too_many[0].made_at))
            trouble[name] = known.model_copy(update={"lost": known.lost + len(too_many)})
    return _without(state, gone).model_copy(update={"trouble": trouble})


def _without(state: AlertState, messages: Collection[Message]) -> AlertState:
    numbers = {message.number for message in messages}
    return state.model_copy(
        update={"outbox": tuple(message for message in state.outbox if message.number not in numbers)}
    )
