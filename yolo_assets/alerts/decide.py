"""When something is told: pure, from what was told before and what is wrong now.

    seen ── stands for its hold ──► told ── again_hours ──► told again
      │                               │
      └── gone for well_minutes:      └── gone for well_minutes: told as resolved, forgotten
          forgotten, nobody knew

What comes and goes is therefore told once, and not resolved before it stays away. While a silence lasts nothing is
told, neither news nor that something is well; what still stands at its end is told then. Everything that is due at the
same time and of the same cause is one message.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

from yolo_assets.alerts.problem import TITLES, Problem
from yolo_assets.alerts.state import AlertState, Message, News, Standing
from yolo_assets.contracts.alerting import CAUSES, AlertSettings, Cause

_SENTENCES = 12
"""Of one message; a plant without power has hundreds of cameras without frames."""


def decide(
    state: AlertState,
    problems: Iterable[Problem],
    now: datetime,
    settings: AlertSettings,
    *,
    unknown: Collection[Cause] = (),
) -> AlertState:
    """The state after a look at the plant, with the messages that became due in its outbox.

    Args:
        state: before.
        problems: everything that is wrong now.
        now: aware.
        settings: who is told what, and when.
        unknown: causes that could not be looked at: of these nothing is new, and nothing is well.
    """
    standing = dict(state.standing)
    for problem in problems:
        known = standing.get(problem.key)
        standing[problem.key] = Standing(
            problem=problem,
            first_at=known.first_at if known else now,
            last_at=now,
            told_at=known.told_at if known else None,
        )
    told: dict[News, list[Problem]] = {"new": [], "still": [], "resolved": []}
    for key, item in list(standing.items()):
        if item.problem.cause in unknown:
            standing[key] = item.model_copy(update={"last_at": now})
            continue
        due = _due(item, now, settings)
        if due == "forgotten":
            del standing[key]
        elif due is not None and not _silenced(item.problem, now, settings):
            told[due].append(item.problem)
            if due == "resolved":
                del standing[key]
            else:
                standing[key] = item.model_copy(update={"told_at": now})
    messages = _messages(told, now, settings, state.last_number)
    return state.model_copy(
        update={
            "standing": standing,
            "outbox": (*state.outbox, *messages),
            "last_number": state.last_number + len(messages),
        }
    )


def _due(item: Standing, now: datetime, settings: AlertSettings) -> News | Literal["forgotten"] | None:
    """What is due for a problem were there no silence; ``forgotten``: it is gone, and nobody was told."""
    if item.last_at < now:
        if now - item.last_at < timedelta(minutes=settings.well_minutes):
            return None
        return "resolved" if item.told_at is not None and item.problem.lasting else "forgotten"
    if item.told_at is None:
        return "new" if now - item.first_at >= timedelta(seconds=item.problem.hold_s) else None
    again = item.problem.lasting and now - item.told_at >= timedelta(hours=settings.again_hours)
    return "still" if again else None


def _silenced(problem: Problem, now: datetime, settings: AlertSettings) -> bool:
    return any(
        now < silence.until and silence.cause in (None, problem.cause) and silence.about in (None, problem.about)
        for silence in settings.silences
    )


def _messages(
    told: Mapping[News, Sequence[Problem]], now: datetime, settings: AlertSettings, number: int
) -> list[Message]:
    messages: list[Message] = []
    for news, problems in told.items():
        for cause in CAUSES:
            same = sorted((p for p in problems if p.cause == cause), key=lambda problem: problem.about)
            for name, receiver in settings.receivers.items():
                if same and cause in receiver.causes:
                    number += 1
                    title, body = _text(news, same)
                    messages.append(
                        Message(number=number, receiver=name, news=news, title=title, body=body, made_at=now)
                    )
    return messages


def _text(news: News, problems: Sequence[Problem]) -> tuple[str, str]:
    """Title and body of a message about problems of one cause."""
    one, several = TITLES[problems[0].cause]
    title = one.format(about=problems[0].about) if len(problems) == 1 else several.format(count=len(problems))
    if news == "resolved":
        names = [problem.about for problem in problems]
        return f"Resolved: {title}", _listed([f"It is well again: {name}." for name in names])
    lines = [f"{problem.sentence}{f' {problem.link}' if problem.link else ''}" for problem in problems]
    return (f"Still: {title}" if news == "still" else title), _listed(lines)


def _listed(lines: Sequence[str]) -> str:
    more = [f"… and {len(lines) - _SENTENCES} more"] if len(lines) > _SENTENCES else []
    return "\n".join([*lines[:_SENTENCES], *more])
