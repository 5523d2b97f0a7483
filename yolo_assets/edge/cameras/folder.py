"""A folder of photographs as a camera."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import cv2
import numpy as np

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.times import utc_now
from yolo_assets.edge.cameras.source import Ticker
from yolo_assets.edge.config.cameras import FolderCamera
from yolo_assets.edge.types import Capture, Picture

_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


class FolderSource:
    """Pictures in the order of their names, ``1 / fps`` seconds apart on the source's own clock."""

    def __init__(self, config: FolderCamera, now: Callable[[], datetime] = utc_now) -> None:
        self.camera_id = config.camera_id
        self.live = config.pace == "realtime"
        self._config = config
        self._clock = config.start or now()

    def check(self) -> None:
        """Refuse a folder that is missing or holds no picture.

        Raises:
            BadInputError: it is so.
        """
        if not self._pictures():
            endings = " ".join(_ENDINGS)
            raise BadInputError(
                f"camera {self.camera_id}: {self._config.path} holds no picture; expected files ending in {endings}"
            )

    def now(self) -> datetime:
        """Time of the next picture."""
        return self._clock

    def facts(self) -> dict[str, Any]:
        """Where its pictures lie."""
        return {"path": str(self._config.path)}

    def captures(self, stop: Event) -> Iterator[Capture]:
        """Every picture once, or round and round with ``loop``."""
        ticker = Ticker(self._config.fps)
        step = timedelta(seconds=1 / self._config.fps)
        while True:
            for path in self._pictures():
                if stop.is_set() or (self.live and not ticker.wait(stop)):
                    return
                moment = self._clock
                self._clock = moment + step
                yield Capture(_whole_milliseconds(moment), read_picture(path))
            if not self._config.loop:
                return
            time.sleep(0)  # an emptied folder must not spin a processor without letting go
            if not self._pictures() and stop.wait(1.0):
                return

    def _pictures(self) -> list[Path]:
        try:
            return sorted(p for p in self._config.path.iterdir() if p.suffix.lower() in _ENDINGS and p.is_file())
        except OSError as error:
            raise BadInputError(
                f"camera {self.camera_id}: cannot list the folder {self._config.path}: {error.strerror}"
            ) from None


def read_picture(path: Path) -> Picture | None:
    """BGR ``[h, w, 3]`` uint8, or None when the file is cut off or no picture.

    OpenCV decodes a truncated JPEG to a grey rest without a word; a picture whose end marker is missing is therefore
    unreadable here.
    """
    try:
        data = path.read_bytes()
    except OSError:
        return None
    if data[:2] == b"\xff\xd8" and b"\xff\xd9" not in data[-4096:]:
        return None
    if not data:
        return None
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return None if image is None else np.asarray(image, np.uint8)


def _whole_milliseconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
