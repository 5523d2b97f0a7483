"""How far the second place is behind: told by the check in Dagster and by the exporter, from the catalog."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from yolo_assets.archive.archive import Archive
from yolo_assets.catalog.publish import publish
from yolo_assets.contracts.copies import copy_id_of
from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.defs.archive.checks import copy_up_to_date
from yolo_assets.exporter.archiving import copy_families
from yolo_assets.replication.lag import copy_lag, late_archives
from yolo_assets.replication.replicate import Replication, read_state
from yolo_assets.storage import open_store
from yolo_assets_tests.support.two_places import TwoPlaces

HOURS = ("20260102_03", "20260102_04")


@pytest.fixture
def places(tmp_path: Path) -> TwoPlaces:
    places = TwoPlaces(tmp_path)
    (tmp_path / "store").mkdir()
    for hour in HOURS:
        places.record(hour)
    places.archive()
    return places


def publish_catalog(places: TwoPlaces) -> None:
    store = open_store(places.env["YOLO_ASSETS_STORE"])
    publish(store, Archive(open_store(places.first), places.trusted))


def test_lag_of_a_copy(places: TwoPlaces) -> None:
    store = open_store(places.env["YOLO_ASSETS_STORE"])
    settings = Settings.from_env({**places.env, "YOLO_ASSETS_ARCHIVE_COPY": places.second})
    publish_catalog(places)
    lag, now = copy_lag(store, settings), utc_now()
    assert lag is not None and lag.archives == 2 and lag.bytes > 0 and lag.newest_hour is None
    assert copy_up_to_date(lag, now).passed and not copy_up_to_date(lag, now + timedelta(hours=25)).passed
    shown = {family.name: family.samples[0].value for family in copy_families(store, settings, now)}
    assert shown["yolo_platform_copy_behind_archives"] == 2 and shown["yolo_platform_copy_behind_seconds"] > 0

    assert places.replicate().complete
    lag = copy_lag(store, settings)
    assert lag is not None and (lag.archives, lag.bytes, lag.oldest) == (0, 0, None) and lag.newest_hour == HOURS[1]
    shown = {family.name: family.samples[0].value for family in copy_families(store, settings, now)}
    assert shown["yolo_platform_copy_through_timestamp_seconds"] == Hour.from_key(HOURS[1]).end.timestamp()
    assert copy_up_to_date(lag, now + timedelta(days=9)).passed, "nothing waits"
    assert list(copy_families(store, Settings.from_env(places.env), now)) == []


def test_the_catalog_goes_along_and_is_asked_there(places: TwoPlaces) -> None:
    publish_catalog(places)
    places.replicate()
    objects = places.objects(places.second)
    kept = [key for key in objects if key.startswith("catalog/")]
    assert len(kept) == 2 and "catalog/current.json" in kept
    store = open_store(places.env["YOLO_ASSETS_STORE"])
    assert all(objects[key] == store.get(key) for key in kept)


def test_an_hour_of_long_ago_is_found_by_the_catalog(places: TwoPlaces, monkeypatch: pytest.MonkeyPatch) -> None:
    from yolo_assets.replication import replicate

    places.replicate()
    places.record("20240101_00")
    places.archive()
    monkeypatch.setattr(replicate, "SLICE", 0)  # not by chance
    assert places.replicate().counts.archives == 0
    publish_catalog(places)
    store = open_store(places.env["YOLO_ASSETS_STORE"])
    done = Replication(places.copier(), store, places.signer, late=late_archives(store, None)).run()
    assert done.counts.archives == 1
    state = read_state(store, copy_id_of(places.first, places.second))
    assert state is not None and state.newest_hour == HOURS[1]


def test_old_keys_are_passed_over_in_slices(places: TwoPlaces, monkeypatch: pytest.MonkeyPatch) -> None:
    from yolo_assets.replication import replicate

    places.replicate()
    for hour in ("20240101_00", "20240101_01", "20240101_02"):
        places.record(hour)
    places.archive()
    monkeypatch.setattr(replicate, "SLICE", 2)
    assert [places.replicate().counts.archives for _ in range(3)] == [2, 1, 0]
    places.first, places.second = places.second, places.first
    assert places.objects(places.first).keys() == places.objects(places.second).keys()
