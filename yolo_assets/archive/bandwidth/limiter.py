"""Keeps uploads to a rate: one limit for all uploads on this host, whatever processes they run in.

The processes share a file that says when the network is free again. A sender takes the next slice of time under a lock,
writes down when it ends, releases the lock and waits. A process that is killed leaves at most a slice behind. The file
lies in ``YOLO_ASSETS_RUNTIME``, else in ``/run/yolo-assets`` where an administrator made that folder (our systemd unit
does) and this user may write there; else each user has a limit of their own. Does not belong here: what the rate is
(``rates``), and whether the disk allows waiting (``disk``).
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from yolo_assets.archive.bandwidth.disk import DiskWatch, must_lift
from yolo_assets.archive.bandwidth.rates import UNLIMITED, Timetable, format_rate
from yolo_assets.contracts.settings import Settings
from yolo_assets.runtime.files import lock, unlock

_SLICE = 0.05
"""Seconds of sending that are taken at once: short, so that uploads share the line and a new rate counts soon."""
_LEAST, _MOST = 1 << 10, 1 << 20
_DISK_SECONDS = 5.0
"""Seconds between checks of the disk."""
_ALONE = "the limit applies to this process alone: {error}"
_QUEUE = 1000
"""Slices that can be waiting at once. A moment further off was never written by us and is not waited for."""
_OURS = Path("/run/yolo-assets")
_MEMORY = Path("/dev/shm")  # noqa: S108 - the same for all processes, unlike TMPDIR and a service's own /tmp


class SharedLine:
    """The moment at which the line is free again, shared by processes through a file.

    The clock is the host's monotonic one, the same in all processes; after a boot the file counts as new.
    """

    def __init__(self, folder: Path | None = None, say: Callable[[str], None] = lambda _: None) -> None:
        """Share through ``folder``; default: see above. One that cannot be used is reported once."""
        self._alone = 0.0
        self._lock = threading.Lock()
        self._file: int | None = None
        try:
            place = folder or _runtime_folder()
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            if folder is None and place != _OURS and place.stat().st_uid != os.getuid():
                raise PermissionError(errno.EPERM, f"{place} belongs to another user")
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file = os.open(place / f"line-{_boot()}", flags, 0o660)
            with contextlib.suppress(PermissionError):  # another user's, who did the same
                os.fchmod(self._file, 0o660)  # past the umask: who may write in the folder shares the limit
        except OSError as error:
            say(_ALONE.format(error=error.strerror or error))

    def take(self, seconds: float) -> float:
        """Take the next ``seconds`` of the line; returns how long to wait before they begin."""
        with self._lock:
            now = time.monotonic()
            if self._file is None:
                begin = max(now, self._alone)
                self._alone = begin + seconds
                return begin - now
            lock(self._file, wait_s=None)
            try:
                raw = os.pread(self._file, 8, 0)
                begin = struct.unpack("d", raw)[0] if len(raw) == 8 else now
                if not now <= begin <= now + _QUEUE * max(seconds, _SLICE):  # free by now, or damaged
                    begin = now
                os.pwrite(self._file, struct.pack("d", begin + seconds), 0)
            finally:
                unlock(self._file)
            return begin - now

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None


class Limiter:
    """Lets bytes go at the rate of a time table, until the disk would be full. Safe to share between threads.

    Attributes:
        table: the rates.
        waited: seconds that uploads of this process waited, all together.
        full_in: hours until the spool's disk is full, as last measured; None: it does not fill, or that is unknown.
        lifted: whether the limit is lifted because of that.
    """

    def __init__(
        self,
        table: Timetable,
        *,
        disk: DiskWatch | None = None,
        full_hours: float = 6,
        say: Callable[[str], None] = lambda _: None,
        line: SharedLine | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Limit by ``table``; lifted when ``disk`` would be full in ``full_hours``, which ``say`` reports.

        ``sleep`` may raise to give up what is being sent.
        """
        self.waited = 0.0
        self.full_in: float | None = None
        self.lifted = False
        self.table = table
        self._disk = disk
        self._full_hours = full_hours
        self._say = say
        self._line = line or SharedLine(say=say)
        self._sleep = sleep
        self._lock = threading.Lock()
        self._checked_at = -_DISK_SECONDS

    @classmethod
    def of(
        cls, settings: Settings, say: Callable[[str], None], sleep: Callable[[float], None] = time.sleep
    ) -> Limiter | None:
        """What the operator set; None without a limit.

        Raises:
            BadInputError: the time table cannot be read.
        """
        table = Timetable.parse(settings.bandwidth)
        if not table.limits:
            return None
        disk, line = DiskWatch.of(settings), SharedLine(settings.runtime, say)
        return cls(table, disk=disk, full_hours=settings.disk_full_hours, say=say, line=line, sleep=sleep)

    def rate(self) -> float:
        """Bytes a second just now; infinite without a limit, or while it is lifted."""
        self._check_disk()
        return UNLIMITED if self.lifted else self.table.rate_at(datetime.now(UTC))

    def take(self, count: int) -> None:
        """Wait until ``count`` bytes may go."""
        while count > 0:
            rate = self.rate()
            if rate == UNLIMITED:
                return
            some = min(count, max(_LEAST, min(_MOST, int(rate * _SLICE))))
            wait = self._line.take(some / rate)
            if wait > 0:
                self._sleep(wait)
                with self._lock:
                    self.waited += wait
            count -= some

    def _check_disk(self) -> None:
        """Check the disk now and then, and say when that changes something."""
        if self._disk is None:
            return
        with self._lock:
            if time.monotonic() - self._checked_at < _DISK_SECONDS:
                return
            self._checked_at = time.monotonic()
            try:
                outlook = self._disk.sample(time.time())
            except OSError:
                return  # the spool's disk is away; reading the spool reports it
            self.full_in = outlook.hours
            before, self.lifted = self.lifted, must_lift(outlook, self._full_hours, self.lifted)
            if self.lifted and not before:
                when = "almost full" if outlook.hours is None else f"full in {outlook.hours:.1f} hours"
                self._say(f"the spool's disk is {when}: the limit is lifted until there is space again")
            elif before and not self.lifted:
                self._say(f"there is space on the spool's disk: the limit of {self._now()} is back")

    def _now(self) -> str:
        return format_rate(self.table.rate_at(datetime.now(UTC)))


def _runtime_folder() -> Path:
    if os.access(_OURS, os.W_OK | os.X_OK):
        return _OURS
    shared = _MEMORY if _MEMORY.is_dir() else Path(tempfile.gettempdir())
    return shared / f"yolo_assets-{os.getuid()}"


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "boot"
