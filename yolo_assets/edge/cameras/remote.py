"""A camera that a child process reads: the child's start and end, what its messages mean, and when it is killed."""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from subprocess import DEVNULL
from threading import Event
from typing import Any

from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.edge.cameras.process.memory import SLOTS, Bytes, ParentMemory
from yolo_assets.edge.cameras.process.wire import (
    MOST_BYTES,
    MOST_PIXELS,
    MOST_SIDE,
    Order,
    WireError,
    lost_counts,
    number,
    pack,
    unpack,
)
from yolo_assets.edge.cameras.source import SourceError
from yolo_assets.edge.clock import LONGEST_SLEW, DeviceClock
from yolo_assets.edge.types import Capture
from yolo_assets.runtime.processes import ChildProcess, ChildStartError, environment_of

_POLL = 0.2
_STEP = timedelta(milliseconds=1)
_START_SECONDS = 120.0
"""A process that has not said a word after this long does not run. A busy machine needs its time to start one."""
_PICTURE_SECONDS = 120.0
"""A stream that sends packets and no picture for this long is opened again. Smart codecs have one key a minute."""
_PROGRAM = "yolo_assets.edge.cameras.process.main"
_INHERITED = ("PATH", "HOME", "TMPDIR", "TZ", "LANG", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""A process that decodes a stranger's bytes must not have the keys of the store."""
_CLOSE_SECONDS = 1.0


class ChildError(UserError):
    """A child could not be started, or ended without a message."""


class CameraProcess:
    """One child process. Used by one thread, which must live as long as the child: the kernel ties them together."""

    def __init__(self, order: Order) -> None:
        """Start it and tell it what to read.

        Raises:
            ChildError: no process can be started, or the order is too long.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            ours.send(pack(order))
            self._process = ChildProcess(
                "a process for the camera",
                [sys.executable, "-m", _PROGRAM, str(theirs.fileno()), str(os.getpid())],
                environment=environment_of(_INHERITED, ("LC_", "PYTHON")),
                pass_fds=(theirs.fileno(),),
                output=DEVNULL,
                errors=DEVNULL,
            )
        except (WireError, ChildStartError) as error:
            ours.close()
            words = f"cannot start a process for the camera: {error}" if isinstance(error, WireError) else str(error)
            raise ChildError(words) from None
        finally:
            theirs.close()
        self._channel = ours
        self._memory: ParentMemory | None = None

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def receive(self, seconds: float) -> dict[str, Any] | None:
        """The next message; None when there is none within the time.

        Raises:
            WireError: the child sent what it must not.
            ChildError: it is gone.
        """
        self._channel.settimeout(seconds)
        try:
            data, ancillary, flags, _ = self._channel.recvmsg(MOST_BYTES, socket.CMSG_SPACE(struct.calcsize("i")))
        except TimeoutError:
            return None
        except OSError:
            data, ancillary, flags = b"", [], 0
        files = _files(ancillary)
        try:
            if not data:
                ending = self._process.how_it_ended(_CLOSE_SECONDS) or "its connection to the agent"
                raise ChildError(f"the camera's process ended {ending}")
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise WireError("a message that is too long")
            message = unpack(data)
            if message.get("note") == "memory":
                slot_bytes = number(message, "slot_bytes", 1, MOST_PIXELS * 3 + (1 << 16))
                if len(files) != 1:
                    raise WireError("a memory message without its descriptor")
                self._memory = ParentMemory(files.pop(), slot_bytes)
            return message
        finally:
            for file in files:
                os.close(file)

    def picture(self, message: dict[str, Any]) -> Bytes:
        """The picture that a message announces, ``[h, w, 3]`` uint8 BGR.

        Raises:
            WireError: there is no such picture.
        """
        if self._memory is None:
            raise WireError("a picture before any memory")
        height, width = number(message, "height", 1, MOST_SIDE), number(message, "width", 1, MOST_SIDE)
        return self._memory.lend(number(message, "slot", 0, SLOTS - 1), height, width)

    def end(self, *, at_once: bool) -> None:
        """End it and wait until it is gone. Calling it twice is no error.

        Args:
            at_once: kill it; else it may close its connection to the camera first, for a second at most.
        """
        self._channel.close()
        self._process.end(0.0 if at_once else _CLOSE_SECONDS, ask=None)


def _files(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    descriptors: list[int] = []
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            count = len(data) // struct.calcsize("i")
            descriptors += struct.unpack(f"{count}i", data[: count * struct.calcsize("i")])
    return descriptors


@dataclass(frozen=True)
class Reading:
    """How one camera is read.

    Attributes:
        order: what the child needs; made anew for each child, since passwords change.
        shown: the camera's address as it may be displayed.
        clean: takes secrets out of a text that may hold them.
        timeout_s: a child that gives no picture for so long is killed.
    """

    order: Callable[[], Order]
    shown: str
    clean: Callable[[str], str]
    timeout_s: float


class StartTurn:
    """A camera's turn to start its process, from when it `comes` until the process has said its first word.

    Only some start at once: all together would take so long on a small machine that each seems to hang.
    """

    _places = threading.BoundedSemaphore(max(4, 2 * (os.cpu_count() or 1)))

    def __init__(self) -> None:
        self.over = True

    def __enter__(self) -> StartTurn:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def comes(self, stop: Event) -> bool:
        """Wait for the turn; False when ``stop`` was set first."""
        while not stop.is_set():
            if self._places.acquire(timeout=_POLL):
                self.over = False
                return True
        return False

    def end(self) -> None:
        """Let the next one start. Calling it twice is no error."""
        if not self.over:
            self.over = True
            self._places.release()


class RemoteSource:
    """One camera. Its child lives as long as one call of `captures`."""

    live = True

    def __init__(self, camera_id: str, reading: Reading, clock: DeviceClock) -> None:
        self.camera_id = camera_id
        self._reading = reading
        self._clock = clock
        self._facts: dict[str, Any] = {}
        self._child: CameraProcess | None = None

    def check(self) -> None:
        """Whether the order can be made. A camera itself may be off when the agent starts.

        Raises:
            BadInputError: credentials that cannot be read.
        """
        self._reading.order()

    def now(self) -> datetime:
        """The time that a picture would get that arrives now."""
        return self._clock.now()

    def facts(self) -> dict[str, Any]:
        """Where it is and what it sends, for the status."""
        child = self._child
        return {"address": self._reading.shown, **self._facts, "process": child.pid if child else None}

    def captures(self, stop: Event) -> Iterator[Capture]:
        """Read by a new child until it breaks, hangs, or ``stop`` is set.

        Raises:
            SourceError: whatever happened to it.
            BadInputError: another configuration is needed, credentials for example.
        """
        order = self._reading.order()
        with StartTurn() as turn:
            if turn.comes(stop):
                yield from self._read(order, turn, stop)

    def _read(self, order: Order, turn: StartTurn, stop: Event) -> Iterator[Capture]:
        child = self._child = CameraProcess(order)
        self._facts, at_once = {}, False
        latest = self._clock.now()
        try:
            for capture in self._messages(child, turn, stop):
                if capture.image is not None:  # else lost somewhere before the picture that comes next
                    latest = self._after(latest, capture.captured_at)
                yield replace(capture, captured_at=latest)
        except (WireError, ChildError) as error:
            at_once = True
            words = (
                f"the camera's process sent an invalid message: {error}" if isinstance(error, WireError) else str(error)
            )
            raise SourceError(self._reading.clean(words)) from None
        except SourceError:
            at_once = True
            raise
        finally:
            self._child = None
            child.end(at_once=at_once)

    def _messages(self, child: CameraProcess, turn: StartTurn, stop: Event) -> Iterator[Capture]:
        begun = alive = pictured = time.monotonic()
        while not stop.is_set():
            message = child.receive(_POLL)
            if message is not None:
                if not turn.over:  # its first word: from here on the camera is what is waited for
                    turn.end()
                    alive = pictured = time.monotonic()
                for reason, count in lost_counts(message).items():
                    yield from (Capture(self._clock.now(), None, lost=reason) for _ in range(count))
                note = message.get("note")
                if note == "picture":
                    image = child.picture(message)
                    alive = pictured = time.monotonic()
                    yield Capture(self._clock.at(_arrived(message)), image)
                    continue
                if note in ("unchanged", "idle"):
                    alive = pictured = time.monotonic()
                    yield Capture(self._clock.now(), None, quiet="same" if note == "unchanged" else "none_due")
                elif note in ("alive", "packets", "lost"):
                    alive = time.monotonic()
                    pictured = alive if note == "alive" else pictured
                elif note == "opened":
                    self._facts = {key: message.get(key) for key in ("codec", "width", "height")}
                elif note == "end":
                    self._ended(message)
            now = time.monotonic()
            if not turn.over and now - begun > _START_SECONDS:
                raise SourceError(f"its process did not start within {_START_SECONDS:g} s; it was ended")
            if turn.over and now - alive > self._reading.timeout_s:
                doing = "no picture came" if self._facts else "it did not answer"
                raise SourceError(f"{doing} for {self._reading.timeout_s:g} s; its process was ended")
            if turn.over and now - pictured > max(_PICTURE_SECONDS, self._reading.timeout_s):
                raise SourceError(f"it sends, but no picture for {now - pictured:.0f} s; its process was ended")

    @staticmethod
    def _after(latest: datetime, moment: datetime) -> datetime:
        """The time of the next picture: later than the last, unless the clock was set back by more than it slews."""
        return max(moment, latest + _STEP) if latest - moment < LONGEST_SLEW else moment

    def _ended(self, message: dict[str, Any]) -> None:
        words = self._reading.clean(str(message.get("words", "")))
        if message.get("hopeless") is True:
            raise BadInputError(words)
        raise SourceError(words)


def _arrived(message: dict[str, Any]) -> float:
    value = message.get("arrived")
    if not isinstance(value, float) or not 0 <= value < 1e10:
        raise WireError("a picture without a time")
    return value
