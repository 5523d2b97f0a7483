"""Publishing that nobody waits for: a bounded queue and a thread for each broker.

A broker that is away costs announcements and nothing else: the queue keeps the newest, what is displaced is counted,
and polling finds what was not announced.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from yolo_assets.contracts.announcements import Announcement, channel_moved
from yolo_assets.contracts.brokers import AnyBroker
from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.model import ChannelPointer
from yolo_assets.contracts.plant import load_plant
from yolo_assets.contracts.settings import Settings
from yolo_assets.events.opening import open_transport
from yolo_assets.events.transport import Transport
from yolo_assets.runtime.backoff import Backoff
from yolo_assets.runtime.delivery import DeliveryError
from yolo_assets.runtime.threads import InBackground, join

log = logging.getLogger(__name__)
_REPORT_EVERY = 300.0
_LAST_PAUSE = 0.1


@dataclass
class PublishCounts:
    """What became of the announcements for one broker."""

    published: int = 0
    dropped: int = 0
    failures: int = 0


class _Outbox:
    """The queue and the thread of one broker."""

    def __init__(self, name: str, size: int, transport: Transport) -> None:
        self.name = name
        self.counts = PublishCounts()
        self.error: str | None = None
        self._transport = transport
        self._queue: deque[Announcement] = deque()
        self._size = size
        self._changed = threading.Condition()
        self._ends_at: float | None = None
        self._reported = -_REPORT_EVERY
        self._thread = threading.Thread(target=self._run, name=f"announce-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, announcement: Announcement) -> None:
        with self._changed:
            if self._ends_at is not None:
                self.counts.dropped += 1
                return
            self._queue.append(announcement)
            if len(self._queue) > self._size:
                self._queue.popleft()
                self.counts.dropped += 1
            self._changed.notify()

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def finish(self, seconds: float) -> None:
        with self._changed:
            self._ends_at = time.monotonic() + seconds
            self._changed.notify()

    def join(self) -> None:
        join(self._thread, max(0.0, (self._ends_at or 0.0) - time.monotonic()) + 0.1)
        with self._changed:
            self.counts.dropped += len(self._queue)
            self._queue.clear()
        self._transport.close()

    def _run(self) -> None:
        backoff = Backoff(0.2, 30.0, 0.5)
        while True:
            with self._changed:
                while not self._queue and self._ends_at is None:
                    self._changed.wait()
                if not self._queue or (self._ends_at is not None and time.monotonic() > self._ends_at):
                    return
                announcement = self._queue[0]
            try:
                self._transport.publish(announcement)
            except Exception as error:  # a library may raise anything; announcing never ends for it
                self._failed(error)
                wait = backoff.failed()
                with self._changed:
                    if self._ends_at is None:
                        self._changed.wait_for(lambda: self._ends_at is not None, wait)
                    else:  # one that just started may be connected in a moment
                        self._changed.wait(min(wait, _LAST_PAUSE))
                continue
            self.error = None
            backoff.succeeded()
            with self._changed:
                self.counts.published += 1
                if self._queue and self._queue[0] is announcement:  # else it was displaced meanwhile, and counted
                    self._queue.popleft()

    def _failed(self, error: Exception) -> None:
        self.counts.failures += 1
        self.error = str(error) if isinstance(error, DeliveryError) else f"{type(error).__name__}: {error}"
        if time.monotonic() - self._reported >= _REPORT_EVERY:
            self._reported = time.monotonic()
            log.warning("events: %s: not announced, polling finds it later: %s", self.name, self.error)


class Announcer(InBackground):
    """Announces to every broker of a configuration that has ``publish``. Without one, ``announce`` does nothing.

    Args:
        brokers: of the configuration.
        client: names this process to the brokers: ``yolo-assets-<who>``.

    Raises:
        BadInputError: a secret or a certificate cannot be used.
    """

    def __init__(self, brokers: Sequence[AnyBroker], client: str) -> None:
        self._transports = {
            settings.name: (settings.queue_size, open_transport(settings, f"{client}-{settings.name}", None))
            for settings in brokers
            if settings.publish
        }
        self._outboxes = [_Outbox(name, size, transport) for name, (size, transport) in self._transports.items()]

    def start(self) -> None:
        """Begin to connect."""
        for _, transport in self._transports.values():
            transport.open()
        for outbox in self._outboxes:
            outbox.start()

    def announce(self, announcement: Announcement) -> None:
        """Queue it for every broker; takes microseconds, whatever the brokers do, and never raises."""
        for outbox in self._outboxes:
            outbox.put(announcement)

    def close(self, seconds: float = 2.0) -> None:
        """Send what waits for at most so many seconds, and end; what is left counts as dropped."""
        for outbox in self._outboxes:
            outbox.finish(seconds)
        for outbox in self._outboxes:
            outbox.join()

    @property
    def counts(self) -> dict[str, PublishCounts]:
        """What became of the announcements, by broker."""
        return {outbox.name: outbox.counts for outbox in self._outboxes}

    @property
    def waiting(self) -> dict[str, int]:
        """Announcements that wait, by broker."""
        return {outbox.name: outbox.waiting for outbox in self._outboxes}


def announcer_of(settings: Settings, warn: Callable[[str], None]) -> Announcer:
    """The announcer of an installation, by the section ``events`` of its ``plant.yaml``; not started.

    What is wrong there, or not installed, is told and stops nothing: archives, labels and releases do not depend on it.

    Args:
        settings: of the installation.
        warn: called with a line when nothing is announced for that reason.
    """
    client = f"yolo-assets-{socket.gethostname()}-{os.getpid()}"
    try:
        return Announcer(load_plant(settings).events.brokers, client)
    except (UserError, ModuleNotFoundError) as error:
        warn(f"nothing is announced, polling goes on: {error}")
        return Announcer((), client)


def source_here() -> str:
    """The ``source`` of what this machine announces."""
    return f"/hosts/{socket.gethostname()}"


def moved(pointer: ChannelPointer) -> Announcement:
    """The announcement of a pointer that this machine just moved."""
    return channel_moved(source_here(), pointer.name, pointer.channel, pointer.version, pointer.release)
