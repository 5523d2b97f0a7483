"""A request body over memory that the caller owns: sent as it is, without a copy, no faster than its pace allows.

boto3 takes bytes or a file; a part of an upload is neither but a view of a buffer that is used again. Belongs here:
the file around it. Does not belong here: how fast it may be sent, which the payload's ``Pace`` decides.
"""

from __future__ import annotations

import io
from typing import Any

from yolo_assets.storage.base import Pace


class Body(io.RawIOBase):
    """A readable, seekable file over a view. Signing, sending and sending again each begin with a seek."""

    def __init__(self, data: memoryview, pace: Pace | None = None) -> None:
        """Read from ``data``, which must stay as it is until the request has ended.

        ``pace`` is asked before bytes are handed out, once ``begin_sending`` was called: signing reads them too.
        """
        self._data = data
        self._pace = pace
        self._sending = False
        self._place = 0

    def begin_sending(self) -> None:
        """From here on what is read goes over the line."""
        self._sending = True

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
        if self._pace is not None and self._sending:
            self._pace(count)
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


def begin_sending(request: Any, **_: Any) -> None:
    """boto3's ``before-send``: the request is signed and goes out now."""
    if isinstance(request.body, Body):
        request.body.begin_sending()
