"""From packets to pictures in shared memory, in the child's second thread."""

from __future__ import annotations

import threading
from typing import Any

import av.error
import numpy as np
from av.video.reformatter import VideoReformatter

from yolo_assets.edge.cameras.process.line import PacketLine
from yolo_assets.edge.cameras.process.memory import Bytes
from yolo_assets.edge.cameras.process.outbox import Outbox
from yolo_assets.edge.cameras.process.thinning import Thinning

_REMEMBERED = 64


class Decoding:
    """Decodes until the end of the line.

    Attributes:
        failed: what broke it, if anything did: a stream whose pictures cannot be handed over.
    """

    def __init__(self, line: PacketLine, outbox: Outbox, fps: float | None) -> None:
        self.failed: Exception | None = None
        self._line = line
        self._outbox = outbox
        self._thinning = Thinning(fps)
        self._reformatter = VideoReformatter()
        self._arrivals: dict[int, float] = {}
        self._thread = threading.Thread(target=self._run, name="decoding", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self) -> None:
        """Wait until everything in the line is decoded."""
        self._thread.join()

    def _run(self) -> None:
        try:
            while (item := self._line.get()).packet is not None:
                if lost := self._line.take_lost():
                    self._outbox.lost("overrun", lost)
                self._decode(item.packet, item.arrived)
        except Exception as error:  # the reading thread tells it, and ends the child
            self.failed = error

    def _decode(self, packet: Any, arrived: float) -> None:
        if packet.pts is not None:
            self._arrivals[packet.pts] = arrived
            while len(self._arrivals) > _REMEMBERED:
                del self._arrivals[next(iter(self._arrivals))]
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            self._outbox.lost("unreadable")
            return
        for frame in frames:
            # Pictures that wait for others to be decoded arrived when their own packet did.
            at = self._arrivals.pop(frame.pts, arrived)
            if frame.is_corrupt:  # concealed by the decoder: a model would see damage that the product does not have
                self._outbox.lost("unreadable")
            elif not self._thinning.wanted(at):
                self._outbox.alive()
            else:
                self._outbox.picture(at, frame.height, frame.width, lambda into, f=frame: self._convert(f, into))

    def _convert(self, frame: Any, into: Bytes) -> None:
        height, width = into.shape[:2]
        plane = self._reformatter.reformat(frame, format="bgr24", threads=1).planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        into.reshape(height, width * 3)[:] = rows[:height, : width * 3]
