"""A network camera that plays one file to every client from its beginning, in real time: TCP or multipart HTTP."""

from __future__ import annotations

import itertools
import re
import socket
import threading
import time
from pathlib import Path


class PlayedFile:
    """Serves until it is closed.

    Args:
        path: an MPEG-TS file, sent as its own clock says, or JPEGs one after another, sent as a multipart stream.
        fps: JPEGs a second.
        part_head: header of each JPEG, without the empty line after it.
        port: where; 0 takes a free one.

    Attributes:
        clients: how many have come.
        began: when the newest came, ``time.monotonic()``.
    """

    def __init__(self, path: Path, fps: float = 5, part_head: str = "Content-Type: image/jpeg", port: int = 0) -> None:
        self._data = path.read_bytes()
        self._fps, self._part_head, self._stream = fps, part_head, path.suffix == ".ts"
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"tcp://127.0.0.1:{self.port}" if self._stream else f"http://127.0.0.1:{self.port}/"
        self.clients = 0
        self.began = 0.0
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def show(self, jpegs: bytes) -> None:
        """Send other JPEGs, one after another, from the next round on."""
        self._data = jpegs

    def hang_up(self) -> None:
        """Cut every connection; new ones are taken."""
        for client in self._sockets:
            try:
                client.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self._sockets.clear()

    def close(self) -> None:
        """End."""
        self._listener.close()
        self.hang_up()

    def _serve(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            self.clients, self.began = self.clients + 1, time.monotonic()
            self._sockets.append(client)
            threading.Thread(target=self._play, args=(client,), daemon=True).start()

    def _play(self, client: socket.socket) -> None:
        try:
            with client:
                (self._transport_stream if self._stream else self._jpegs)(client)
        except OSError:
            pass

    def _transport_stream(self, client: socket.socket) -> None:
        began, first, waiting = time.monotonic(), None, bytearray()
        for place in range(0, len(self._data) - 187, 188):
            packet = self._data[place : place + 188]
            if (clock := _clock(packet)) is not None:
                first = clock if first is None else first
                client.sendall(waiting)
                waiting.clear()
                time.sleep(min(1.0, max(0.0, clock - first - (time.monotonic() - began))))
            waiting += packet
        client.sendall(waiting)

    def _jpegs(self, client: socket.socket) -> None:
        client.recv(4096)
        client.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n")
        while True:
            data = self._data
            starts = [found.start() for found in re.finditer(b"\xff\xd8\xff", data)] + [len(data)]
            for begin, end in itertools.pairwise(starts):
                head = f"--frame\r\n{self._part_head}\r\nContent-Length: {end - begin}\r\n\r\n".encode()
                client.sendall(head + data[begin:end] + b"\r\n")
                time.sleep(1 / self._fps)


def _clock(packet: bytes) -> float | None:
    """The PCR of a transport stream packet, in seconds."""
    if not (packet[3] & 0x20 and packet[4] >= 7 and packet[5] & 0x10):
        return None
    base = int.from_bytes(packet[6:11], "big") >> 7
    return base / 90_000
