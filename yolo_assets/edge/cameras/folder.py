"""A folder of photographs as a camera."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import FRAME_ENDINGS, is_frame
from yolo_assets.contracts.text import plain
from yolo_assets.contracts.times import utc_now
from yolo_assets.edge.cameras.source import Ticker, check_start, wait_until
from yolo_assets.edge.config.cameras import FolderCamera
from yolo_assets.edge.types import Capture, Picture
from yolo_assets.vision.pictures import check_file_size, decode_image

log = logging.getLogger(__name__)
_ENDINGS = " ".join(FRAME_ENDINGS)


class FolderSource:
    """Pictures in the order of their names, ``1 / fps`` seconds apart on the source's own clock, never ahead of time.

    Upright, as a viewer shows them. A file that is no picture takes its turn as a capture without one, and is named in
    the log and the status; the next one goes on.
    """

    def __init__(self, config: FolderCamera, now: Callable[[], datetime] = utc_now) -> None:
        self.camera_id = config.camera_id
        self.live = config.pace == "realtime"
        self._config = config
        self._now = now
        self._clock = config.start or now()
        self._unreadable: dict[str, str] = {}
        self._last_unreadable: str | None = None
        self._other_files = 0

    def check(self) -> None:
        """Refuse a folder that is missing or holds no picture, and a start that cannot be.

        Raises:
            BadInputError: it is so.
        """
        check_start(self.camera_id, self._clock, self._now())
        if not self._pictures():
            raise BadInputError(
                f"camera {self.camera_id}: {self._config.path} holds no picture; expected files ending in {_ENDINGS}"
            )

    def now(self) -> datetime:
        """Time of the next picture."""
        return self._clock

    def facts(self) -> dict[str, Any]:
        """Where its pictures lie, how many files there are none, and the last of those with the reason."""
        facts: dict[str, Any] = {
            "path": str(self._config.path),
            "unreadable_files": len(self._unreadable),
            "other_files": self._other_files,
        }
        last = self._last_unreadable
        return facts if last is None else facts | {"last_unreadable": last}

    def captures(self, stop: Event) -> Iterator[Capture]:
        """Every picture once, or round and round with ``loop``."""
        ticker = Ticker(self._config.fps)
        step = timedelta(seconds=1 / self._config.fps)
        while True:
            for path in self._pictures():
                if stop.is_set() or (self.live and not ticker.wait(stop)):
                    return
                moment = self._clock
                if not wait_until(moment, self._now, stop):
                    return
                self._clock = moment + step
                yield Capture(_whole_milliseconds(moment), self._read(path))
            if not self._config.loop:
                return
            time.sleep(0)  # an emptied folder must not spin a processor without letting go
            if not self._pictures() and stop.wait(1.0):
                return

    def _pictures(self) -> list[Path]:
        try:
            files = sorted(path for path in self._config.path.iterdir() if path.name[0] != "." and path.is_file())
        except OSError as error:
            raise BadInputError(
                f"camera {self.camera_id}: cannot list the folder {self._config.path}: {error.strerror}"
            ) from None
        others = [path for path in files if not is_frame(path.name)]
        if len(others) > self._other_files:
            log.warning(
                "camera %s: files left out of %s: %d, %s first; names of pictures end in %s",
                self.camera_id,
                self._config.path,
                len(others),
                plain(others[0].name),
                _ENDINGS,
            )
        self._other_files = len(others)
        return [path for path in files if is_frame(path.name)]

    def _read(self, path: Path) -> Picture | None:
        """The picture, or None for a file that is none, which is named once."""
        try:
            check_file_size(path.stat().st_size, path.name)
            picture = decode_image(path.read_bytes(), path.name)
        except BadInputError as error:
            self._name(path, str(error))
        except OSError as error:
            self._name(path, f"{plain(path.name)} cannot be read: {error.strerror}; let the agent's user read it")
        else:
            self._unreadable.pop(path.name, None)  # it was still being written when it was seen before
            return picture
        return None

    def _name(self, path: Path, reason: str) -> None:
        if self._unreadable.get(path.name) != reason:
            log.warning("camera %s: %s", self.camera_id, reason)
        self._unreadable[path.name] = self._last_unreadable = reason


def _whole_milliseconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
