"""The device's time: this machine's clock where it can be trusted, monotonic time where it cannot.

A frame's hour is immutable once it is archived, and industrial PCs have clocks that start in 1970, jump when NTP
answers at last, or are set by hand. So time here continues by the monotonic clock, and the wall clock only corrects it:

- Differences below a second are followed; time never goes back for them; it stands still.
- A jump is followed at once when the system says that its clock is synchronised, else when the new time stayed steady
  for ``settle_seconds`` and is plausible: at most a day before the time at the start, not months ahead. Until then time
  continues as if there had been no jump, and frames are marked ``time_trusted: false``.
- A small step back (a minute) is slewed at half speed; a larger one is taken at once.
- At the start the last known time is on disk. A clock behind it, or months ahead of it, is not trusted: time continues
  from the last known time. After a restart without a power cut the kernel's own time since boot says how much passed.

So no clock makes an hour in 1970 or in 2040. Every record of an untrusted time carries ``boot_id`` and ``monotonic_s``
(the kernel's seconds since that boot): with one trusted record of the same boot its true time can be computed later.

Belongs here: deciding what time it is. Does not belong here: sources with a time of their own (files, simulations).
"""

from __future__ import annotations

import ctypes
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.times import format_time, parse_time, utc_now
from yolo_assets.edge.config.spool import ClockRules
from yolo_assets.spool.files import write_atomic

log = logging.getLogger(__name__)
NOT_BEFORE = datetime(2026, 1, 1, tzinfo=UTC)
"""No clock of a device that runs this software is right before this."""
_FIRST_AHEAD = timedelta(days=3650)
_TOLERANCE = timedelta(seconds=1)
_SET_BACK = timedelta(days=1)
LONGEST_SLEW = timedelta(seconds=60)
"""A step back of the clock up to this is slewed: time stands still or runs slower. A longer one is taken at once."""
_UNSYNCHRONISED = 5


@dataclass(frozen=True)
class Moment:
    """A time of the device. ``boot_id`` and ``monotonic_s`` give it again in a way that no clock can change."""

    at: datetime
    trusted: bool
    boot_id: str
    monotonic_s: float


def kernel_synchronised() -> bool:
    """Whether the kernel says that its clock follows NTP, PTP or the like. False where it cannot be asked."""
    timex = (ctypes.c_ubyte * 512)()  # struct timex with modes = 0: only asks
    try:
        return 0 <= ctypes.CDLL(None).adjtimex(timex) < _UNSYNCHRONISED
    except (OSError, AttributeError):
        return False


def since_boot() -> float:
    """Seconds since the machine started, sleep included; no setting of the clock touches it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot() -> str:
    """The kernel's name for this start of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


