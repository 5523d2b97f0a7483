"""The messages between a camera's child and the agent: what may be in them; neither side trusts the other.

One message is one datagram of JSON. The parent sends exactly one, the order; all others come from the child.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypedDict, cast

MOST_BYTES = 8192
"""Of one message."""
MOST_SIDE = 16384
MOST_PIXELS = 64_000_000
"""Of one picture: what is larger is no camera, and would let a stranger's stream fill the memory."""

Loss = Literal["unreadable", "overrun"]
LOST: tuple[Loss, ...] = ("unreadable", "overrun")


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


class SnapshotOrder(TypedDict):
    """What a child needs to ask a camera for single pictures."""

    kind: Literal["snapshot"]
    url: str
    interval_s: Annotated[float, "from one request to the next"]
    timeout_s: float
    ca_file: str | None


class GenicamOrder(TypedDict):
    """What a child needs to read a GenICam camera."""

    kind: Literal["genicam"]
    device: str
    fps: float | None
    exposure_us: float | None
    gain: float | None
    packet_size: int | None
    pixel_format: str | None


Order = StreamOrder | UsbOrder | SnapshotOrder | GenicamOrder


def pack(message: Mapping[str, Any]) -> bytes:
    """One message as a datagram.

    Raises:
        WireError: it is too long; only an order, with its options and address, can be.
    """
    data = json.dumps(message, separators=(",", ":")).encode()
    if len(data) > MOST_BYTES:
        raise WireError(f"{len(data)} bytes in one message")
    return data


def unpack(data: bytes) -> dict[str, Any]:
    """A datagram as a message.

    Raises:
        WireError: no JSON object.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise WireError("a message that is not JSON") from None
    if not isinstance(document, dict):
        raise WireError("a message that is not an object")
    return cast("dict[str, Any]", document)


def number(message: Mapping[str, Any], key: str, least: int, most: int) -> int:
    """A whole number of a message within its bounds.

    Raises:
        WireError: missing, of another type, or out of bounds.
    """
    value = message.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise WireError(f"{key} is {value!r:.40}")
    return value


def lost_counts(message: Mapping[str, Any]) -> dict[Loss, int]:
    """What a message says about frames that gave no picture.

    Raises:
        WireError: unknown reasons or impossible numbers.
    """
    lost = message.get("lost", {})
    if not isinstance(lost, dict) or not lost.keys() <= set(LOST):
        raise WireError("unknown losses")
    counts = cast("dict[str, Any]", lost)
    return {reason: number(counts, reason, 1, 1_000_000) for reason in LOST if reason in counts}
