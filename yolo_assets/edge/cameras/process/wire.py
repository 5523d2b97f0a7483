"""The notes between a camera's child and the agent: what may be in them, and nothing that trusts the other side.

One note is one datagram of JSON. The parent sends exactly one, the order; all others come from the child.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypedDict

MOST_BYTES = 8192
"""Of one note."""
MOST_SIDE = 16384
MOST_PIXELS = 64_000_000
"""Of one picture: what is larger is no camera, and would let a stranger's stream fill the memory."""

Lost = Literal["unreadable", "overrun"]
LOST: tuple[Lost, ...] = ("unreadable", "overrun")


class WireError(Exception):
    """The other side sent what it must not: it is broken and is ended."""


class StreamOrder(TypedDict):
    """What a child needs to read a network stream."""

    kind: Literal["stream"]
    url: str
    options: dict[str, str]
    fps: float | None
    patience_s: Annotated[float, "how old what waits for the decoder may get"]


class UsbOrder(TypedDict):
    """What a child needs to read a USB camera."""

    kind: Literal["usb"]
    device: str | int
    width: int | None
    height: int | None
    fps: float | None
    fourcc: str | None


Order = StreamOrder | UsbOrder


def pack(note: Mapping[str, Any]) -> bytes:
    """One note as a datagram.

    Raises:
        WireError: it is too long; only an order, with its options and address, can be.
    """
    data = json.dumps(note, separators=(",", ":")).encode()
    if len(data) > MOST_BYTES:
        raise WireError(f"{len(data)} bytes in one note")
    return data


def unpack(data: bytes) -> dict[str, Any]:
    """A datagram as a note.

    Raises:
        WireError: no JSON object.
    """
    try:
        note = json.loads(data)
    except (ValueError, RecursionError):
        raise WireError("a note that is no JSON") from None
    if not isinstance(note, dict):
        raise WireError("a note that is no object")
    return note


def number(note: Mapping[str, Any], key: str, least: int, most: int) -> int:
    """A whole number of a note within its bounds.

    Raises:
        WireError: missing, of another type, or out of bounds.
    """
    value = note.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise WireError(f"{key} is {value!r:.40}")
    return value


def lost_counts(note: Mapping[str, Any]) -> dict[Lost, int]:
    """What a note says about frames that gave no picture.

    Raises:
        WireError: unknown reasons or impossible numbers.
    """
    found = note.get("lost", {})
    if not isinstance(found, dict) or not found.keys() <= set(LOST):
        raise WireError("unknown losses")
    return {reason: number(found, reason, 1, 1_000_000) for reason in LOST if reason in found}
