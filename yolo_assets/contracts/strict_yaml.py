"""YAML that people write, read strictly: one answer or an error, never a guess.

Belongs here: parsing. Does not belong here: what an option means, and whether it is valid (each file's own model).
"""

from __future__ import annotations

import re
import warnings
from typing import Any, Literal, cast

from yolo_assets.contracts.errors import BadInputError

MOST = 100_000
"""Values in a file that a person wrote, with its references followed."""


_TWICE = re.compile(r'found duplicate key "([\w.-]{1,64})" with value ')


def parse_yaml(text: str, source: str) -> Any:
    """The content of a YAML 1.2 text: ``on`` and ``22:00`` are text, ``012`` is twelve.

    An option that is given twice is refused, where other readers silently take the last.

    Args:
        text: the text.
        source: what errors name: a path.

    Raises:
        BadInputError: not YAML. The message tells the line's number and never its content, which may be a password.
    """
    return _load(text, source, "safe")


def parse_yaml_as_written(text: str, source: str) -> Any:
    """As ``parse_yaml``, but every value is the text that stands there: names of classes may be ``on`` or ``012``.

    Raises:
        BadInputError: as ``parse_yaml``.
    """
    return _load(text, source, "base")


def _load(text: str, source: str, how: Literal["safe", "base"]) -> Any:
    # It comes with the extras that have such files; the base can do without it.
    from ruamel.yaml import YAML
    from ruamel.yaml.constructor import DuplicateKeyError
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        with warnings.catch_warnings():  # they quote what stands there
            warnings.simplefilter("ignore")
            content = cast(Any, YAML(typ=how, pure=True)).load(text)
    except MarkedYAMLError as error:
        told = cast(Any, error)
        words = str(told.problem or "malformed")
        if isinstance(error, DuplicateKeyError):  # its own words quote the value
            named = _TWICE.match(words)
            words = f"{named[1] if named else 'an option'} is given twice"
        place = words if told.problem_mark is None else f"line {told.problem_mark.line + 1}: {words}"
        raise BadInputError(f"{source} is not YAML: {place}") from None
    except YAMLError:
        raise BadInputError(f"{source} is not YAML: malformed") from None
    except (ValueError, OverflowError, LookupError, AttributeError, TypeError, AssertionError):
        # The constructors of numbers and dates: 2024-13-45 is a date to them.
        raise BadInputError(f"{source} is not YAML: a date or a number in it is not one; write it in quotes") from None
    except RecursionError:
        raise BadInputError(f"{source} is not YAML: it is nested too deeply") from None
    _check_size(content, source)
    return content


def _check_size(content: object, source: str) -> None:
    """Refuse what refers to itself, or grows beyond ``MOST`` values when its references are followed."""
    count, waiting = 0, [content]
    while waiting:
        count += 1
        if count > MOST:
            raise BadInputError(f"{source} holds more than {MOST} values, or refers to itself by an alias (*)")
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += cast("dict[object, object]", value).values()
        elif isinstance(value, list | tuple | set):
            waiting += cast("list[object]", value)
