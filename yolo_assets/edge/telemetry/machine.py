"""How busy the box is: processor and memory of the agent with its child processes, and the graphics cards.

Measured when somebody asks, at most every two seconds: figures over a shorter time say nothing, and looking costs time
that the line needs.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass

import psutil

log = logging.getLogger(__name__)
_EVERY = 2.0
_GPU_QUERY = ("--query-gpu=name,utilization.gpu,memory.used,memory.total", "--format=csv,noheader,nounits")


@dataclass(frozen=True)
class Gpu:
    """One graphics card. ``used`` is the share of its time that it computed, 0 to 1; memory in bytes."""

    name: str
    used: float | None
    memory: int | None
    memory_total: int | None


@dataclass(frozen=True)
class Load:
    """One look.

    Attributes:
        cpus: processors of the box.
        agent: share of all of them that the agent used since the last look, 0 to 1; None at the first look.
        box: the same of everything that runs on the box.
        memory: bytes of the agent and its children, shared pages counted for each.
        memory_used: share of the box's memory in use, 0 to 1.
        gpus: graphics cards, as their own tool shows them.
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
        self._tool = shutil.which("nvidia-smi")
        self._at = 0.0
        self._before: tuple[float, dict[int, float], float, float] | None = None
        self._load: Load | None = None

    def load(self) -> Load:
        """The newest look."""
        with self._lock:
            if self._load is None or time.monotonic() - self._at >= _EVERY:
                self._load = self._look()
                self._at = time.monotonic()
            return self._load

    def _look(self) -> Load:
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
        return Load(cpus, agent, box, memory, round(psutil.virtual_memory().percent / 100, 3), self._gpus())

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
                continue  # it ended while we looked
        return spent, memory

    def _gpus(self) -> tuple[Gpu, ...]:
        if self._tool is None:
            return ()
        try:
            done = subprocess.run([self._tool, *_GPU_QUERY], capture_output=True, text=True, timeout=2, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            log.warning("%s does not answer and is not asked again: %s", self._tool, error)
            self._tool = None
            return ()
        return parse_gpus(done.stdout)


def parse_gpus(text: str) -> tuple[Gpu, ...]:
    """What ``nvidia-smi`` printed: one card a line, per cent and MiB; ``[N/A]`` where a card does not say."""

    def number(field: str) -> int | None:
        return int(field) if field.isdigit() else None

    def size(field: str) -> int | None:
        mib = number(field)
        return None if mib is None else mib << 20

    gpus: list[Gpu] = []
    for line in text.splitlines():
        fields = [field.strip() for field in line.rsplit(",", 3)]
        if len(fields) == 4:
            name, used, memory, total = fields
            share = number(used)
            gpus.append(Gpu(name, None if share is None else share / 100, size(memory), size(total)))
    return tuple(gpus)


def _share(part: float, whole: float) -> float:
    return round(min(1.0, max(0.0, part / whole)), 3) if whole > 0 else 0.0
