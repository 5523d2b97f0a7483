"""The sentences of the plant now, in English or Chinese: the table, the wall page and messages use the same ones."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Literal

from yolo_assets.contracts.text import plain
from yolo_assets.contracts.times import Hour
from yolo_assets.today.summary import CameraToday, Failure, Today

Language = Literal["en", "zh"]
_LONGEST = 240
"""Characters of a cause from elsewhere that are shown; the run has all of it."""


@cache
def _texts(language: Language) -> dict[str, str]:
    with Path(__file__).with_name("texts.toml").open("rb") as file:
        return tomllib.load(file)[language]


class Wording:
    """The sentences in one language."""

    def __init__(self, language: Language) -> None:
        self.language: Language = language
        self._texts = _texts(language)

    def text(self, key: str, count: int | None = None, **fields: object) -> str:
        """A fixed text with its fields filled in; ``count`` chooses singular or plural."""
        pattern = self._texts[key]
        if count is not None:
            singular, _, plural = pattern.partition("|")
            pattern = singular if count == 1 or not plural else plural
        return pattern.format_map({name: _shown(value) for name, value in fields.items()}) if fields else pattern

    def every(self) -> Iterable[tuple[str, str]]:
        """Every fixed text by its key."""
        return self._texts.items()

    def reason(self, camera: CameraToday) -> str:
        """Why a camera has its status, and what to do."""
        hours = camera.reason.fields.get("hours")
        count = hours if isinstance(hours, int) else None
        return self.text(f"reason_{camera.reason.key}", count, **camera.reason.fields)

    def last_frame(self, camera: CameraToday, now: datetime) -> str:
        """When the last frame was captured: the time, with its day unless that is today."""
        if camera.last_at is None:
            return self.text("never_seen")
        pattern = "%H:%M" if camera.last_at.date() == now.date() else "%Y-%m-%d %H:%M"
        return camera.last_at.strftime(pattern)

    def trouble(self, failure: Failure) -> str:
        """Failed work that is not of one camera."""
        what = f"{failure.what} {_shown(failure.hour)}" if failure.hour is not None else failure.what
        return self.text("trouble", what=what, reason=failure.reason)

    def notices(self, today: Today) -> list[str]:
        """What concerns the whole plant."""
        lines = [self.text("cannot_read", what=what, reason=why) for what, why in sorted(today.unread.items())]
        lines += [self.trouble(failure) for failure in today.troubles]
        return lines if today.knows_runs else [*lines, self.text("no_runs")]


def _shown(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M} UTC"
    if isinstance(value, Hour):
        return f"{value.date} {value.hh}:00"
    text = plain(" ".join(str(value).split()))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
