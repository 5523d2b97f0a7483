"""The sentences of the plant now, in English or Chinese: the table, the wall page and messages use the same ones."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from yolo_assets.contracts.text import plain
from yolo_assets.contracts.times import Hour
from yolo_assets.contracts.wording import Language, Wording
from yolo_assets.today.summary import CameraToday, Failure, Today

_TEXTS = Path(__file__).with_name("texts.toml")
_LONGEST = 240
"""Characters of a cause from elsewhere that are shown; the run has all of it."""
_WORD = 40
"""Characters of a word, where the cause is too long."""


class TodayWording(Wording):
    """The sentences in one language."""

    def __init__(self, language: Language) -> None:
        super().__init__(_TEXTS, language)

    def shown(self, value: object) -> str:
        """A time or an hour in words; a text from elsewhere plain, in one line and cut."""
        if isinstance(value, datetime):
            return f"{value:%Y-%m-%d %H:%M} UTC"
        if isinstance(value, Hour):
            return f"{value.date} {value.hh}:00"
        text = plain(" ".join(str(value).split()))
        if len(text) > _LONGEST:  # the end of a path says most, and the words after it say what to do
            text = " ".join(word if len(word) <= _WORD else f"…{word[-_WORD:]}" for word in text.split())
        return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"

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
        what = f"{failure.what} {self.shown(failure.hour)}" if failure.hour is not None else failure.what
        return self.text("trouble", what=what, reason=failure.reason)

    def notices(self, today: Today) -> list[str]:
        """What concerns the whole plant."""
        lines = [self.text("cannot_read", what=what, reason=why) for what, why in sorted(today.unread.items())]
        lines += [self.trouble(failure) for failure in today.troubles]
        return lines if today.knows_runs else [*lines, self.text("no_runs")]
