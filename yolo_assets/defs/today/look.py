"""One look at the plant: spool, stores and Dagster's instance together; the sensors for people share it."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from yolo_assets.contracts.plant import Plant, load_plant
from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.times import utc_now
from yolo_assets.defs.plant_sensor import PEOPLE_SECONDS
from yolo_assets.defs.resources import Locations
from yolo_assets.defs.standing_failures import standing_failures

if TYPE_CHECKING:
    from yolo_assets.models.fleet_status import FleetHeartbeats
    from yolo_assets.today.summary import Today


def look(
    locations: Locations, plant: Plant, instance: dg.DagsterInstance | None, now: datetime, *, trace: bool = True
) -> tuple[Today, FleetHeartbeats]:
    """The plant now, and the heartbeats that were read for it.

    Args:
        locations: of the installation.
        plant: what should be there.
        instance: whose failed runs are shown; None: they are not known.
        now: aware.
        trace: stores are opened as work opens them; without, a folder that is not there is neither made nor remembered.
    """
    from functools import partial

    from yolo_assets.storage import open_store
    from yolo_assets.storage.retrying import RetryBounds
    from yolo_assets.today.reading import read_plant
    from yolo_assets.today.summary import Limits, summarise

    settings = locations.settings
    # Tried for a moment only: a sensor has a minute, and somebody should be told that a store is away.
    opened = partial(
        open_store, create=trace, memory=settings.known_stores, remember=trace, retries=RetryBounds(tries=2, deadline=2)
    )
    facts, fleet = read_plant(
        settings.spool,
        partial(opened, settings.archive_url),
        partial(opened, settings.store_url),
        now,
        expected=plant.camera_ids,
        failures=standing_failures(instance) if instance is not None else None,
        cache=settings.home / "cache" / "catalog",
    )
    limits = Limits(
        absent_after=timedelta(hours=plant.alerts.camera_absent_hours),
        archived_within=timedelta(hours=plant.alerts.archive_hours),
    )
    return summarise(facts, limits), fleet


_SHARED_FOR = timedelta(seconds=PEOPLE_SECONDS / 2)


@dataclass
class _Shared:
    """The newest look of a sensor, and who has seen it."""

    instance: dg.DagsterInstance
    locations: Locations
    plant: Plant
    at: datetime
    found: tuple[Today, FleetHeartbeats]
    seen_by: set[str] = field(default_factory=set)


class SharedLooks:
    """Looks of several sensors in one process: what one has just seen, the others do not look at again.

    Each sensor sees a look once: its next tick looks anew.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: _Shared | None = None

    def look(
        self, sensor: str, locations: Locations, plant: Plant, instance: dg.DagsterInstance, now: datetime
    ) -> tuple[Today, FleetHeartbeats]:
        """As ``look``; at most ``PEOPLE_SECONDS / 2`` old.

        Args:
            sensor: that asks.
            locations: of the installation.
            plant: what should be there.
            instance: whose failed runs are shown.
            now: aware.
        """
        with self._lock:  # a sensor that asks while another looks waits for what that one sees
            newest = self._newest
            if (
                newest is None
                or sensor in newest.seen_by
                or not timedelta(0) <= now - newest.at <= _SHARED_FOR
                or newest.instance is not instance
                or (newest.locations, newest.plant) != (locations, plant)
            ):
                newest = self._newest = _Shared(instance, locations, plant, now, look(locations, plant, instance, now))
            newest.seen_by.add(sensor)
            return newest.found


shared_looks = SharedLooks()


def look_here(settings: Settings) -> Today:
    """The plant of an installation, for the command line; failed runs where it has a Dagster instance."""
    plant = load_plant(settings)
    locations = Locations(values=settings.model_dump(mode="json", exclude_none=True))
    with _instance(settings.home / "dagster") as instance:
        return look(locations, plant, instance, utc_now(), trace=False)[0]


@contextmanager
def _instance(folder: Path) -> Iterator[dg.DagsterInstance | None]:
    if not (folder / "dagster.yaml").exists():
        yield None
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Dagster's warnings about features in preview are not for operators
        with dg.DagsterInstance.from_config(str(folder)) as instance:
            yield instance
