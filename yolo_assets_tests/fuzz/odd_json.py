"""A mutator for JSON: whole documents with one odd value, key or repetition, where bytes alone rarely stay JSON."""

from __future__ import annotations

import json
import random
from copy import deepcopy
from typing import Any

ODD: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        0.5,
        -0.0,
        1e308,
        5e-324,
        float("nan"),
        float("inf"),
        2**53 + 1,
        2**63,
        2**64,
        10**30,
    ),
    *(
        "",
        " ",
        "\0",
        "a\nb",
        "\u202e",
        "\ud83d",
        "1",
        "-1",
        "nan",
        "1e999",
        "true",
        "null",
        "../x",
        "/",
        "C:\\x",
        "x" * 300,
    ),
    *("0001-01-01T00:00:00+08:00", "9999-12-31T23:59:59-08:00", "2024-10-15T14:00:02", "2024-10-15T23:59:60Z"),
    *(1728993602, 1728993602345, "20241015_14", "crack", "焊缝裂纹", "e\u0301"),
    *([], {}, [[]], [None], [1, 2, 3, 4], [1, 2, 3, 4, 5], {"": 0}, {"a": {"b": []}}, [[1, 2], [3, 4]]),
)


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """As atheris wants it. The first byte of an input tells its kind and stays; of lines one is changed."""
    import atheris

    chance = random.Random(seed)
    mutated = _odd(data, chance) if chance.random() < 0.7 else None
    if mutated is None or len(mutated) > max_size:
        native: Any = atheris
        return native.Mutate(data, max_size)
    return mutated


def _odd(data: bytes, chance: random.Random) -> bytes | None:
    kind, rest = (data[:1], data[1:]) if data[:1] not in (b"{", b"[") else (b"", data)
    lines = rest.split(b"\n")
    for whole in ([rest], lines):
        number = chance.randrange(len(whole))
        try:
            document = json.loads(whole[number])
        except (ValueError, RecursionError):
            continue
        for _ in range(chance.choice((1, 1, 1, 2, 5))):
            document = _changed(document, chance)
        whole[number] = json.dumps(document, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
        return kind + b"\n".join(whole)
    return None


def _changed(value: Any, chance: random.Random) -> Any:
    """One change somewhere within."""
    if not isinstance(value, dict | list) or not value or chance.random() < 0.1:
        return _odd_value(chance)
    place = chance.choice([*value] if isinstance(value, dict) else range(len(value)))
    what = chance.random()
    if what < 0.55:
        value[place] = _changed(value[place], chance)
    elif what < 0.7:
        value[place] = _odd_value(chance)
    elif what < 0.8:
        del value[place]
    elif isinstance(value, list):
        value.insert(place, chance.choice((deepcopy(value[place]), _odd_value(chance))))
    else:
        key = chance.choice((f"{place}2", chance.choice([*value]), str(_odd_value(chance))))
        value[key] = chance.choice((deepcopy(value[place]), _odd_value(chance)))
    return value


def _odd_value(chance: random.Random) -> Any:
    return deepcopy(chance.choice(ODD))
