"""Video files through PyAV, read in the agent itself: a file of this machine does not hang."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Event
from typing import Any

import av
import av.error
import numpy as np

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.times import format_time, utc_now
from yolo_assets.edge.cameras.decoding import SoundDecoder, UprightPictures
from yolo_assets.edge.cameras.source import FIRST_TIME, SourceError, Ticker, check_start, wait_until
from yolo_assets.edge.config.cameras import VideoCamera
from yolo_assets.edge.types import Capture, Picture

logging.getLogger("libav").setLevel(logging.CRITICAL)  # decoders complain about every damaged packet; we count them
_STEP = timedelta(milliseconds=1)
_JOINT_PACKETS = 3
"""How many packets before a joint of two recordings the demuxer may mark."""


class FilmTime:
    """Seconds since the first picture, always rising, whatever times the file gives its pictures.

    Recorders join segments whose times begin anew; damaged files leap by hours. There time goes on by one picture's
    share of the rate.

    Args:
        rate: pictures a second, as the file says.

    Attributes:
        breaks: how often the file's times went back, stood still for long or leapt ahead.
    """

    _LEAP_S = 10.0
    _LEAP_PICTURES = 20
    _SAME_S = 0.001

    def __init__(self, rate: float) -> None:
        self.step = 1 / rate
        self.breaks = 0
        self._leap = max(self._LEAP_S, self._LEAP_PICTURES * self.step)
        self._now: float | None = None
        self._last: float | None = None

    def next(self, time: float | None) -> float:
        """The time of the next picture.

        Args:
            time: seconds as the file says; None where it says nothing.
        """
        if self._now is None:
            self._now = 0.0
        elif time is None or self._last is None:
            self._now += self.step
        else:
            gap = time - self._last
            if gap < 0 or gap > self._leap:
                self.breaks += 1
                gap = self.step
            self._now += max(gap, self._SAME_S)
        self._last = time
        return self._now


class VideoSource:
    """A file played once, or round and round; never ahead of the clock.

    ``captured_at`` is the start plus the frame's time in the video. Without a configured start the last picture has the
    file's own time, for a file is written when its recording ends.
    """

    def __init__(self, config: VideoCamera, now: Callable[[], datetime] = utc_now) -> None:
        self.camera_id = config.camera_id
        self.live = config.pace == "realtime"
        self._config = config
        self._now = now
        self._start = _milliseconds(config.start, 0) if config.start else None
        self._clock = self._start or now()
        self._breaks = 0

    def check(self) -> None:
        """Open the file and decode its first picture.

        Raises:
            BadInputError: missing, no video, nothing in it can be decoded, or no time for its pictures is known.
        """
        path = self._config.path
        try:
            with av.open(str(path)) as container:
                if not container.streams.video or next(container.decode(video=0), None) is None:
                    raise BadInputError(f"camera {self.camera_id}: {path} holds no picture that can be decoded")
            self._clock = self._begin()
        except (av.error.FFmpegError, OSError) as error:
            what = error.strerror or "not a video that can be read"
            raise BadInputError(f"camera {self.camera_id}: cannot read the video {path}: {what}") from None

    def now(self) -> datetime:
        """Time of the newest frame."""
        return self._clock

    def facts(self) -> dict[str, Any]:
        """Where the file lies, and how often its times were not believed."""
        return {"path": str(self._config.path), "time_breaks": self._breaks}

    def captures(self, stop: Event) -> Iterator[Capture]:
        """Decode from the beginning. A damaged packet is one unreadable capture; the rest continues."""
        try:
            start = self._begin()
        except (av.error.FFmpegError, OSError) as error:
            raise SourceError(f"cannot open the video {self._config.path}: {error.strerror}") from None
        self._clock = start - _STEP
        while True:
            step = yield from self._once(start, stop)
            if not self._config.loop or stop.is_set():
                return
            start = self._clock + timedelta(seconds=step)  # the next round continues where this one ended

    def _begin(self) -> datetime:
        """The time of the first picture."""
        path = self._config.path
        if self._start is not None:
            return check_start(self.camera_id, self._start, self._now())
        changed, now = datetime.fromtimestamp(path.stat().st_mtime, UTC), self._now()
        with av.open(str(path)) as container:
            length = (container.duration or 0) / av.time_base
        begin = min(changed, now) - timedelta(seconds=max(0.0, length))
        if changed < FIRST_TIME or begin < FIRST_TIME:
            raise BadInputError(
                f"camera {self.camera_id}: the file time of {path} is {format_time(changed)}, which is no time of a "
                "recording; give the time of its first picture as start: in the configuration"
            )
        self._start = _milliseconds(begin, 0)
        return self._start

    def _once(self, start: datetime, stop: Event) -> Generator[Capture, None, float]:
        """One round; returns the seconds between two pictures."""
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
            rate = float(stream.average_rate or 25)
            film, counted = FilmTime(rate), self._breaks
            for at, image in _decoded(container, stream, stop):
                if image is None:
                    yield Capture(self._clock, None)
                    continue
                offset = film.next(at)
                self._breaks = counted + film.breaks
                if offset + 1e-6 < due:
                    continue
                due = max(due + gap, offset) if gap else 0.0
                if self.live:
                    ticker = ticker or Ticker(min(rate, self._config.fps or rate))
                    if not ticker.wait(stop):
                        break
                moment = max(self._clock + _STEP, _milliseconds(start, offset))
                if not wait_until(moment, self._now, stop):
                    break
                self._clock = moment
                yield Capture(moment, image())
            return max(film.step, gap)


def _decoded(container: Any, stream: Any, stop: Event) -> Iterator[tuple[float | None, Callable[[], Picture] | None]]:
    """Seconds of every frame, and what makes its picture; None in its place for a damaged one."""
    decoder, pictures = SoundDecoder(stream, threads=None), UprightPictures()

    def picture(frame: Any) -> Picture:
        height, width = pictures.size(frame)
        into = np.empty((height, width, 3), np.uint8)
        pictures.write(frame, into)
        return into

    for packet, whole in _packets(container, stream):
        if stop.is_set():
            return
        for frame in decoder.decode(packet, whole):
            if frame is None:
                yield None, None
            else:
                yield frame.time, partial(picture, frame)


def _packets(container: Any, stream: Any) -> Iterator[tuple[Any, bool]]:
    """Every packet, and whether it is whole although the demuxer marks it as damaged.

    Where recordings were joined the packet counters jump, as they do when packets are lost. What tells a joint is the
    key picture right after it, of an earlier time.
    """
    held: list[Any] = []
    for packet in container.demux(stream):
        if not held and not packet.is_corrupt:
            yield packet, False
            continue
        earlier = bool(held) and packet.dts is not None and held[-1].dts is not None and packet.dts < held[-1].dts
        if packet.is_keyframe and earlier:
            yield from ((one, True) for one in held)
            held = []
            yield packet, False
            continue
        held.append(packet)
        if len(held) > _JOINT_PACKETS or not packet.size:
            yield from ((one, False) for one in held)
            held = []
    yield from ((one, False) for one in held)


def _milliseconds(start: datetime, seconds: float) -> datetime:
    moment = start + timedelta(seconds=seconds)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
