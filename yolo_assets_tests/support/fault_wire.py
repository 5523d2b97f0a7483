"""HTTP/1.1 messages on a socket, as far as a proxy must understand them to pass them on."""

from __future__ import annotations

import socket
from collections.abc import Iterator

CHUNK = 1 << 18


class Closed(Exception):
    """This connection is over, as a fault wants it or because the other side left."""


class Wire:
    """A socket and what was read from it too early."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._rest = b""

    def head(self) -> bytes:
        """Start line and headers with the empty line; nothing when the other side left between two messages."""
        while b"\r\n\r\n" not in self._rest:
            more = self.socket.recv(CHUNK)
            if not more:
                if self._rest:
                    raise Closed
                return b""
            self._rest += more
        end = self._rest.index(b"\r\n\r\n") + 4
        head, self._rest = self._rest[:end], self._rest[end:]
        return head

    def body(self, size: int) -> Iterator[bytes]:
        """``size`` bytes in pieces."""
        while size:
            piece = self._rest[:size] or self.socket.recv(min(CHUNK, size))
            if not piece:
                raise Closed
            self._rest = self._rest[len(piece) :] if self._rest else b""
            size -= len(piece)
            yield piece

    def chunked(self) -> bytes:
        """A body whose length is told piece by piece."""
        body = b""
        while True:
            while b"\r\n" not in self._rest:
                more = self.socket.recv(CHUNK)
                if not more:
                    raise Closed
                self._rest += more
            line, self._rest = self._rest.split(b"\r\n", 1)
            size = int(line.split(b";")[0], 16)
            body += b"".join(self.body(size))
            if b"".join(self.body(2)) != b"\r\n":
                raise Closed  # trailers: none that we know sends them
            if not size:
                return body


def headers_of(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}


def chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def flipped(piece: bytes, at: int) -> tuple[bytes, int | None]:
    """The piece with one bit of byte ``at`` changed, when that byte is in it; else how far it still is."""
    if at >= len(piece):
        return piece, at - len(piece)
    changed = bytearray(piece)
    changed[at] ^= 1 << (at % 8)
    return bytes(changed), None
