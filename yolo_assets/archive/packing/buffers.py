"""Memory for upload parts, used again from part to part and from hour to hour.

Fresh memory costs a page fault every 4 KiB, which together take longer than hashing it. Belongs here: taking and giving
back. Does not belong here: what is written into it.
"""

from __future__ import annotations

import contextlib
import mmap
import threading

KEEP = 144 << 20
"""Bytes of unused memory that are kept at most: one hour of the size that goes in one put, or all parts on the way."""
_LEAST = 1 << 20


class PartBuffers:
    """Buffers that may be given back. Safe to share between threads.

    One that is never given back is freed with its last reference, as any memory.
    """

    def __init__(self) -> None:
        """With no memory yet."""
        self._lock = threading.Lock()
        self._free: list[mmap.mmap] = []

    def take(self, size: int) -> mmap.mmap:
        """Memory for ``size`` bytes or more; what is in it is left over from before."""
        room = max(_LEAST, 1 << (size - 1).bit_length())
        with self._lock:
            for place, buffer in enumerate(self._free):
                if len(buffer) == room:
                    return self._free.pop(place)
            self._shrink(KEEP - room)
        return _fresh(room)

    def give(self, buffer: mmap.mmap) -> None:
        """Take memory back. Nobody may read it any more."""
        with self._lock:
            self._free.append(buffer)
            self._shrink(KEEP)

    def _shrink(self, most: int) -> None:
        while self._free and sum(map(len, self._free)) > most:
            # A view that is still around keeps the memory; it goes with the view then.
            with contextlib.suppress(BufferError):
                self._free[0].close()
            del self._free[0]


def _fresh(size: int) -> mmap.mmap:
    buffer = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without huge pages
            buffer.madvise(mmap.MADV_HUGEPAGE)
    return buffer
