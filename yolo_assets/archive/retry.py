"""The one layer that retries: three quick tries with backoff and jitter, then the hour stays queued."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import stamina
import stamina.instrumentation

from yolo_assets.storage.base import StoreUnavailableError
from yolo_assets.storage.retrying import PROCESS_COUNTS

P = ParamSpec("P")
T = TypeVar("T")

TRIES = 3

_again = itertools.count()
_done = 0


def _count(details: stamina.instrumentation.RetryDetails) -> None:
    global _done
    _done = next(_again) + 1  # itertools.count is atomic: threads lose none


# In place of its own reports, which would go to standard output, where results and JSON are; what did not work is told
# by the error.
stamina.instrumentation.set_on_retry_hooks((_count,))


def retries() -> int:
    """How many tries after a first one this process has made."""
    return _done + PROCESS_COUNTS.retries


def retry(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call, and call again when the store may work in a moment.

    Raises:
        StoreUnavailableError: it did not work three times, or only a person can help.
    """
    for attempt in stamina.retry_context(on=_may_pass, attempts=TRIES, wait_initial=0.2, wait_jitter=0.3, wait_max=2):
        with attempt:
            return call(*args, **kwargs)
    raise AssertionError("unreachable: the last attempt returns or raises")


def _may_pass(error: Exception) -> bool:
    return isinstance(error, StoreUnavailableError) and error.transient
