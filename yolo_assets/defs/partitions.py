"""The one partition scheme: UTC hours. Camera is a column and a path key, never a partition dimension.

200 cameras over six months would be 876,000 keys; Dagster's advice is at most 100,000 an asset.

The first partition is that of ``YOLO_ASSETS_FIRST_HOUR``, else the plant's oldest hour. Dagster's processes each load
the definitions and have to agree, so the oldest hour is remembered in a file of the home, which only moves to earlier
hours. A sensor that meets an earlier one moves it; the partition is there when the code location is loaded again.
Hours of more than ten years ago are most often of a clock that was not set: only the setting begins there.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import dagster as dg

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.runtime.files import write_atomic
from yolo_assets.spool.hours import scan

log = logging.getLogger(__name__)
SETTING = "YOLO_ASSETS_FIRST_HOUR"
LATEST_FIRST = Hour.from_key("20260101_00")
"""The first partition of a plant without an older hour."""
_FILE = "first-partition"
_REACH = timedelta(days=3652)
"""About 88,000 hours."""


def first_hour(settings: Settings) -> Hour:
    """Where the plant's history begins: the setting, else the remembered hour, else the oldest in the spool.

    Args:
        settings: of the installation; its home holds the file, its spool is listed while there is no file.

    Raises:
        BadInputError: the setting is not a partition key like 2026-01-01-00:00.
    """
    given = os.environ.get(SETTING)
    if given:
        try:
            return Hour.from_partition_key(given)
        except BadInputError as error:
            raise BadInputError(f"{SETTING}: {error}") from None
    remembered = _remembered(settings.home)
    if remembered is not None:
        return remembered
    try:
        hours = [found.hour for found in scan(settings.spool).hours]
    except BadInputError:  # the spool is not a folder; the sensor reports it
        hours = []
    oldest = _oldest(hours)
    if hours:  # once: listing the spool of a large plant takes every process that loads this half a second
        remember_first_hour(settings, oldest)
    return oldest


def remember_first_hour(settings: Settings, hour: Hour) -> bool:
    """Let the history begin at an earlier hour from the next load of the definitions on.

    Args:
        settings: of the installation.
        hour: of the spool or of the archive.

    Returns:
        Whether it is remembered and no setting overrules it.
    """
    if os.environ.get(SETTING):
        return False
    known = _remembered(settings.home)
    if known is not None and hour >= known:
        return True
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        write_atomic(settings.home / _FILE, f"{hour.partition_key}\n".encode())
    except OSError as error:
        log.warning("%s: %s; set %s to %s", settings.home / _FILE, error.strerror, SETTING, hour.partition_key)
        return False
    return True


def early_hours(settings: Settings, hours: list[Hour], what: str) -> str:
    """The sentence about hours before the first partition, which moves there; empty when there is none.

    Args:
        settings: of the installation.
        hours: of the spool or of the archive.
        what: what they are, for the sentence.
    """
    early = [hour for hour in hours if hour < FIRST_HOUR]
    if not early:
        return ""
    told = (
        f"{len(early)} {what} before {FIRST_HOUR.partition_key} have no partition, the earliest is "
        f"{min(early).partition_key}"
    )
    oldest = _oldest(early)
    if oldest < FIRST_HOUR and remember_first_hour(settings, oldest):
        return f"{told}; reload the code location, and partitions begin with {oldest.partition_key}"
    return f"{told}; if its clock was right, set {SETTING} to it and reload the code location"


def _oldest(hours: Iterable[Hour]) -> Hour:
    """The oldest hour within reach, at the latest the one that every plant begins with."""
    earliest = Hour.of(utc_now() - _REACH)
    return min([LATEST_FIRST, *(hour for hour in hours if hour >= earliest)])


def _remembered(home: Path) -> Hour | None:
    try:
        return Hour.from_partition_key((home / _FILE).read_text().strip())
    except (OSError, ValueError, BadInputError):  # missing or damaged: the hours that are there tell it again
        return None


FIRST_HOUR = first_hour(Settings.from_env())
"""Start of the plant's history."""

hourly = dg.HourlyPartitionsDefinition(start_date=FIRST_HOUR.partition_key, timezone="UTC")

HOURS_A_RUN = Settings.from_env().backfill_hours
"""What a backfill packs into one run: on two cores a run takes five seconds before it builds anything."""

packed = dg.BackfillPolicy.multi_run(max_partitions_per_run=HOURS_A_RUN)
