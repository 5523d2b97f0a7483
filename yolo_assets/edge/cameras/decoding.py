"""Pictures out of FFmpeg's packets, the same for streams and for files: only sound ones, and upright.

FFmpeg conceals what is missing and says so only at times. So a cut picture is an error here (``err_detect=explode``),
and in codecs that predict pictures from others everything after a damaged one is damaged, too, until the next key
picture has been decoded.

Belongs here: telling sound pictures from damaged ones, and which way up they are. Does not belong here: opening a
container, and the time of a picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av
import av.error
import numpy as np
from av.video.reformatter import VideoReformatter

from yolo_assets.vision.orientation import upright

_REMEMBERED = 64
_OF_ANGLE = {90: 8, -90: 6, 180: 3, -180: 3}
_LONGEST_DOUBT = 250
"""Packets after which pictures are believed again in a stream that has no further key pictures (intra refresh)."""


class SoundDecoder:
    """Decodes the packets of one video stream, in their order.

    Args:
        stream: of PyAV; nothing of it was decoded yet.
        threads: how many FFmpeg may use; more than one hold pictures back. None: as many as there are cores.
    """

    def __init__(self, stream: Any, threads: int | None) -> None:
        self._context = stream.codec_context
        self._context.options = {**self._context.options, "err_detect": "explode"}
        if threads is None:
            self._context.thread_type = "AUTO"
        else:
            self._context.thread_count = threads
        self._each_alone = bool(self._context.codec.intra_only)
        self._numbers: dict[int, int] = {}  # time of a packet: its number, in the order of decoding
        self._number = self._newest_key = self._longest_gap = 0
        self._whole: set[int] = set()
        self._damaged: int | None = None  # number of the packet that was damaged last; None: no doubt is left

    def decode(self, packet: Any, whole: bool = False) -> Iterator[Any | None]:
        """The pictures that a packet completes, in the order in which they are shown; None for each damaged one.

        Args:
            packet: of the demuxer.
            whole: whether it is whole although the demuxer marks it as damaged.
        """
        self._count(packet)
        if whole:
            self._whole.add(self._number)
        elif packet.is_corrupt and packet.size:
            self._doubt()
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            self._doubt()
            yield None
            return
        for frame in frames:
            yield frame if self._is_sound(frame) else None

    def _count(self, packet: Any) -> None:
        self._number += 1
        if packet.is_keyframe:
            self._longest_gap = max(self._longest_gap, self._number - self._newest_key)
            self._newest_key = self._number
        if packet.pts is not None:
            self._numbers[packet.pts] = self._number
            while len(self._numbers) > _REMEMBERED:
                del self._numbers[next(iter(self._numbers))]

    def _doubt(self) -> None:
        self._damaged = self._number

    def _is_sound(self, frame: Any) -> bool:
        number = self._number if frame.pts is None else self._numbers.pop(frame.pts, self._number)
        if frame.is_corrupt and number not in self._whole:
            self._damaged = max(number, self._damaged or 0)
            return False
        if self._damaged is None or self._each_alone or number < self._damaged:
            return True
        if (frame.key_frame and number > self._damaged) or self._number - self._damaged > max(
            _LONGEST_DOUBT, 2 * self._longest_gap
        ):
            self._damaged = None
        return self._damaged is None


def orientation(frame: Any) -> int:
    """How a picture must be turned to be upright, as EXIF numbers it (1 to 8), from its display matrix.

    The matrix lies beside the pixels in files of phones and body cameras; FFmpeg makes one from EXIF in JPEG streams.
    """
    try:
        matrix = next((data for data in frame.side_data if data.type.name == "DISPLAYMATRIX"), None)
    except ValueError:  # beside it lies something that this PyAV has no name for, like EXIF: the angle alone is known
        return _OF_ANGLE.get(round(frame.rotation / 90) * 90, 1)
    if matrix is None:
        return 1
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    exchanged = abs(a) + abs(d) < abs(b) + abs(c)
    mirrored = (c < 0, b < 0) if exchanged else (a < 0, d < 0)
    return {(False, False): 1, (True, False): 2, (True, True): 3, (False, True): 4}[mirrored] + 4 * exchanged


class UprightPictures:
    """Turns decoded frames into upright BGR; keeps what FFmpeg needs for the conversion."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def size(self, frame: Any) -> tuple[int, int]:
        """Height and width of the upright picture, in pixels."""
        return (frame.width, frame.height) if orientation(frame) >= 5 else (frame.height, frame.width)

    def write(self, frame: Any, into: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
        """Write the upright picture into ``[h, w, 3]`` uint8 of its `size`."""
        plane = self._reformatter.reformat(frame, format="bgr24", threads=1).planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        stored = rows[: frame.height, : frame.width * 3]
        turn = orientation(frame)
        if turn == 1:
            into.reshape(frame.height, frame.width * 3)[:] = stored
        else:
            into[:] = upright(stored.reshape(frame.height, frame.width, 3), turn)
