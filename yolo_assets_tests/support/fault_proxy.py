"""A reverse proxy for S3 over HTTP/1.1 that counts what passes and harms it on request. Loopback only.

The client's own endpoint is the proxy, so the ``Host`` it signs is the proxy's; the server behind it checks the
signature against the header that it gets, which is passed on as it came. Every request gets a connection of its own to
the server. Belongs here: moving bytes, counting, doing the faults. Which request is harmed is said in ``fault_plan``.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from yolo_assets_tests.support.fault_plan import Fault, Plan, Request, operation_of
from yolo_assets_tests.support.fault_wire import Closed, Wire, chain, flipped, headers_of

_TIMEOUT = 60.0


@dataclass
class Passed:
    """One request, and what became of it.

    Attributes:
        request: what was asked.
        fault: what was done to it, if anything.
        sent: bytes that came from the client, headers too.
        received: bytes that went to the client, headers too.
        status: of the answer that the client got or should have got; 0 when there was none.
    """

    request: Request
    fault: Fault | None = None
    sent: int = 0
    received: int = 0
    status: int = 0

    def __str__(self) -> str:
        return f"{self.request.number}. {self.request} -> {self.status}" + (f" [{self.fault}]" if self.fault else "")


class FaultProxy:
    """A running proxy; a context manager.

    Attributes:
        url: the endpoint to give to clients.
        passed: every request so far, in order of arrival.
        plan: decides about the next ones; None harms nothing.
        kill: ends the client's process; the fault ``kill`` calls it.
        harmed: called after each fault with what was done; the client may already be trying again.
    """

    def __init__(self, server: str, plan: Plan | None = None) -> None:
        """Listen on a free port; ``server`` is the endpoint behind."""
        parts = urlsplit(server)
        self._server = (parts.hostname or "127.0.0.1", parts.port or 80)
        self.plan = plan
        self.kill: Callable[[], None] = lambda: None
        self.harmed: Callable[[Passed], None] = lambda _: None
        self.passed: list[Passed] = []
        self._seen: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, name="fault-proxy", daemon=True).start()

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening and end every connection."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def begin(self, plan: Plan | None) -> None:
        """Forget what passed and count from the start, with another plan."""
        with self._lock:
            self.plan = plan
            self.passed = []
            self._seen.clear()

    def faults(self) -> list[Passed]:
        """What was harmed since ``begin``."""
        with self._lock:
            return [one for one in self.passed if one.fault is not None]

    def count(self, operation: str = "") -> int:
        """Requests since ``begin``; of one operation, or all."""
        with self._lock:
            return sum(operation in ("", one.request.operation) for one in self.passed)

    def sent(self, operation: str = "") -> int:
        """Bytes that came from the client since ``begin``."""
        with self._lock:
            return sum(one.sent for one in self.passed if operation in ("", one.request.operation))

    def received(self, operation: str = "") -> int:
        """Bytes that went to the client since ``begin``."""
        with self._lock:
            return sum(one.received for one in self.passed if operation in ("", one.request.operation))

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(_TIMEOUT)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        client = Wire(connection)
        try:
            with suppress(Closed, OSError):
                while head := client.head():
                    self._pass(client, head)
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def _pass(self, client: Wire, head: bytes) -> None:
        """One request and its answer."""
        method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        headers = headers_of(head)
        operation, key, part = operation_of(method, target)
        size = int(headers.get("content-length", "0"))
        with self._lock:
            number, plan = len(self.passed) + 1, self.plan
            request = Request(number, operation, key, part, self._seen[f"{operation} {key} {part}"], size)
            self._seen[f"{operation} {key} {part}"] += 1
            one = Passed(request, sent=len(head))
            self.passed.append(one)
        fault = plan(request) if plan is not None else None
        one.fault = fault
        try:
            if fault is not None and fault.kind in ("reset", "kill") and (fault.kind == "reset" or fault.at <= 0):
                self._end(client, fault, one)
            if headers.get("expect", "").lower() == "100-continue":
                client.socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            if fault is not None and fault.kind == "delay":
                time.sleep(fault.seconds)
            if fault is not None and fault.kind in ("status", "error_200"):
                for piece in client.body(size):
                    one.sent += len(piece)
                self._refuse(client, method, fault, one)
                return
            with socket.create_connection(self._server, timeout=_TIMEOUT) as upstream:
                upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._forward(client, upstream, head, fault, one)
                self._answer(client, Wire(upstream), method, fault, one)
        finally:
            if fault is not None:
                self.harmed(one)

    def _forward(self, client: Wire, server: socket.socket, head: bytes, fault: Fault | None, one: Passed) -> None:
        """The request, from client to server."""
        size = one.request.size
        kind = fault.kind if fault is not None else None
        at = fault.at if fault is not None else 0.0
        end = int((len(head) + size) * at) if kind in ("cut_request", "kill") and at < 1 else None
        plain = b"".join(line + b"\r\n" for line in head[:-4].split(b"\r\n") if not line.lower().startswith(b"expect:"))
        plain += b"\r\n"
        refused = False
        flip = int(size * min(at, 0.999999)) if kind == "flip_request" and size else None
        for piece in chain(plain, client.body(size)):
            data = piece
            if piece is not plain:
                one.sent += len(piece)
                if flip is not None:
                    data, flip = flipped(piece, flip)
            if end is not None:
                data, end = data[:end], end - len(data)
            if not refused:
                try:
                    server.sendall(data)
                except OSError:  # the server answered early and hears no more: its answer counts
                    refused = True
            if end is not None and end <= 0 and fault is not None:
                self._end(client, fault, one)

    def _answer(self, client: Wire, server: Wire, method: str, fault: Fault | None, one: Passed) -> None:
        """The answer, from server to client."""
        head = server.head()
        while head.startswith(b"HTTP/1.1 100"):
            head = server.head()
        if not head:
            raise Closed
        one.status = int(head.split(b" ", 2)[1])
        empty = method == "HEAD" or one.status in (204, 304)
        headers = headers_of(head)
        if headers.get("transfer-encoding", "").lower() == "chunked" and not empty:
            body = server.chunked()
            lines = [line for line in head[:-4].split(b"\r\n") if not line.lower().startswith(b"transfer-encoding:")]
            head = b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", b""])
            pieces, size = iter([body]), len(body)
        else:
            size = 0 if empty else int(headers.get("content-length", "0"))
            pieces = server.body(size)
        kind = fault.kind if fault is not None else None
        if fault is not None and kind in ("drop_response", "reset_after", "kill"):
            for _ in pieces:
                pass
            self._end(client, fault, one)
        end = int((len(head) + size) * fault.at) if fault is not None and kind == "cut_response" else None
        flip = int(size * min(fault.at, 0.999999)) if fault is not None and kind == "flip_response" and size else None
        for number, piece in enumerate(chain(head, pieces)):
            data = piece
            if number and flip is not None:
                data, flip = flipped(piece, flip)
            if end is not None:
                data, end = data[:end], end - len(data)
            client.socket.sendall(data)
            one.received += len(data)
            if end is not None and end <= 0 and fault is not None:
                self._end(client, fault, one)

    def _end(self, client: Wire, fault: Fault, one: Passed) -> None:
        """End the client's connection as the fault wants it."""
        if fault.kind == "kill":
            self.kill()
        if fault.kind in ("reset", "reset_after"):
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Closed

    def _refuse(self, client: Wire, method: str, fault: Fault, one: Passed) -> None:
        """An answer that the server never gave."""
        one.status = 200 if fault.kind == "error_200" else fault.status
        code = "SlowDown" if fault.status == 503 and fault.kind == "status" else "InternalError"
        body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>made</Message></Error>'
        head = (
            f"HTTP/1.1 {one.status} Made\r\nContent-Type: application/xml\r\n"
            f"Content-Length: {len(body)}\r\nDate: Fri, 02 Jan 2026 03:00:00 GMT\r\n\r\n"
        )
        answer = (head + ("" if method == "HEAD" else body)).encode()
        client.socket.sendall(answer)
        one.received += len(answer)
