"""Video files through PyAV, read in the agent itself: a file of this machine does not hang."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

import av
import av.error
import numpy as np

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.times import utc_now
from yolo_assets.edge.cameras.source import SourceError, Ticker
from yolo_assets.edge.config.cameras import VideoCamera
from yolo_assets.edge.types import Capture, Picture

logging.getLogger("libav").setLevel(logging.CRITICAL)  # decoders complain about every damaged packet; we count them


class VideoSource:
    """A file played once, or round and round. ``captured_at`` is the start plus the frame's time in the video."""

    def __init__(self, config: VideoCamera) -> None:
        self.camera_id = config.camera_id
        self.live = config.pace == "realtime"
        self._config = config
        self._start = _milliseconds(config.start, 0) if config.start else None
        self._clock = self._start or utc_now()

    def check(self) -> None:
        """Open the file and decode its first picture.

        Raises:
            BadInputError: missing, no video, or nothing in it can be decoded.
        """
        path = self._config.path
        try:
            if self._start is None:
                self._start = _milliseconds(datetime.fromtimestamp(path.stat().st_mtime, UTC), 0)
                self._clock = self._start
            with av.open(str(path)) as container:
                if not container.streams.video or next(container.decode(video=0), None) is None:
                    raise BadInputError(f"camera {self.camera_id}: {path} holds no picture that can be decoded")
        except (av.error.FFmpegError, OSError) as error:
            what = error.strerror or "not a video that can be read"
            raise BadInputError(f"camera {self.camera_id}: cannot read the video {path}: {what}") from None

    def now(self) -> datetime:
        """Time of the newest frame."""
        return self._clock

    def facts(self) -> dict[str, Any]:
        """Where the file lies."""
        return {"path": str(self._config.path)}

    def captures(self, stop: Event) -> Iterator[Capture]:
        """Decode from the beginning. A damaged packet is one unreadable capture; the rest continues."""
        start = self._start or utc_now()
        while True:
            yield from self._once(start, stop)
            if not self._config.loop or stop.is_set():
                return
            start = self._clock + timedelta(milliseconds=40)  # the next round continues where this one ended

    def _once(self, start: datetime, stop: Event) -> Iterator[Capture]:
        gap = 1 / self._config.fps if self._config.fps else 0.0
        ticker: Ticker | None = None
        due = 0.0
        try:
            container = av.open(str(self._config.path))
        except (av.error.FFmpegError, OSError) as error:
            raise SourceError(f"cannot open the video {self._config.path}: {error.strerror}") from None
        with container:
            if not container.streams.video:
                raise SourceError(f"{self._config.path} holds no video")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            rate = float(stream.average_rate or 25)
            first: float | None = None
            for at, image in _decoded(container, stream, stop):
                if at is None:
                    yield Capture(self._clock, None)
                    continue
                first = at if first is None else first
                offset = at - first
                if offset + 1e-6 < due:
                    continue
                due = max(due + gap, offset) if gap else 0.0
                if self.live:
                    ticker = ticker or Ticker(min(rate, self._config.fps or rate))
                    if not ticker.wait(stop):
                        return
                self._clock = max(self._clock, _milliseconds(start, offset))
                yield Capture(self._clock, image)


def _decoded(container: Any, stream: Any, stop: Event) -> Iterator[tuple[float | None, Picture | None]]:
    """Seconds and picture of every frame; ``(None, None)`` for a packet that cannot be decoded."""
    last = -1.0
    for packet in container.demux(stream):
        if stop.is_set():
            return
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            yield None, None
            continue
        for frame in frames:
            at = float(frame.time) if frame.time is not None else last + 0.04
            last = at
            yield at, np.ascontiguousarray(frame.to_ndarray(format="bgr24"), np.uint8)


def _milliseconds(start: datetime, seconds: float) -> datetime:
    moment = start + timedelta(seconds=seconds)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
