"""Pictures in shared memory without a name: a page of slot states, then the slots.

The child makes it, writes a picture into a slot that is free, marks it taken and sends a message; the parent marks it
free again when nothing uses the picture any more. Each state byte is set to 1 by the child only and to 0 by the parent
only, so neither needs a lock. The kernel frees the memory with the last process that holds it, however that process
ends; and the parent seals it against shrinking, so that no child can take it away under a reader.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import weakref

import numpy as np
from numpy.typing import NDArray

from yolo_assets.edge.cameras.process.wire import WireError

Bytes = NDArray[np.uint8]

SLOTS = 8
SPARE = 2
"""With no more slots than these free, the parent copies a picture instead of lending the slot."""
_PAGE = mmap.PAGESIZE
_SHRINK_ONLY = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


def whole_pages(count: int) -> int:
    """The bytes of a slot for a picture of so many bytes."""
    return -(-count // _PAGE) * _PAGE


class ChildMemory:
    """The child's side.

    Attributes:
        fd: to send to the parent.
        slot_bytes: of each slot.
    """

    def __init__(self, picture_bytes: int) -> None:
        self.slot_bytes = whole_pages(picture_bytes)
        size = _PAGE + SLOTS * self.slot_bytes
        self.fd = os.memfd_create("camera", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, size)
        self._all: Bytes = np.frombuffer(mmap.mmap(self.fd, size), np.uint8)

    def take(self) -> int | None:
        """A free slot, marked as taken; None when the parent holds all. The lowest first: few pages are touched."""
        for slot in range(SLOTS):
            if not self._all[slot]:
                self._all[slot] = 1
                return slot
        return None

    def picture(self, slot: int, height: int, width: int) -> Bytes:
        """The slot as ``[h, w, 3]``, to write into."""
        begin = _PAGE + slot * self.slot_bytes
        return self._all[begin : begin + height * width * 3].reshape(height, width, 3)

    def close(self) -> None:
        """Let the descriptor go; what is mapped stays until nothing uses it."""
        os.close(self.fd)


class ParentMemory:
    """The parent's side: lends slots as arrays, and gets them back when the last array over them is gone."""

    def __init__(self, fd: int, slot_bytes: int) -> None:
        """Map what a child sent. The descriptor is closed here in every case.

        Args:
            fd: the memory.
            slot_bytes: what the child says about it.

        Raises:
            WireError: it is not what the child says.
        """
        size = _PAGE + SLOTS * slot_bytes
        try:
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SHRINK_ONLY)
            if slot_bytes <= 0 or slot_bytes % _PAGE or os.fstat(fd).st_size != size:
                raise WireError("memory of another size")
            self._map = mmap.mmap(fd, size)
        except OSError as error:
            raise WireError(f"memory that cannot be used: {error.strerror}") from None
        finally:
            os.close(fd)
        self.slot_bytes = slot_bytes
        self._states: Bytes = np.frombuffer(self._map, np.uint8, SLOTS)
        self._lent: set[int] = set()

    def lend(self, slot: int, height: int, width: int) -> Bytes:
        """The picture in a slot, ``[h, w, 3]`` uint8.

        Usually the slot itself: it is free again once the array and every view of it are gone. When few slots are
        left a copy, and the slot is free at once: a caller that keeps pictures for long does not stop the camera.

        Raises:
            WireError: the slot is lent already, or too small for such a picture.
        """
        size = height * width * 3
        if slot in self._lent or size > self.slot_bytes:
            raise WireError(f"slot {slot} out of order")
        begin = _PAGE + slot * self.slot_bytes
        # Over a memoryview, not a slice of an array: numpy then keeps this very array alive for every view of it.
        lent = np.frombuffer(memoryview(self._map)[begin : begin + size], np.uint8)
        if SLOTS - len(self._lent) <= SPARE:
            copy = np.array(lent).reshape(height, width, 3)
            self._states[slot] = 0
            return copy
        self._lent.add(slot)
        weakref.finalize(lent, self._free, slot).atexit = False
        return lent.reshape(height, width, 3)

    def _free(self, slot: int) -> None:
        self._lent.discard(slot)
        self._states[slot] = 0  # last: from here on the child may send the slot again
