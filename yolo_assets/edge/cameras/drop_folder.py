"""A folder into which a machine drops pictures, as a camera: each is read once, then moved, kept or removed.

Belongs here: which files are complete, in which order they are read, and what becomes of them. Does not belong here:
the memory of what was read (``drop_journal``).
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any
from zoneinfo import ZoneInfo

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import FRAME_ENDINGS, is_frame
from yolo_assets.contracts.text import plain
from yolo_assets.contracts.times import utc_now
from yolo_assets.edge.cameras.drop_journal import DropJournal, ReadFile
from yolo_assets.edge.cameras.source import FIRST_TIME, SourceError
from yolo_assets.edge.config.cameras import DropFolderCamera
from yolo_assets.edge.types import Capture, Picture
from yolo_assets.vision.exif_time import taken_at
from yolo_assets.vision.pictures import check_file_size, decode_image

log = logging.getLogger(__name__)
DONE, REJECTED = "done", "rejected"
_LATEST_ARRIVAL = timedelta(minutes=1)
"""How long after it was taken a picture usually is there: an hour is over when nothing came for so long after it."""
_CLOCKS_DIFFER = timedelta(minutes=1)
_STEP = timedelta(milliseconds=1)
_SECOND_TRY_S = 10.0
"""A file that cannot be read may be written to again after a pause."""
_RECENT_NS = 2_000_000_000
_LISTING_SHARE = 20
_TRY_AGAIN = ("disk_full", "spool_error", "stopped", "no_model")
"""Outcomes that say nothing about the picture: its file is read again."""
_TROUBLE_PAUSE_S = 5.0
_REMEMBERED_TIMES = 4096


@dataclass
class _WaitingFile:
    """A file that was not read yet."""

    size: int
    changed_ns: int
    inode: int
    since: float
    tried: bool = False


class DroppedFile:
    """The origin of one frame; told by whatever thread gives the frame its outcome."""

    def __init__(self, source: DropFolderSource, name: str) -> None:
        self.name = name
        self._source = source

    def settled(self, outcome: str) -> None:
        """The frame has its outcome."""
        self._source.settled(self.name, outcome)


class DropFolderSource:
    """Pictures in the order of their times, each once. Waits for ever for the next.

    Args:
        config: its section.
        now: the device's clock.
        journal: what was read; None: look only, move and remember nothing.
    """

    live = False

    def __init__(
        self, config: DropFolderCamera, now: Callable[[], datetime] = utc_now, journal: DropJournal | None = None
    ) -> None:
        self.camera_id = config.camera_id
        self._config = config
        self._now = now
        self._journal = journal
        self._waiting: dict[str, _WaitingFile] = {}
        self._open: set[str] = set()
        self._lock, self._settling = threading.Lock(), threading.Lock()
        self._outcomes: deque[tuple[str, str]] = deque()
        self._ended = True
        self._in_trouble = False
        self._folder_ns, self._listing_s = 0, 0.0
        self._times: deque[datetime] = deque(maxlen=_REMEMBERED_TIMES)
        self._counts = {"rejected_files": 0, "other_files": 0, "times_not_taken": 0}
        self._last_rejected: str | None = None
        self._told: set[str] = set()

    def check(self) -> None:
        """Whether the folder is there and may be used as configured.

        Raises:
            BadInputError: it is not so.
        """
        path, rights = self._config.path, os.R_OK | os.X_OK
        if self._config.after != "keep":
            rights |= os.W_OK
        if not path.is_dir():
            raise BadInputError(f"camera {self.camera_id}: there is no folder {path}; make it, or mount it")
        if not os.access(path, rights):
            what = "read" if self._config.after == "keep" else "read and write"
            raise BadInputError(f"camera {self.camera_id}: let the agent's user {what} the folder {path}")

    def now(self) -> datetime:
        """A time before that of every picture that is dropped in time."""
        return self._now() - _LATEST_ARRIVAL

    def facts(self) -> dict[str, Any]:
        """Where its files lie, how many wait, and what was not read."""
        facts = {"path": str(self._config.path), "waiting_files": len(self._waiting), **self._counts}
        return facts if self._last_rejected is None else facts | {"last_rejected": self._last_rejected}

    def settled(self, name: str, outcome: str) -> None:
        """The frame of a file has its outcome. Moving its file is left to the thread of the camera while that runs."""
        with self._lock:
            self._outcomes.append((name, outcome))
            ended = self._ended
        if ended:
            with suppress(SourceError):  # the next run finds the record, or reads the file again
                self._settle()

    def captures(self, stop: Event) -> Iterator[Capture]:
        """Every complete file once, and between them that there is none."""
        self._ended, self._folder_ns = False, 0
        try:
            self._settle()
            self._recover()
            while not stop.is_set():
                ready = self._ready()
                for name in ready:
                    capture = self._capture(name)
                    if capture is not None:
                        yield capture
                    self._settle()
                    if stop.is_set() or (self._in_trouble and stop.wait(_TROUBLE_PAUSE_S)):
                        return
                    self._in_trouble = False
                self._settle()
                if not ready:
                    yield Capture(self.now(), None, quiet="none_due")
                if stop.wait(max(self._config.poll_s, _LISTING_SHARE * self._listing_s)):
                    return
        finally:
            with self._lock:
                self._ended = True
            with suppress(SourceError):
                self._settle()

    def _recover(self) -> None:
        """What a killed run left open: its record is in the spool, or its file is read again."""
        journal = self._journal
        if journal is None:
            return
        for name in [name for name, read in journal.files.items() if not read.done and name not in self._open]:
            if journal.recorded(name):
                self._dispose(name, DONE)
            else:
                journal.forget(name)

    def _ready(self) -> list[str]:
        """The complete files, the oldest first.

        Raises:
            SourceError: the folder cannot be listed.
        """
        try:
            folder_ns = self._config.path.stat().st_mtime_ns
            if folder_ns != self._folder_ns or time.time_ns() - folder_ns < _RECENT_NS:
                self._list()
                self._folder_ns = folder_ns
            else:
                self._look_again()
        except OSError as error:
            self._folder_ns = 0
            raise SourceError(f"cannot list the folder {self._config.path}: {error.strerror}") from None
        now = time.monotonic()
        ready = [name for name, file in self._waiting.items() if now - file.since >= self._patience(file)]
        return sorted(ready, key=lambda name: (self._waiting[name].changed_ns, name))

    def _patience(self, file: _WaitingFile) -> float:
        return max(_SECOND_TRY_S, 5 * self._config.settle_s) if file.tried else self._config.settle_s

    def _list(self) -> None:
        """Every file of the folder; one that is known and was not replaced costs no look at it."""
        begun, others = time.monotonic(), list[str]()
        known = self._journal.files if self._journal is not None else dict[str, ReadFile]()
        names: set[str] = set()
        with os.scandir(self._config.path) as entries:
            for entry in entries:
                name = entry.name
                names.add(name)
                read = known.get(name)
                if name in self._open or (read is not None and read.inode == entry.inode()):
                    continue
                if name[0] == "." or entry.is_dir():
                    continue
                if is_frame(name):
                    self._see(name, read)
                else:
                    others.append(name)
        for name in self._waiting.keys() - names:
            del self._waiting[name]
        if self._journal is not None:
            self._journal.keep_only(names)
        self._counts["other_files"] = len(others)
        if others:
            self._tell_once(
                "others",
                f"files left alone in {self._config.path}: {plain(min(others))} first; names of "
                f"pictures end in {' '.join(FRAME_ENDINGS)}",
            )
        self._listing_s = time.monotonic() - begun

    def _look_again(self) -> None:
        for name in list(self._waiting):
            self._see(name, None)

    def _see(self, name: str, read: ReadFile | None) -> None:
        """Note a file as it is now; one that was read is known again by size and time."""
        try:
            status = (self._config.path / name).stat()
        except OSError:
            self._waiting.pop(name, None)
            return
        if read is not None and (read.size, read.changed_ns) == (status.st_size, status.st_mtime_ns):
            read.inode = status.st_ino
            return
        waiting = self._waiting.get(name)
        if waiting is None or (waiting.size, waiting.changed_ns) != (status.st_size, status.st_mtime_ns):
            now = time.monotonic()
            self._waiting[name] = _WaitingFile(status.st_size, status.st_mtime_ns, status.st_ino, now)

    def _capture(self, name: str) -> Capture | None:
        """The picture of a complete file; None for one that is gone, or may still be written."""
        file, path = self._waiting[name], self._config.path / name
        picture: Picture | None = None
        data, problem = b"", ""
        try:
            check_file_size(file.size, name)
            data = path.read_bytes()
            picture = decode_image(data, name)
        except BadInputError as error:
            problem = str(error)
        except FileNotFoundError:
            del self._waiting[name]
            return None
        except OSError as error:
            problem = f"{plain(name)} cannot be read: {error.strerror}; let the agent's user read it"
        if problem and not file.tried:
            file.tried = True
            return None
        del self._waiting[name]
        if problem:
            self._last_rejected = problem
            self._counts["rejected_files"] += 1
            log.warning("camera %s: %s", self.camera_id, problem)
        moment = self._time(file, data)
        if self._journal is not None:
            self._journal.begin(name, ReadFile(file.size, file.changed_ns, moment, inode=file.inode))
        self._open.add(name)
        return Capture(moment, picture, origin=DroppedFile(self, name))

    def _time(self, file: _WaitingFile, data: bytes) -> datetime:
        """When the picture was taken, on the clock of the wall; no two of the last pictures have the same."""
        now, moment = self._now(), None
        if self._config.time == "exif":
            moment = taken_at(data, ZoneInfo(self._config.timezone))
        elif self._config.time == "file":
            moment = datetime.fromtimestamp(file.changed_ns / 1e9, UTC)
        if self._config.time != "arrival" and (moment is None or not FIRST_TIME <= moment <= now + _CLOCKS_DIFFER):
            self._counts["times_not_taken"] += 1
            self._tell_once(
                "times",
                f"files of {self._config.path} without a time, or with one before 2000 or in the "
                "future, count as taken when they are read; is the clock of that machine right?",
            )
            moment = None
        moment = min(moment or now, now).astimezone(UTC)
        moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
        while moment in self._times:
            moment += _STEP
        self._times.append(moment)
        return moment

    def _settle(self) -> None:
        """Do with the files what their frames' outcomes say."""
        with self._settling:
            while self._outcomes:
                name, outcome = self._outcomes[0]
                if self._journal is not None:  # one that only looks leaves it open, so that it is not read again
                    if outcome in _TRY_AGAIN:
                        self._in_trouble = True
                        self._journal.forget(name)
                        self._folder_ns = 0
                    else:
                        self._dispose(name, DONE if outcome == "processed" else REJECTED)
                    self._open.discard(name)
                self._outcomes.popleft()  # last: what could not be written down is tried again

    def _dispose(self, name: str, where: str) -> None:
        """Move, keep or remove a file that is done with. What was not processed is never removed."""
        journal, path = self._journal, self._config.path / name
        if journal is None:
            return
        journal.finish(name)  # first: a kill from here on finds a file that is done
        if self._config.after == "keep":
            return
        try:
            if self._config.after == "remove" and where == DONE:
                path.unlink(missing_ok=True)
            else:
                folder = self._config.path / where / self._now().strftime("%Y%m%d")
                folder.mkdir(parents=True, exist_ok=True)
                _move(path, folder)
        except FileNotFoundError:
            pass
        except OSError as error:
            self._tell_once(
                "move",
                f"cannot {self._config.after} {plain(name)}: {error.strerror}; it stays, and is not "
                "read again; let the agent's user write there",
            )
            return
        journal.forget(name)

    def _tell_once(self, what: str, words: str) -> None:
        if what not in self._told:
            self._told.add(what)
            log.warning("camera %s: %s", self.camera_id, words)


def _move(path: Path, folder: Path) -> None:
    """Into a folder, beside what has its name there."""
    target, number = folder / path.name, 1
    while target.exists():
        target, number = folder / f"{path.stem}_{number}{path.suffix}", number + 1
    path.rename(target)
