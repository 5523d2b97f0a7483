"""The service behind ``yolo-assets events listen``: brokers and receiver on one side, looks on the other.

Each look does for one hour, or for the inbox, what a sensor's tick does for all, and reports the same. Nothing of an
announcement is believed but the name of what to look at. What the graph knows is compared first, so a repeated or false
announcement reports nothing; the sensor's next tick finds the same versions and reports nothing.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager

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
from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.defs.archive.sensors import SETTLE, known_versions, not_running, reports
from yolo_assets.defs.events.receiver import HttpReceiver
from yolo_assets.defs.intake.folders import describe_all
from yolo_assets.defs.intake.sensors import RAW_FRAMES, materialization
from yolo_assets.defs.intake.spool_diff import ChangedHour, ClosedHour
from yolo_assets.defs.learning.sensors import InboxCursor, look_at_inbox
from yolo_assets.defs.partitions import FIRST_HOUR
from yolo_assets.defs.resources import Locations
from yolo_assets.defs.versions import newest_versions
from yolo_assets.events.intake import Bounds, Intake
from yolo_assets.events.listener import Listener
from yolo_assets.events.metrics import EventMetrics
from yolo_assets.runtime.threads import InBackground

log = logging.getLogger(__name__)
Reported = Sequence[dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation]

TYPES = frozenset({HOUR_CLOSED, HOUR_ARCHIVED, LABELS_ARRIVED})
"""What the centre listens to."""

# Two hundred cameras that close or archive the same hour are a few reports of it, not two hundred: the first at once,
# what came meanwhile after this time, as the sensors do it.
REST = {HOUR_CLOSED: 10.0, HOUR_ARCHIVED: SETTLE.total_seconds(), LABELS_ARRIVED: 2.0}


class Looks:
    """Looks into the spool, the archive and the inbox of this installation. Used by one thread.

    Args:
        instance: that the sensors report to.
        locations: of the installation.
    """

    def __init__(self, instance: dg.DagsterInstance, locations: Locations) -> None:
        self._instance = instance
        self._locations = locations
        self._inbox = InboxCursor()

    def hour_in_spool(self, hour: Hour) -> Reported:
        """Report the closed cameras of an hour as ``raw_frames``, unless the graph knows them as they are."""
        if not _is_partition(hour):
            return ()
        cameras = self._closed(hour)
        if not any(camera.uncovered for camera in cameras):
            return ()
        changed = ChangedHour(hour, tuple(cameras))
        known = newest_versions(self._instance, RAW_FRAMES, [hour.partition_key])
        if known.get(hour.partition_key) == changed.data_version:
            return ()
        return self._report([materialization(changed)])

    def hour_in_archive(self, hour: Hour) -> Reported:
        """Report the verified receipts of an hour as ``hourly_archives``, unless the graph knows them all."""
        from yolo_assets.archive.listing import list_hour, read_hours

        if not _is_partition(hour):
            return ()
        archive = self._locations.archive()
        listed = list_hour(archive, hour)
        known = known_versions(self._instance, [hour]).get(hour)
        if not listed.stems or listed.version == known or not not_running(self._instance, [listed]):
            return ()
        read = [each for each in read_hours(archive, [listed]) if each.receipts and each.version != known]
        here = {hour: self._closed(hour)}
        return self._report(reports(read, self._locations, here))

    def inbox(self) -> Reported:
        """Import what is new in the inbox, and report it as ``labels``."""
        looked = look_at_inbox(self._instance, self._locations, self._inbox, log.warning)
        if looked is None:
            return ()
        reported = self._report(looked.asset_events)
        self._inbox = InboxCursor.load(looked.cursor)
        return reported

    def _closed(self, hour: Hour) -> list[ClosedHour]:
        from yolo_assets.spool.hours import hours_at

        settings = self._locations.settings
        described, problems = describe_all(hours_at(settings.spool, hour), utc_now(), settings.grace_seconds)
        for problem in problems:  # the sensor names it at every tick
            log.debug("%s", problem)
        return described

    def _report(self, events: Reported) -> Reported:
        for event in events:
            self._instance.report_runless_asset_event(event)
        return events


class EventService(InBackground):
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


def _is_partition(hour: Hour) -> bool:
    return hour >= FIRST_HOUR and hour.end <= utc_now()
