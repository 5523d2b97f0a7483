"""The page for a wall screen: one HTML file that needs nothing else, refreshes itself and says when it is old.

Each status has its own sign and word beside its colour. Text from outside goes through ``plain`` and is escaped.
"""

from __future__ import annotations

from pathlib import Path

import jinja2

from yolo_assets.contracts.wording import Language
from yolo_assets.today.summary import WORST_FIRST, Today
from yolo_assets.today.wording import TodayWording

NOTICES = 8
"""Notices about the whole plant that are shown."""


def page(today: Today, language: Language = "en") -> bytes:
    """The page as UTF-8.

    Args:
        today: the plant now.
        language: of its words; causes that programs wrote stay English.
    """
    wording = TodayWording(language)
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string(Path(__file__).with_name("page.html.j2").read_text(encoding="utf-8"))
    return template.render(
        today=today,
        text=wording.text,
        statuses=WORST_FIRST,
        wrong=today.having("absent", "failed", "sick", "unknown", "late"),
        reason=wording.reason,
        last_frame=lambda camera: wording.last_frame(camera, today.now),
        notices=wording.notices(today),
        notices_shown=NOTICES,
    ).encode()
