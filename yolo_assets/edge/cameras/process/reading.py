"""The child as a program: take the order, read one camera, end when the agent lets go or is gone. Run by it only."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import threading
from typing import Any

from yolo_assets.edge.cameras.process.outbox import Outbox
from yolo_assets.edge.cameras.process.wire import MOST_BYTES, unpack

_PR_SET_PDEATHSIG = 1
_CLOSE_SECONDS = 0.5


def die_with_parent(parent: int) -> None:
    """End at once when the parent ends, however it ends and even while this process is stopped."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the line above
        os._exit(0)


def read(order: Any, outbox: Outbox, closing: threading.Event) -> None:
    """Read the camera of the order until its end."""
    try:
        if order["kind"] == "usb":
            from yolo_assets.edge.cameras.process.usb import read_usb

            read_usb(order, outbox, closing)
        else:
            from yolo_assets.edge.cameras.process.stream import read_stream

            read_stream(order, outbox, closing)
    except Exception as error:  # nobody reads a traceback of this process: the agent tells what is known
        outbox.last_words(f"reading broke: {type(error).__name__}: {error}", hopeless=False)


def main() -> None:
    """One argument each: the descriptor of the socket and the number of the parent."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the parent stops first and in order; its end is this one's
        signal.signal(number, signal.SIG_IGN)
    die_with_parent(int(sys.argv[2]))
    channel = socket.socket(fileno=int(sys.argv[1]))
    order = unpack(channel.recv(MOST_BYTES))
    closing = threading.Event()
    reader = threading.Thread(target=read, args=(order, Outbox(channel), closing), daemon=True)
    reader.start()
    threading.Thread(target=_end_with, args=(channel, reader, closing), daemon=True).start()
    reader.join()
    os._exit(0)  # never through the destructors of a library that may be in the middle of something


def _end_with(channel: socket.socket, reader: threading.Thread, closing: threading.Event) -> None:
    channel.recv(1)  # nothing more is ever sent: this returns when the parent lets go or is gone
    closing.set()
    reader.join(_CLOSE_SECONDS)  # time to take leave of a camera that counts its visitors
    os._exit(0)


if __name__ == "__main__":
    main()
