"""The child's way to the agent: pictures into shared memory, messages into the socket. Never waits for the agent.

Belongs here too: leaving out pictures that the agent does not want.
"""

from __future__ import annotations

import array
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from yolo_assets.edge.cameras.process.memory import Bytes, ChildMemory
from yolo_assets.edge.cameras.process.wire import MOST_PIXELS, MOST_SIDE, Loss, pack

_REPORT_LOST_EVERY = 0.2
_REPORT_ALIVE_EVERY = 0.5


def since_start() -> float:
    """Seconds since the machine started, sleep included: one clock for all its processes, which cannot be set."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class AgentChannel:
    """Thread-safe."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._memory: ChildMemory | None = None
        self._lost: Counter[Loss] = Counter()
        self._reported = 0.0
        self._lock = threading.Lock()

    def started(self) -> None:
        """This process runs and begins to open its camera: its first word."""
        with self._lock:
            self._send({"note": "started"})

    def opened(self, **facts: Any) -> None:
        """The source answers; pictures will follow."""
        with self._lock:
            self._send({"note": "opened", **facts})

    def picture(self, arrived: float, height: int, width: int, fill: Callable[[Bytes], None]) -> None:
        """Hand over one picture, or count it as lost when the agent holds every slot.

        Args:
            arrived: `since_start` when it arrived.
            height: pixels.
            width: pixels.
            fill: writes BGR into the ``[h, w, 3]`` that it is given.

        Raises:
            ValueError: a picture so large that no camera sends it.
        """
        if max(height, width) > MOST_SIDE or height * width > MOST_PIXELS:
            raise ValueError(f"pictures of {width} x {height} are too large")
        with self._lock:
            memory = self._memory_for(height * width * 3)
            slot = memory.take()
        if slot is None:
            self.lost("overrun")
            return
        fill(memory.picture(slot, height, width))
        with self._lock:
            note = {"note": "picture", "slot": slot, "height": height, "width": width, "arrived": arrived}
            self._send({**note, **self._losses()})

    def alive(self) -> None:
        """A picture arrived that is not wanted: reported twice a second, so that it is not taken for silence."""
        with self._lock:
            if since_start() - self._reported >= _REPORT_ALIVE_EVERY:
                self._send({"note": "alive", **self._losses()})

    def unchanged(self) -> None:
        """The camera says that its picture is the one that it gave before."""
        with self._lock:
            self._send({"note": "unchanged", **self._losses()})

    def idle(self) -> None:
        """The camera works and has no new picture, as one that waits for its trigger."""
        with self._lock:
            self._send({"note": "idle", **self._losses()})

    def packets(self) -> None:
        """Something arrived that is no picture yet, as it is between key pictures: the camera works."""
        with self._lock:
            if since_start() - self._reported >= _REPORT_ALIVE_EVERY:
                self._send({"note": "packets", **self._losses()})

    def lost(self, reason: Loss, count: int = 1) -> None:
        """Count frames that give no picture; reported with the next picture, or a few times a second without one."""
        with self._lock:
            self._lost[reason] += count
            if since_start() - self._reported >= _REPORT_LOST_EVERY:
                self._send({"note": "lost", **self._losses()})

    def end(self, words: str, *, hopeless: bool) -> None:
        """Say why this child ends.

        Args:
            words: for an operator; the agent takes secrets out of them.
            hopeless: whether the configuration must change before another try can be better.
        """
        with self._lock:
            self._send({"note": "end", "words": words[:500], "hopeless": hopeless, **self._losses()})

    def _losses(self) -> dict[str, Any]:
        self._reported = since_start()
        lost, self._lost = {k: n for k, n in self._lost.items() if n}, Counter()
        return {"lost": lost} if lost else {}

    def _memory_for(self, picture_bytes: int) -> ChildMemory:
        """Memory with slots for such pictures; new memory when they grew, for the old one may still be in use."""
        if self._memory is not None and self._memory.slot_bytes >= picture_bytes:
            return self._memory
        if self._memory is not None:
            self._memory.close()
        self._memory = ChildMemory(picture_bytes)
        note = pack({"note": "memory", "slot_bytes": self._memory.slot_bytes})
        self._connection.sendmsg(
            [note], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [self._memory.fd]).tobytes())]
        )
        return self._memory

    def _send(self, note: dict[str, Any]) -> None:
        self._connection.send(pack(note))


class Thinning:
    """At most so many pictures a second, evenly. What is left out is not wanted, so it is not lost."""

    def __init__(self, fps: float | None) -> None:
        self._gap = 1 / fps if fps else 0.0
        self._due = 0.0

    def wanted(self, at: float) -> bool:
        """Whether the picture that arrived at this second is one of those."""
        if not self._gap:
            return True
        if at < self._due - self._gap / 10:  # arrivals jitter: a little early is on time
            return False
        self._due = max(self._due + self._gap, at)
        return True