class DeviceClock:
    """Thread-safe.

    Args:
        file: where the last known time is kept; its loss only costs the knowledge.
        rules: of the configuration.
        wall: this machine's clock.
        monotonic: seconds since boot.
        synchronised: whether the system says that its clock is synchronised.
        boot_id: names the boot that ``monotonic`` counts from.
    """

    def __init__(
        self,
        file: Path,
        rules: ClockRules | None = None,
        *,
        wall: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = since_boot,
        synchronised: Callable[[], bool] = kernel_synchronised,
        boot_id: str | None = None,
    ) -> None:
        self._file = file
        self._rules = rules or ClockRules()
        self._wall, self._monotonic, self._synchronised = wall, monotonic, synchronised
        self._boot_id = boot() if boot_id is None else boot_id
        self._lock = threading.Lock()
        self._jump: tuple[timedelta, float] | None = None
        self._slewing: bool = False
        self.jumps = 0
        """Jumps of the machine's clock that were followed or refused, since the start."""
        self._since = self._monotonic()
        self._known = self._at = self._begin()

    def moment(self) -> Moment:
        """The device's time, and whether it is trusted."""
        with self._lock:
            return self._now()

    def now(self) -> datetime:
        """The device's time, UTC, whole milliseconds; never in an hour that the rules do not allow."""
        return self.moment().at

    def at(self, arrived: float) -> datetime:
        """The time of something that arrived at that second since boot; not after the present."""
        with self._lock:
            now = self._now()
            return _milliseconds(now.at - timedelta(seconds=max(0.0, self._since - arrived)))

    @property
    def trusted(self) -> bool:
        """Whether the machine's clock is trusted at present."""
        return self.moment().trusted

    def status(self) -> dict[str, Any]:
        """The section ``clock`` of ``GET /v1/status``."""
        return {"trusted": self.trusted, "jumps": self.jumps}

    def save(self) -> None:
        """Write down the last known time; a disk that refuses costs only that."""
        now = self.moment()
        document = {"boot_id": now.boot_id, "monotonic_s": now.monotonic_s, "at": format_time(now.at)}
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self._file, orjson.dumps(document | {"trusted": now.trusted}), durable=False)
        except (OSError, UserError) as error:
            log.debug("the last known time could not be saved: %s", error)

    def _begin(self) -> datetime:
        """The time to begin with: the wall clock's, or the last known one."""
        wall = self._wall_ms()
        try:
            saved = orjson.loads(self._file.read_bytes())
            last = max(parse_time(saved["at"]), NOT_BEFORE)
            if saved["boot_id"] == self._boot_id and self._boot_id:
                last += timedelta(seconds=max(0.0, self._since - float(saved["monotonic_s"])))
                if abs(wall - last) > _TOLERANCE and self._trusted_at_once(wall):
                    last = wall  # a jump while the agent was away, confirmed by the system
                elif abs(wall - last) <= _TOLERANCE and saved.get("trusted", True):
                    last = wall
                return _milliseconds(last)
        except (OSError, UserError, ValueError, KeyError, TypeError):
            last = None  # never written, or damaged
        if self._trusted_at_once(wall) or (self._plausible(wall, last) and (last is None or wall >= last)):
            return wall
        log.error(
            "this machine's clock says %s, which is not plausible; frames are dated from %s on and marked "
            "time_trusted: false; start its synchronisation, or, if it is right, remove %s and restart",
            format_time(wall),
            format_time(last or NOT_BEFORE),
            self._file,
        )
        return last or NOT_BEFORE

    def _now(self) -> Moment:
        monotonic, wall = self._monotonic(), self._wall_ms()
        passed = timedelta(seconds=max(0.0, monotonic - self._since))
        expected = self._at + passed
        off = wall - expected
        if abs(off) <= _TOLERANCE or (self._slewing and -LONGEST_SLEW - _TOLERANCE <= off < timedelta(0)):
            self._jump, trusted = None, True
        elif self._follow(off, wall, monotonic):
            self._slewing = -LONGEST_SLEW <= off < timedelta(0)
            self._jump, trusted = None, True
            log.warning(
                "this machine's clock jumped by %.1f s to %s; the jump is followed",
                off.total_seconds(),
                format_time(wall),
            )
            if not self._slewing:
                self._at = wall
        else:
            trusted = False
        at = expected
        if trusted:
            at = max(wall, self._at + passed / 2 if self._slewing else self._at)
            self._slewing = self._slewing and wall < at
        self._at, self._since = at, monotonic
        return Moment(_milliseconds(at), trusted, self._boot_id, round(monotonic, 3))

    def _follow(self, off: timedelta, wall: datetime, monotonic: float) -> bool:
        """Whether a jump is followed now; remembers since when the clock has been steady after it."""
        if self._jump is None or abs(self._jump[0] - off) > _TOLERANCE:
            if self._jump is None:
                self.jumps += 1
                log.warning("this machine's clock differs by %.1f s from the time that passed", off.total_seconds())
            self._jump = (off, monotonic)
        if self._trusted_at_once(wall):
            return True
        steady = monotonic - self._jump[1] >= self._rules.settle_seconds
        return steady and self._plausible(wall, self._at) and wall >= self._known - _SET_BACK

    def _trusted_at_once(self, wall: datetime) -> bool:
        return wall >= NOT_BEFORE and self._synchronised()

    def _plausible(self, wall: datetime, last: datetime | None) -> bool:
        ahead = NOT_BEFORE + _FIRST_AHEAD if last is None else last + timedelta(days=self._rules.longest_off_days)
        return NOT_BEFORE <= wall <= ahead

    def _wall_ms(self) -> datetime:
        return _milliseconds(self._wall())


def _milliseconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
