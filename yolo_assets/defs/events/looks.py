"""The looks: each does for one hour, or for the inbox, what a sensor's tick does for all, and reports the same.

Nothing of an announcement is believed but the name of what to look at. What the graph knows is compared first, so a
repeated or false announcement reports nothing; the sensor's next tick finds the same versions and reports nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import dagster as dg

from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.defs.archive.sensors import known_versions, not_running, reports
from yolo_assets.defs.intake.folders import describe_all
from yolo_assets.defs.intake.sensors import RAW_FRAMES, materialization
from yolo_assets.defs.intake.spool_diff import ChangedHour, ClosedHour
from yolo_assets.defs.learning.sensors import InboxCursor, look_at_inbox
from yolo_assets.defs.partitions import FIRST_HOUR
from yolo_assets.defs.resources import Locations
from yolo_assets.defs.versions import newest_versions

log = logging.getLogger(__name__)
Reported = Sequence[dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation]


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


def _is_partition(hour: Hour) -> bool:
    return hour >= FIRST_HOUR and hour.end <= utc_now()
