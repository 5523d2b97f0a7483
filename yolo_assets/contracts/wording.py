"""Fixed texts in English or Chinese, from a file beside the module that prints them.

Belongs here: choosing a text and filling it in. Does not belong here: any sentence; each room has its own file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Literal

Language = Literal["en", "zh"]
"""What people read is written in one of these."""


@cache
def _texts(file: Path, language: Language) -> dict[str, str]:
    with file.open("rb") as stream:
        return tomllib.load(stream)[language]


class Wording:
    """The sentences of one file in one language; a room adds those that need more than fields."""

    def __init__(self, file: Path, language: Language) -> None:
        """Read the texts, once a process.

        Args:
            file: TOML with a table of texts for each language. ``{…}`` is a field, ``one|many`` is chosen by a count.
            language: of the texts.
        """
        self.language: Language = language
        self._texts = _texts(file, language)

    def text(self, key: str, count: int | None = None, **fields: object) -> str:
        """A fixed text with its fields filled in; ``count`` is the field ``n`` and chooses singular or plural."""
        pattern = self._texts[key]
        if count is not None:
            singular, _, plural = pattern.partition("|")
            pattern, fields = (singular if count == 1 or not plural else plural), {**fields, "n": f"{count:,}"}
        return pattern.format_map({name: self.shown(value) for name, value in fields.items()}) if fields else pattern

    def shown(self, value: object) -> object:
        """A field as it goes into a text."""
        return value

    def every(self) -> Iterable[tuple[str, str]]:
        """Every fixed text by its key."""
        return self._texts.items()
