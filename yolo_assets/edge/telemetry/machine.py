"""How busy the device is: processor and memory of the agent with its child processes, and the graphics cards.

Measured on request, at most every two seconds: figures over a shorter time say nothing, and measuring costs time that
the cameras need.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import psutil

from yolo_assets.runtime.nvml import open_nvml

log = logging.getLogger(__name__)
_EVERY = 2.0


@dataclass(frozen=True)
class Gpu:
    """One graphics card. ``used`` is the share of its time that it computed, 0 to 1; memory in bytes."""

    name: str
    used: float | None
    memory: int | None
    memory_total: int | None


@dataclass(frozen=True)
class MachineLoad:
    """One measurement.

    Attributes:
        cpus: processors of the device.
        agent: share of all of them that the agent used since the last measurement, 0 to 1; None at the first.
        box: the same of everything that runs on the device.
        memory: bytes of the agent and its children, shared pages counted for each.
        memory_used: share of the device's memory in use, 0 to 1.
        gpus: graphics cards, as their driver reports them.
    """

    cpus: int
    agent: float | None
    box: float | None
    memory: int
    memory_used: float
    gpus: tuple[Gpu, ...]


class Machine:
    """Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = psutil.Process()
        self._nvml = open_nvml()
        self._at = 0.0
        self._before: tuple[float, dict[int, float], float, float] | None = None
        self._load: MachineLoad | None = None

    def load(self) -> MachineLoad:
        """The newest measurement."""
        with self._lock:
            if self._load is None or time.monotonic() - self._at >= _EVERY:
                self._load = self._measure()
                self._at = time.monotonic()
            return self._load

    def status(self) -> dict[str, Any]:
        """The section ``machine`` of ``GET /v1/status``."""
        return asdict(self.load())

    def _measure(self) -> MachineLoad:
        cpus = psutil.cpu_count() or 1
        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        whole = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)  # in user already
        spent, memory = self._family()
        now = time.monotonic()
        agent = box = None
        if self._before is not None:
            then, spent_then, idle_then, whole_then = self._before
            # Of a child that is new only what it spent since it was born; of one that ended what was seen of it.
            used = sum(seconds - spent_then.get(pid, 0.0) for pid, seconds in spent.items())
            agent = _share(used, (now - then) * cpus)
            box = _share((whole - whole_then) - (idle - idle_then), whole - whole_then)
        self._before = now, spent, idle, whole
        return MachineLoad(cpus, agent, box, memory, round(psutil.virtual_memory().percent / 100, 3), self._gpus())

    def _family(self) -> tuple[dict[int, float], int]:
        spent: dict[int, float] = {}
        memory = 0
        for process in (self._process, *self._process.children(recursive=True)):
            try:
                with process.oneshot():
                    times = process.cpu_times()
                    spent[process.pid] = times.user + times.system
                    memory += process.memory_info().rss
            except psutil.Error:
                continue  # it ended meanwhile
        return spent, memory

    def _gpus(self) -> tuple[Gpu, ...]:
        if self._nvml is None:
            return ()
        try:
            return read_gpus(self._nvml)
        except self._nvml.NVMLError as error:
            log.warning("the graphics driver does not answer and is not asked again: %s", error)
            self._nvml = None
            return ()


def read_gpus(nvml: Any) -> tuple[Gpu, ...]:
    """Every graphics card.

    Args:
        nvml: the module ``pynvml``, initialised.

    Raises:
        NVMLError: the driver does not answer.
    """

    def figure(read: Callable[[], Any]) -> Any:
        try:
            return read()
        except nvml.NVMLError:
            return None  # not every card has every figure

    gpus: list[Gpu] = []
    for index in range(nvml.nvmlDeviceGetCount()):
        card = nvml.nvmlDeviceGetHandleByIndex(index)
        name = nvml.nvmlDeviceGetName(card)
        rates = figure(lambda card=card: nvml.nvmlDeviceGetUtilizationRates(card))
        memory = figure(lambda card=card: nvml.nvmlDeviceGetMemoryInfo(card))
        gpus.append(
            Gpu(
                name.decode(errors="replace") if isinstance(name, bytes) else name,
                None if rates is None else rates.gpu / 100,
                None if memory is None else memory.used,
                None if memory is None else memory.total,
            )
        )
    return tuple(gpus)


def _share(part: float, whole: float) -> float:
    return round(min(1.0, max(0.0, part / whole)), 3) if whole > 0 else 0.0
