"""Values of label files as people's tools write them: ids, numbers, yes and no, times, names.

Each is read as what it is, or not at all: a value that cannot be read is None, and its reader names it.
"""

from __future__ import annotations

import math
import re
import reprlib
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.times import to_utc

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"([+-]?)0*([0-9]+)(\.0*)?")
_REGION = ("iscrowd", "is_crowd", "ignore")
_BRIEF = reprlib.Repr()
_BRIEF.maxlevel = 3
_TURNED = 1e-3
"""Degrees below which a box counts as upright: tools that turn a box back leave 1e-9."""


def number(value: Any) -> float | None:
    """A finite number, also one that is written as text; None for everything else."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def whole(value: Any) -> int | None:
    """A whole number above 0, as sizes are; None for everything else."""
    found = number(value)
    return int(found) if found is not None and found >= 1 and found.is_integer() else None


def identifier(value: Any) -> str | None:
    """What an id is compared by: ``1``, ``1.0`` and ``"1"`` are alike, ``"01"`` is another one.

    Returns:
        None for what is no id: nothing, a list, an object, true, a number that is not finite.
    """
    if isinstance(value, str):
        text = unicodedata.normalize("NFC", value.strip())
        match = _WHOLE.fullmatch(text)
        if match and (match[2] == "0" or not text.lstrip("+-").startswith("0")):
            return f"{'-' if match[1] == '-' and match[2] != '0' else ''}{match[2]}"
        return text or None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        return None
    return str(int(value)) if value.is_integer() else repr(value)


def name(value: Any) -> str | None:
    """A name without the blanks around it, its letters composed; None for what is no text, or blank."""
    return unicodedata.normalize("NFC", value.strip()) or None if isinstance(value, str) else None


def yes(value: Any) -> bool | None:
    """Whether a flag is set; None for what is neither yes nor no."""
    if value is None:
        return False
    if isinstance(value, str):
        value = {"true": 1, "yes": 1, "false": 0, "no": 0, "": 0}.get(value.strip().lower(), value)
    found = int(value) if isinstance(value, bool) else number(value)
    return None if found not in (0, 1) else bool(found)


def refuse_a_region(attributes: Mapping[str, Any]) -> None:
    """Refuse what marks no single object: a crowd, or what is to be left out of training.

    Raises:
        BadInputError: such a flag is set, or cannot be read.
    """
    for key in _REGION:
        flag = yes(attributes.get(key))
        if flag is None:
            raise BadInputError(f"has {key} {shown(attributes[key])}, which is neither 0 nor 1")
        if flag:
            raise BadInputError(
                f"is not a single object: it has {key} set; box each object of the region, or leave the image out"
            )


def moment(value: Any) -> datetime | None:
    """A time as tools write it, in whole milliseconds; without a zone it is UTC, as servers have it.

    Returns:
        None for what is no time.
    """
    try:
        found = datetime.fromisoformat(value.strip()) if isinstance(value, str) else None
        if found is None:
            return None
        found = found.replace(microsecond=found.microsecond // 1000 * 1000)
        return to_utc(found if found.tzinfo else found.replace(tzinfo=UTC))
    except (ValueError, BadInputError):
        return None


def rotation(value: Any) -> float | None:
    """Degrees that a box is turned by, 0 for whole turns and for a trace of one; None when they cannot be read."""
    degrees = 0.0 if value is None else number(value)
    if degrees is None:
        return None
    degrees %= 360
    return 0.0 if min(degrees, 360 - degrees) < _TURNED else degrees


def shown(value: Any) -> str:
    """A value for a message: short, on one line; of a big one only the beginning is looked at."""
    text = value if isinstance(value, str) else _BRIEF.repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
