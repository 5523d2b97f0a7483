"""Work at low priority, so that it takes only the processor time that inference does not need.

On Linux a priority belongs to a thread, and a new thread inherits it. Engines make lasting threads while they load and
warm up: those will run live frames later and must not stay slow. So ``at_low_priority`` gives every thread that was
created during the work its normal priority back. Raising a priority needs a privilege (root, ``CAP_SYS_NICE`` or a
``LimitNICE=+0`` in the unit); without it work that makes lasting threads runs at normal priority.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

NICE = 10


@contextmanager
def at_low_priority(*, makes_threads: bool = False) -> Generator[None]:
    """Run the block in this thread at low priority.

    Args:
        makes_threads: the block starts threads that outlive it and infer live frames.
    """
    normal = os.getpriority(os.PRIO_PROCESS, os.getpid())
    me, before = threading.get_native_id(), _threads()
    if not may_raise():
        # A priority that is lowered stays so: only a thread that does nothing else may be lowered.
        yield
        return
    _set(me, normal + NICE)
    try:
        yield
    finally:
        _set(me, normal)
        if makes_threads:
            for thread in _threads() - before:
                if _get(thread) == normal + NICE:
                    _set(thread, normal)


def lower_for_good() -> None:
    """Lower this thread for the rest of its life: for threads that never make an engine."""
    _set(threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, os.getpid()) + NICE)


@cache
def may_raise() -> bool:
    """Whether this process may give a thread its normal priority back. Determined once, by trying."""
    allowed: list[bool] = []

    def attempt() -> None:
        me = threading.get_native_id()
        normal = os.getpriority(os.PRIO_PROCESS, me)
        try:
            os.setpriority(os.PRIO_PROCESS, me, normal + 1)
            os.setpriority(os.PRIO_PROCESS, me, normal)
        except OSError:
            allowed.append(False)
        else:
            allowed.append(True)

    thread = threading.Thread(target=attempt, name="priority-check")
    thread.start()
    thread.join()
    return allowed == [True]


def _threads() -> set[int]:
    return {int(task.name) for task in Path("/proc/self/task").iterdir()}


def _get(thread: int) -> int | None:
    try:
        return os.getpriority(os.PRIO_PROCESS, thread)
    except OSError:  # it has ended
        return None


def _set(thread: int, priority: int) -> None:
    try:
        os.setpriority(os.PRIO_PROCESS, thread, min(19, priority))
    except OSError:
        pass
