"""Packets between the thread that reads the network and the one that decodes: bounded, so that live stays live."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Any

_MOST_BYTES = 64 << 20


@dataclass(frozen=True)
class Waiting:
    """One packet.

    Attributes:
        packet: of the demuxer; None marks the end of the stream.
        arrived: seconds on the clock of the machine since it started.
        key: whether decoding can begin here.
        size: bytes.
    """

    packet: Any
    arrived: float
    key: bool
    size: int


class PacketLine:
    """First in, first out; when the oldest has waited too long, everything before the newest key packet goes.

    Where no young key packet waits all of them go, and those that follow until the next one: what depends on a packet
    that is gone would decode to a smear. A stream that never marks key packets is taken up again at once.

    Args:
        patience_s: how long a packet may wait for the decoder.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._line: deque[Waiting] = deque()
        self._bytes = 0
        self._lost = 0
        self._keys_seen = False
        self._until_key = False
        self._filled = threading.Condition()

    def put(self, item: Waiting) -> None:
        """Add a packet; never waits."""
        with self._filled:
            self._keys_seen = self._keys_seen or item.key
            if self._until_key and not item.key and item.packet is not None:
                self._lost += 1
                return
            self._until_key = False
            self._line.append(item)
            self._bytes += item.size
            late = item.arrived - self._line[0].arrived > self._patience_s
            if item.packet is not None and (late or self._bytes > _MOST_BYTES):
                self._thin()
            self._filled.notify()

    def get(self) -> Waiting:
        """The oldest, waiting for one."""
        with self._filled:
            self._filled.wait_for(lambda: self._line)
            item = self._line.popleft()
            self._bytes -= item.size
            return item

    def take_lost(self) -> int:
        """How many packets went unread since the last call."""
        with self._filled:
            lost, self._lost = self._lost, 0
            return lost

    def _thin(self) -> None:
        young = self._line[-1].arrived - self._patience_s
        places = range(len(self._line) - 1, 0, -1)
        newest_key = next((p for p in places if self._line[p].key and self._line[p].arrived >= young), None)
        gone = len(self._line) if newest_key is None else newest_key
        for _ in range(gone):
            self._bytes -= self._line.popleft().size
        self._lost += gone
        self._until_key = newest_key is None and self._keys_seen
