"""The memory that parent and child share: for each lane one input and one output, in anonymous files."""

from __future__ import annotations

import mmap
import os

import numpy as np
from numpy.typing import NDArray

_PAGE = 4096


def shared_file(name: str, data: bytes | None = None) -> int:
    """An anonymous file in memory; it is gone when the last process closes it.

    Returns:
        Its descriptor.
    """
    descriptor = os.memfd_create(name)
    if data is not None:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(data)
    return descriptor


def lane_bytes(shape: tuple[int, ...]) -> int:
    """Bytes of one float32 array, up to a whole page: lanes never share a cache line."""
    return -(-int(np.prod(shape)) * 4 // _PAGE) * _PAGE


def map_lanes(descriptor: int, shape: tuple[int, ...], count: int) -> list[NDArray[np.float32]]:
    """Size the file for ``count`` arrays of this shape and map them.

    The arrays keep the mapping alive; a file that has the size already keeps its content.

    Raises:
        OSError: no memory.
    """
    step = lane_bytes(shape)
    if os.fstat(descriptor).st_size != step * count:
        os.ftruncate(descriptor, step * count)
    view = mmap.mmap(descriptor, step * count)
    size = int(np.prod(shape))
    return [np.frombuffer(view, np.float32, size, lane * step).reshape(shape) for lane in range(count)]
