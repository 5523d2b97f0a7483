"""The child as a program: receive the order, read one camera, end when the agent closes the socket or has ended."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from typing import Any

from yolo_assets.edge.cameras.process.channel import AgentChannel
from yolo_assets.edge.cameras.process.wire import MOST_BYTES, unpack
from yolo_assets.runtime.processes import die_with_parent

_CLOSE_SECONDS = 0.5


def read(order: Any, channel: AgentChannel, closing: threading.Event) -> None:
    """Read the camera of the order until its end."""
    try:
        if order["kind"] == "usb":
            from yolo_assets.edge.cameras.process.usb import read_usb

            channel.started()
            read_usb(order, channel, closing)
        elif order["kind"] == "snapshot":
            from yolo_assets.edge.cameras.process.snapshot import read_snapshots

            channel.started()
            read_snapshots(order, channel, closing)
        elif order["kind"] == "genicam":
            from yolo_assets.edge.cameras.process.genicam import read_genicam

            channel.started()
            read_genicam(order, channel, closing)
        else:
            from yolo_assets.edge.cameras.process.stream import read_stream

            channel.started()
            read_stream(order, channel, closing)
    except Exception as error:  # no one reads a traceback of this process: the agent reports what is known
        channel.end(f"reading failed: {type(error).__name__}: {error}", hopeless=False)


def main() -> None:
    """One argument each: the descriptor of the socket and the number of the parent."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the parent stops first and in order; its end is this one's
        signal.signal(number, signal.SIG_IGN)
    die_with_parent(int(sys.argv[2]))
    connection = socket.socket(fileno=int(sys.argv[1]))
    order = unpack(connection.recv(MOST_BYTES))
    closing = threading.Event()
    reader = threading.Thread(target=read, args=(order, AgentChannel(connection), closing), daemon=True)
    reader.start()
    threading.Thread(target=_end_with, args=(connection, reader, closing), daemon=True).start()
    reader.join()
    os._exit(0)  # never through the destructors of a library that may be in the middle of something


def _end_with(connection: socket.socket, reader: threading.Thread, closing: threading.Event) -> None:
    connection.recv(1)  # nothing more is ever sent: this returns when the parent closes its end or is gone
    closing.set()
    reader.join(_CLOSE_SECONDS)  # time to close the connection: a camera counts its clients
    os._exit(0)


if __name__ == "__main__":
    main()
