"""The service behind ``yolo-assets events listen``: brokers and receiver on one side, looks on the other."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import dagster as dg

from yolo_assets.contracts.announcements import (
    HOUR_ARCHIVED,
    HOUR_CLOSED,
    LABELS_ARRIVED,
    Announcement,
    HourArchived,
    HourClosed,
    LabelsArrived,
)
from yolo_assets.contracts.brokers import Events
from yolo_assets.contracts.times import Hour
from yolo_assets.defs.archive.sensors import SETTLE
from yolo_assets.defs.events.looks import Looks
from yolo_assets.defs.events.receiver import HttpReceiver
from yolo_assets.defs.resources import Locations
from yolo_assets.events.intake import Bounds, Intake
from yolo_assets.events.listener import Listener
from yolo_assets.events.metrics import EventMetrics

log = logging.getLogger(__name__)

TYPES = frozenset({HOUR_CLOSED, HOUR_ARCHIVED, LABELS_ARRIVED})
"""What the centre listens to."""

# Two hundred cameras that close or archive the same hour are a few reports of it, not two hundred: the first at once,
# what came meanwhile after this time, as the sensors do it.
REST = {HOUR_CLOSED: 10.0, HOUR_ARCHIVED: SETTLE.total_seconds(), LABELS_ARRIVED: 2.0}


class EventService:
    """Listens until it is closed.

    Args:
        events: the section of ``plant.yaml``.
        instance: that is reported to.
        locations: of the installation.
        said: called with a line for each report.

    Raises:
        BadInputError: a secret, a certificate or the receiver's address cannot be used.
    """

    def __init__(
        self,
        events: Events,
        instance: dg.DagsterInstance,
        locations: Locations,
        said: Callable[[str], None] = log.info,
    ) -> None:
        self._looks = Looks(instance, locations)
        self._said = said
        self.intake = Intake(_thing, self._act, Bounds(rest_s=REST))
        client = f"yolo-assets-{socket.gethostname()}-{os.getpid()}"
        self.listener = Listener(events.brokers, client, TYPES, self.intake)
        self.metrics = EventMetrics(None, self.intake, self.listener.transports)
        self.receiver = HttpReceiver(events.receiver, self.intake, self.metrics) if events.receiver else None

    def start(self) -> None:
        """Connect, and act on what comes; what was announced before is polled."""
        self.listener.start()
        if self.receiver is not None:
            self.receiver.start()

    def close(self) -> None:
        """Hear nothing more, and end the look that goes on."""
        if self.receiver is not None:
            self.receiver.stop()
        self.listener.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _act(self, announcement: Announcement) -> None:
        if isinstance(announcement, HourClosed):
            reported = self._looks.hour_in_spool(Hour.from_key(announcement.data.hour))
        elif isinstance(announcement, HourArchived):
            reported = self._looks.hour_in_archive(Hour.from_key(announcement.data.hour))
        else:
            reported = self._looks.inbox()
        for event in reported:
            if isinstance(event, dg.AssetMaterialization):
                where = f" {event.partition}" if event.partition else ""
                self._said(f"reported {event.asset_key.to_user_string()}{where}")


@contextmanager
def listening(events: Events, said: Callable[[str], None]) -> Iterator[EventService]:
    """The service of this installation, at work: its instance is that of ``DAGSTER_HOME``.

    Raises:
        BadInputError: as ``EventService``.
    """
    with dg.DagsterInstance.get() as instance, EventService(events, instance, Locations.from_env(), said) as service:
        yield service


def _thing(announcement: Announcement) -> Hashable | None:
    """What is looked at: an hour of all cameras in the spool or in the archive, or the inbox."""
    if isinstance(announcement, HourClosed | HourArchived):
        return announcement.type, announcement.data.hour
    return announcement.type if isinstance(announcement, LabelsArrived) else None
