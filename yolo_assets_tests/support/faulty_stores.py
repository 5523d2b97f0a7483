"""Faults below every store that a process opens: in this process, or in whatever it starts.

``open_store`` puts its decorators around ``open_backend``; here that function is replaced by one that puts a
``FaultyStore`` around the real store, so the faults lie under the retries. The product knows nothing of it: a started
Python finds a ``sitecustomize`` on its path, as coverage tools do it.

    with faulty_stores(FaultOrder(each_once="after")) as log:          # this process
        materialize(...)
    assert ("put_if_absent", "receipts/...") in log.faults()

    environment = faulty_environment(tmp_path, FaultOrder(outage=(begin, end)))
    subprocess.run([..."yolo-assets"...], env=environment)             # another process, and its children
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import yolo_assets.storage.open as opening
from yolo_assets.storage.base import ObjectStore
from yolo_assets.storage.faults import (
    READS,
    WRITES,
    Effect,
    FaultRule,
    FaultyStore,
    Outage,
    StoreCall,
    StoreFault,
    at_random,
    each_once,
)

ORDER = "YOLO_ASSETS_TESTS_FAULTS"
ROOT = Path(__file__).parents[2]

HOOK = """from yolo_assets_tests.support.faulty_stores import follow_order
follow_order()
"""


@dataclass(frozen=True)
class FaultOrder:
    """Which requests fail, of every store that is opened.

    Attributes:
        each_once: the first request of each operation on each opened store fails, before or after it took effect.
        random: seed and share: a share of all requests fails; each opened store draws in its own order.
        outage: the stores are away between these two moments, seconds since 1970.
        operations: only these fail; empty: all.
        url: only stores whose URL holds this fail.
        key: only requests whose key or prefix holds this fail.
        log: file that gets a line for each fault, from all processes; empty: none.
    """

    each_once: Effect | None = None
    random: tuple[int, float] | None = None
    outage: tuple[float, float] | None = None
    operations: tuple[str, ...] = ()
    url: str = ""
    key: str = ""
    log: str = ""

    def rules(self) -> list[FaultRule]:
        """Fresh rules for one opened store."""
        operations = frozenset(self.operations) or READS | WRITES
        rules: list[FaultRule] = []
        if self.outage is not None:
            rules.append(Outage().between(*self.outage))
        if self.each_once is not None:
            rules.append(each_once(operations, effect=self.each_once))
        if self.random is not None:
            rules.append(at_random(*self.random, operations))
        return rules


class FaultLog:
    """The faults so far, of all processes that write to the same file."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._here: list[tuple[str, str]] = []

    def note(self, call: StoreCall) -> None:
        """A request failed."""
        with self._lock:
            self._here.append((call.operation, call.key))
        if self._path is not None:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(
                    descriptor, f"{json.dumps([call.operation, call.key])}\n".encode()
                )  # one write: lines stay whole
            finally:
                os.close(descriptor)

    def faults(self) -> list[tuple[str, str]]:
        """Operation and key of each request that failed."""
        if self._path is None:
            with self._lock:
                return list(self._here)
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        return [(operation, key) for operation, key in map(json.loads, lines)]


@contextmanager
def faulty_stores(order: FaultOrder) -> Iterator[FaultLog]:
    """Faults below every store that this process opens within the block."""
    log = FaultLog(Path(order.log) if order.log else None)
    before = opening.open_backend
    _install(order, log)
    try:
        yield log
    finally:
        opening.open_backend = before


def faulty_environment(folder: Path, order: FaultOrder, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a process whose stores, and those of its children, fail as ordered.

    Args:
        folder: where the hook is written; made when missing.
        order: what fails.
        base: the environment otherwise; default: this process's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(HOOK)
    environment = dict(os.environ if base is None else base)
    path = [str(folder), str(ROOT), *filter(None, [environment.get("PYTHONPATH")])]
    return environment | {"PYTHONPATH": os.pathsep.join(path), ORDER: json.dumps(asdict(order))}


def follow_order() -> None:
    """What the hook of a started process does."""
    if ORDER in os.environ:
        found = json.loads(os.environ[ORDER])
        lists = {name: tuple(value) for name, value in found.items() if isinstance(value, list)}
        order = FaultOrder(**(found | lists))
        _install(order, FaultLog(Path(order.log) if order.log else None))


def _install(order: FaultOrder, log: FaultLog) -> None:
    real = opening.open_backend

    def open_faulty(url: str) -> ObjectStore:
        store = real(url)
        if order.url not in url:
            return store
        return FaultyStore(store, *(_logged(rule, order.key, log) for rule in order.rules()))

    opening.open_backend = open_faulty


def _logged(rule: FaultRule, key: str, log: FaultLog) -> FaultRule:
    def logged(call: StoreCall) -> StoreFault | None:
        fault = rule(call) if key in call.key else None
        if fault is not None:
            log.note(call)
        return fault

    return logged
