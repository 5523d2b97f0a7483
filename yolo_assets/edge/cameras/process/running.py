"""The agent's side of one child, from its start to its end."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
from typing import Any

from yolo_assets.contracts.errors import UserError
from yolo_assets.edge.cameras.process.memory import SLOTS, Bytes, ParentMemory
from yolo_assets.edge.cameras.process.wire import (
    MOST_BYTES,
    MOST_PIXELS,
    MOST_SIDE,
    Order,
    WireError,
    number,
    pack,
    unpack,
)

_PROGRAM = "yolo_assets.edge.cameras.process.reading"
_INHERITED = ("PATH", "HOME", "TMPDIR", "TZ", "LANG", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""What decodes a stranger's bytes has no business with the keys of the store."""
_TAKE_LEAVE = 1.0


class ChildError(UserError):
    """A child could not be started, or ended without a word."""


class RunningChild:
    """One child process. Used by one thread, which must live as long as the child: the kernel ties them together."""

    def __init__(self, order: Order) -> None:
        """Start it and tell it what to read.

        Raises:
            ChildError: no process can be started, or the order is too long.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = {k: v for k, v in os.environ.items() if k in _INHERITED or k.startswith(("LC_", "PYTHON"))}
        command = [sys.executable, "-m", _PROGRAM, str(theirs.fileno()), str(os.getpid())]
        try:
            ours.send(pack(order))
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=environment,
            )
        except (OSError, WireError) as error:
            ours.close()
            raise ChildError(f"cannot start a process for the camera: {error}") from None
        finally:
            theirs.close()
        self._channel = ours
        self._memory: ParentMemory | None = None

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def receive(self, seconds: float) -> dict[str, Any] | None:
        """The next note; None when there is none within the time.

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
                raise ChildError(f"the camera's process ended {self._how_it_ended()}")
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise WireError("a note that is too long")
            note = unpack(data)
            if note.get("note") == "memory":
                slot_bytes = number(note, "slot_bytes", 1, MOST_PIXELS * 3 + (1 << 16))
                if len(files) != 1:
                    raise WireError("memory without memory")
                self._memory = ParentMemory(files.pop(), slot_bytes)
            return note
        finally:
            for file in files:
                os.close(file)

    def picture(self, note: dict[str, Any]) -> Bytes:
        """The picture that a note tells of, ``[h, w, 3]`` uint8 BGR.

        Raises:
            WireError: there is no such picture.
        """
        if self._memory is None:
            raise WireError("a picture before any memory")
        height, width = number(note, "height", 1, MOST_SIDE), number(note, "width", 1, MOST_SIDE)
        return self._memory.lend(number(note, "slot", 0, SLOTS - 1), height, width)

    def end(self, *, at_once: bool) -> None:
        """End it and wait until it is gone. Calling it twice is no error.

        Args:
            at_once: kill it; else it may take leave of its camera first, for a second at the most.
        """
        self._channel.close()
        if not at_once:
            try:
                self._process.wait(_TAKE_LEAVE)
            except subprocess.TimeoutExpired:
                pass
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def _how_it_ended(self) -> str:
        try:
            code = self._process.wait(_TAKE_LEAVE)
        except subprocess.TimeoutExpired:
            return "its talk with the agent"
        return f"by {signal.Signals(-code).name}" if code < 0 else f"with exit status {code}"


def _files(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    found: list[int] = []
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            count = len(data) // struct.calcsize("i")
            found += struct.unpack(f"{count}i", data[: count * struct.calcsize("i")])
    return found
