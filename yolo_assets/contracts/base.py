"""The one base class of every record, and the one way to read and write its JSON."""

from __future__ import annotations

import json
from datetime import datetime
from difflib import get_close_matches
from typing import Annotated, Any, Self, TypeGuard

import orjson
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, PlainSerializer, ValidationError

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.times import format_time, to_utc


def _in_utc(moment: datetime) -> datetime:
    try:
        return to_utc(moment)
    except BadInputError as error:
        raise ValueError(str(error)) from None


Time = Annotated[
    AwareDatetime, AfterValidator(_in_utc), PlainSerializer(format_time, return_type=str, when_used="json")
]
"""A moment in UTC, whatever zone it was read in; written as ISO 8601 with milliseconds and ``Z``.

One whose UTC is outside the years 1 to 9999 is refused when it is read, never later.
"""


_MOST_OPTIONS = 16
"""Options named in one line."""


def one_line(error: ValidationError) -> str:
    """The first thing wrong, as ``field: what``, and how many more there are."""
    first, *rest = error.errors(include_url=False, include_input=False)
    place = ".".join(str(part) for part in first["loc"])
    more = f" (and {len(rest)} more)" if rest else ""
    what = f"{first['msg'].removeprefix('Value error, ')}{more}"
    return f"{place}: {what}" if place else what


def refuse_unknown_options(section: type[BaseModel], value: object) -> None:
    """For validators that run before all others: an option that a section does not have is told first.

    Args:
        section: what is validated.
        value: as it was written; only mappings are looked at.

    Raises:
        ValueError: the first unknown option.
    """
    if not is_json_object(value):
        return
    known = [field.alias or name for name, field in section.model_fields.items()]
    for key in value:
        if key not in known and key not in section.model_fields:
            near = get_close_matches(str(key), known, 1)
            more = f" and {len(known) - _MOST_OPTIONS} more" if len(known) > _MOST_OPTIONS else ""
            advice = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known[:_MOST_OPTIONS])}{more}"
            raise ValueError(f"there is no option {str(key)!r} here; {advice}")


class Record(BaseModel):
    """Immutable; refuses unknown keys unless a subclass says otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, ser_json_inf_nan="null")

    def to_json(self) -> bytes:
        """Canonical JSON: sorted keys, no white space, UTF-8. The same record always gives the same bytes."""
        return canonical_json(self.model_dump(mode="json", by_alias=True))

    @classmethod
    def from_json(cls, data: bytes | str, source: str = "input") -> Self:
        """Parse and validate.

        Args:
            data: one JSON document.
            source: what the error should name: a path or a key.

        Raises:
            BadInputError: not JSON, or not such a record; the message names ``source`` and the first wrong field.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise BadInputError(f"{source} is not a valid {cls.__name__}: {one_line(error)}") from None


def is_json_object(document: object) -> TypeGuard[dict[str, Any]]:
    """Whether a parsed JSON document is an object: then its keys are strings, its values whatever JSON has."""
    return isinstance(document, dict)


def canonical_json(value: Any) -> bytes:
    """Sorted keys, no white space, UTF-8: the form that is hashed and signed."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        # orjson stops at 64 bits; a foreign record may hold a longer number, and that is no reason to lose its hour.
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
