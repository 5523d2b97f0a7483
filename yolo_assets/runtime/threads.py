"""Joining threads that may never have been started: a program must be able to stop from any state."""

from __future__ import annotations

import threading


def join(thread: threading.Thread, timeout: float) -> bool:
    """Wait for a thread to end.

    Returns:
        Whether it is not running now; True for one that was never started.
    """
    if thread.ident is not None:
        thread.join(timeout)
    return not thread.is_alive()
