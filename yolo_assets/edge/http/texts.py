"""The texts of the page in every language: the catalogues of this package, and the file of a plant.

``page/<language>.json`` holds all that people read on the page, by key; a text with a number in it may have a form for
each plural category of its language (Unicode CLDR: ``one``, ``few``, ``many``, ``other`` …). Keys that begin with
``said.`` are sentences of the agent, which writes English into its log, its API and its page alike: where the page is
shown in another language, it replaces those that it knows. Does not belong here: choosing a language; the page does.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import orjson

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.strict_yaml import parse_yaml
from yolo_assets.contracts.text import decode_text
from yolo_assets.edge.config.agent import Page

PAGE = Path(__file__).parent / "page"
ENGLISH = "en"
_PLURALS = frozenset({"zero", "one", "two", "few", "many", "other"})
_PLACE = re.compile(r"\{(\w+)\}")
_MOST_BYTES = 1 << 20
Text = str | dict[str, str]


class PageTexts:
    """Read once, at the start.

    Args:
        section: what the configuration says about the page.

    Raises:
        BadInputError: its file cannot be read, or its language has no texts.
    """

    def __init__(self, section: Page) -> None:
        self.languages: dict[str, dict[str, Text]] = {
            path.stem: orjson.loads(path.read_bytes()) for path in sorted(PAGE.glob("*.json"))
        }
        self.problems: list[str] = []
        """What is wrong with single texts of the plant's file, one sentence each; those are left out."""
        self._preferred = section.language
        if section.language is None:
            return
        if section.texts is not None:
            own = self._read(section.texts)
            self.languages[section.language] = {**self.languages.get(section.language, {}), **own}
        elif section.language not in self.languages:
            there = ", ".join(self.languages)
            raise BadInputError(f"page.language: there are {there}; for {section.language} give page.texts, too")

    def document(self) -> dict[str, Any]:
        """``/page/texts.json``: every catalogue, and the language that the configuration prefers."""
        return {"language": self._preferred, "languages": self.languages}

    def _read(self, path: Path) -> dict[str, Text]:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise BadInputError(f"page.texts: cannot read {path}: {error.strerror}") from None
        if len(data) > _MOST_BYTES:
            raise BadInputError(f"page.texts: {path} is larger than {_MOST_BYTES} bytes; that is no list of texts")
        written = parse_yaml(decode_text(data, str(path)), str(path))
        if not isinstance(written, dict):
            raise BadInputError(f"page.texts: {path} is no list of texts; write lines like: model.pin: Pin")
        english = self.languages[ENGLISH]
        good: dict[str, Text] = {}
        for key, text in cast("dict[Any, Any]", written).items():
            problem = _problem(english, key, text)
            if problem is None:
                good[key] = text
            else:
                self.problems.append(f"page.texts: {problem}")
        return good


def _problem(english: dict[str, Text], key: object, text: object) -> str | None:
    """Why a text cannot be shown; None: it can."""
    if not isinstance(key, str) or key not in english:
        return f"there is no text {str(key)[:60]!r} on the page; take the keys of /page/en.json"
    forms = _forms(text)
    if forms is None:
        return f"{key} is neither a text nor one for each of {', '.join(sorted(_PLURALS))}, with 'other' among them"
    known = {name for form in _forms(english[key]) or () for name in _PLACE.findall(form)}
    strange = sorted({name for form in forms for name in _PLACE.findall(form)} - known)
    if strange:
        there = ", ".join(f"{{{name}}}" for name in sorted(known)) or "nothing in braces"
        return f"{key} has nothing to put in for {{{strange[0]}}}; it has {there}"
    return None


def _forms(text: object) -> list[str] | None:
    """The forms of a text; None for what is no text."""
    if isinstance(text, str):
        return [text]
    if isinstance(text, dict):
        forms = cast("dict[Any, Any]", text)
        if "other" in forms and _PLURALS.issuperset(forms) and all(isinstance(form, str) for form in forms.values()):
            return list(forms.values())
    return None
