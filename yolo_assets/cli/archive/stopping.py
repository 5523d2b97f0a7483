"""Runs work that may wait for minutes so that Ctrl-C and SIGTERM end it within seconds."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from yolo_assets.archive.service.stop import Stop

T = TypeVar("T")
PATIENCE = 8.0
"""Seconds between the wish to stop and leaving behind what hangs: a request without an answer waits for a minute."""


class HungError(Exception):
    """The work did not stop in time; only the end of the process ends it."""


class _Result(Generic[T]):
    value: T
    error: BaseException | None = None


def run_stoppable(work: Callable[[], T], stop: Stop, patience: float = PATIENCE) -> T:
    """Do the work in a thread while this one, the main one, waits for signals. A second Ctrl-C does not wait.

    Raises:
        Stopped: the work stopped because it was asked to.
        HungError: it was asked to, and did not.
        BaseException: whatever the work raised.
    """
    result: _Result[T] = _Result()

    def target() -> None:
        try:
            result.value = work()
        except BaseException as error:
            result.error = error

    def ask(*_: object) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        stop.ask()

    thread = threading.Thread(target=target, name="archiver", daemon=True)
    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        thread.start()
        while thread.is_alive() and not stop.asked:
            thread.join(0.2)
        thread.join(patience)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if thread.is_alive():
        raise HungError
    if result.error is not None:
        raise result.error
    return result.value
