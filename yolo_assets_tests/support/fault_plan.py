"""Which request the fault proxy harms, and how: single faults, rules, and seeded plans.

A seeded plan decides by what is asked (operation, key, part, how often it was asked before), not by the order of
arrival, so threads that overtake one another do not change it: the same seed harms the same requests again.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit

Kind = Literal[
    "cut_request",  # the server gets only the first bytes of the request
    "cut_response",  # the client gets only the first bytes of the answer
    "delay",  # nothing moves for some seconds, then all is well
    "reset",  # the client's connection is reset before the server hears anything
    "reset_after",  # ... after the server did what was asked
    "status",  # an error status instead of the server
    "error_200",  # status 200 with an error in the body instead of the server
    "drop_response",  # the server does it, the client hears nothing: the connection ends
    "flip_request",  # one bit of the request's body
    "flip_response",  # one bit of the answer's body
    "kill",  # the client's process ends: before, while or after the server has the request
]

BODY_UP = frozenset({"UploadPart", "PutObject", "CompleteMultipartUpload", "PutObjectRetention", "PutObjectLegalHold"})
BODY_DOWN = frozenset({"GetObject", "ListObjectsV2", "ListParts", "CreateMultipartUpload", "CompleteMultipartUpload"})


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        kind: what.
        at: where in the message, as a fraction of it. ``kill``: 0 before the server hears of it, 1 after it answered.
        seconds: of a delay.
        status: of an error answer.
    """

    kind: Kind
    at: float = 0.5
    seconds: float = 0.2
    status: int = 503

    def fits(self, operation: str) -> bool:
        """Whether it can be done to such a request at all: without a body there is no bit to flip in it."""
        if self.kind == "flip_request":
            return operation in BODY_UP
        if self.kind == "flip_response":
            return operation in BODY_DOWN
        return self.kind != "error_200" or operation == "CompleteMultipartUpload"

    def __str__(self) -> str:
        more = {"delay": f" {self.seconds:g} s", "status": f" {self.status}", "reset": "", "drop_response": ""}
        return self.kind + more.get(self.kind, f" at {self.at:.3f}")


@dataclass(frozen=True)
class Request:
    """One request as it arrived.

    Attributes:
        number: from 1, in order of arrival.
        operation: S3's name for it; ``GET`` and the like for what has none here.
        key: within the bucket; of a listing its prefix.
        part: upload part, 0 when none.
        seen: how often the same was asked before.
        size: bytes of its body.
    """

    number: int
    operation: str
    key: str
    part: int
    seen: int
    size: int

    @property
    def label(self) -> str:
        """What is asked, the same in every run: neither bucket nor upload id are in it."""
        return f"{self.operation} {self.key}" + (f" part {self.part}" if self.part else "")

    def __str__(self) -> str:
        return f"{self.label}, time {self.seen + 1}"


Plan = Callable[[Request], Fault | None]


def operation_of(method: str, target: str) -> tuple[str, str, int]:
    """Operation, key and part number of a request with the bucket in its path."""
    url = urlsplit(target)
    query = parse_qs(url.query, keep_blank_values=True)
    key = unquote(url.path).lstrip("/").partition("/")[2]
    part = int(query.get("partNumber", ["0"])[0])
    if not key:
        if method == "GET" and "list-type" in query:
            return "ListObjectsV2", query.get("prefix", [""])[0], 0
        return f"{method} bucket", "", 0
    if "uploadId" in query:
        names = {"PUT": "UploadPart", "GET": "ListParts", "POST": "CompleteMultipartUpload"}
        return names.get(method, "AbortMultipartUpload"), key, part
    for name, operation in (("uploads", "CreateMultipartUpload"), ("retention", "ObjectRetention")):
        if name in query:
            return operation if name == "uploads" else f"{method.title()}{operation}", key, 0
    if "legal-hold" in query:
        return f"{method.title()}ObjectLegalHold", key, 0
    names = {"PUT": "PutObject", "GET": "GetObject", "HEAD": "HeadObject", "DELETE": "DeleteObject"}
    return names.get(method, method), key, 0


@dataclass
class Rule:
    """A fault at requests of one kind.

    Attributes:
        operation: which.
        fault: what happens to them.
        times: how often; then no more.
        skip: how many go through first.
        key: part of the key; empty fits all.
        part: upload part, 0 for any.
    """

    operation: str
    fault: Fault
    times: int = 1
    skip: int = 0
    key: str = ""
    part: int = 0
    done: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Fault | None:
        """The fault, when it is this request's turn."""
        if request.operation != self.operation or self.key not in request.key or self.part not in (0, request.part):
            return None
        with self._lock:
            if self.skip:
                self.skip -= 1
                return None
            if self.done >= self.times:
                return None
            self.done += 1
            return self.fault


def rules(some: Iterable[Plan]) -> Plan:
    """A plan of several; the first that has a fault for a request gives it."""
    all_of_them = list(some)

    def plan(request: Request) -> Fault | None:
        return next((fault for rule in all_of_them if (fault := rule(request)) is not None), None)

    return plan


def seeded(seed: int | str, rate: float, kinds: Sequence[Kind]) -> Plan:
    """Faults at a share ``rate`` of what is asked; what is hit is hit one to four times in a row.

    Four is one more than the archiver tries quickly: some are ridden out, some leave the hour queued.
    """

    def plan(request: Request) -> Fault | None:
        chance = random.Random(f"{seed} {request.label}")
        if chance.random() >= rate or request.seen >= chance.randint(1, 4):
            return None
        each = random.Random(f"{seed} {request}")
        fitting: list[Kind] = [kind for kind in kinds if Fault(kind).fits(request.operation)]
        if not fitting:
            return None
        return Fault(
            each.choice(fitting), at=each.random(), seconds=each.uniform(0.02, 0.2), status=each.choice((500, 503))
        )

    return plan
