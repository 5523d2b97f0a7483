"""A request body over memory that somebody else owns: sent as it is, without a copy.

boto3 takes bytes or a file; a part of an upload is neither but a view of a buffer that is used again. Belongs here:
the file around it. Does not belong here: how fast it may be read.
"""

from __future__ import annotations

import io


class Body(io.RawIOBase):
    """A readable, seekable file over a view. Signing, sending and sending again each begin with a seek."""

    def __init__(self, data: memoryview) -> None:
        """Read from ``data``, which must stay as it is until the request has ended."""
        self._data = data
        self._place = 0

    def __len__(self) -> int:
        return len(self._data)

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Copy the next bytes; 0 at the end."""
        count = min(len(buffer), len(self._data) - self._place)
        buffer[:count] = self._data[self._place : self._place + count]
        self._place += count
        return count

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move, never beyond either end."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: len(self._data)}[whence]
        self._place = min(max(0, base + offset), len(self._data))
        return self._place

    def tell(self) -> int:
        """Where the next byte comes from."""
        return self._place
