"""A parser with a fault that its one example does not show: the runner must find it."""

from __future__ import annotations

import json
from collections.abc import Iterator

from yolo_assets.contracts.errors import BadInputError
from yolo_assets_tests.fuzz.law import refused_or
from yolo_assets_tests.fuzz.odd_json import mutate as mutate


def _parse(data: bytes) -> float:
    try:
        document = json.loads(data)
    except ValueError:
        raise BadInputError("not JSON") from None
    return 1 / document["a"]["b"] if isinstance(document, dict) else 0.0


def seeds() -> Iterator[bytes]:
    """A good document."""
    yield b'{"a": {"b": 2}}'


def check(data: bytes) -> None:
    """KeyError, TypeError and ZeroDivisionError get out."""
    refused_or(lambda: _parse(data))
