"""YAML that people write, read strictly: one answer or an error, never a guess.

Belongs here: parsing. Does not belong here: what an option means, and whether it is valid (each file's own model).
"""

from __future__ import annotations

from functools import cache
from typing import Any, cast

from yolo_assets.contracts.errors import BadInputError

MOST = 100_000
"""Values in a file that a person wrote, with its references followed."""


def parse_yaml(text: str, source: str) -> Any:
    """The content of a YAML text; an option that is given twice is refused, where PyYAML silently takes the last.

    Args:
        text: the text.
        source: what errors name: a path.

    Raises:
        BadInputError: not YAML. The message tells the line's number and never its content, which may be a password.
    """
    import yaml  # comes with the extras that have such files; the base can do without it

    try:
        content = yaml.load(text, _strict_loader())  # noqa: S506 - it is a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        words = getattr(error, "problem", None) or "malformed"
        place = f"line {mark.line + 1}: {words}" if mark is not None else words
        raise BadInputError(f"{source} is not YAML: {place}") from None
    except (ValueError, OverflowError, LookupError, AttributeError, TypeError):
        # PyYAML's own constructors: 2024-13-45 is a date to it, 0x a number, and "=" a key of nobody.
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


@cache
def _strict_loader() -> Any:
    import yaml

    class StrictLoader(yaml.SafeLoader):
        pass

    def mapping(loader: StrictLoader, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            name = cast(Any, loader).construct_object(key, deep=True)
            if isinstance(name, str) and name in seen:
                raise yaml.MarkedYAMLError(problem=f"{name} is given twice", problem_mark=key.start_mark)
            if isinstance(name, str):
                seen.add(name)
        loader.flatten_mapping(node)
        return yaml.SafeLoader.construct_mapping(loader, node, deep)

    StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    return StrictLoader
