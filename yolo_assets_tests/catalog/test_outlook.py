"""The coming years' costs, against figures that were computed by hand."""

from __future__ import annotations

import json
from datetime import date, timedelta

import pytest
from typer.testing import CliRunner

from yolo_assets.catalog.costs import GIB, load_prices
from yolo_assets.catalog.outlook import ArchivePast, Assumptions, archive_past, outlook
from yolo_assets.catalog.read import open_catalog
from yolo_assets.cli.catalog import app
from yolo_assets_tests.catalog.catalog_world import World
from yolo_assets_tests.catalog.receipt_factory import FIRST

PRICES = """
label = "<our> contract"
currency = "EUR"
standard = { per_gib_month = 0.12, per_thousand_writes = 1 }
infrequent = { per_gib_month = 0.06, per_thousand_writes = 2, retrieval_per_gib = 0.5 }
cold = { per_gib_month = 0.012, per_thousand_writes = 4, retrieval_per_gib = 1 }
second_copy = { per_gib_month = 0.024, per_thousand_writes = 1 }
"""
TODAY = date(2026, 1, 1)
MONTH = 365 / 12


@pytest.fixture
def prices(tmp_path):
    path = tmp_path / "prices.toml"
    path.write_text(PRICES)
    return load_prices(path)


def test_the_first_year_of_a_plant_recomputed_by_hand(prices):
    """1 GiB in 10 archives a day from today on, nothing before, nothing deleted.

    Day n (from 0) ends with n + 1 GiB. Up to 8 of them are standard: 1 + 2 + ... + 7 = 28 on days 0-6, then 8 on each
    of 358 days, 2864: 2892 GiB-days. Infrequent are the ages 8-90, 83 of them: 1 + ... + 82 = 3403 on days 8-89, then
    83 on days 90-364, 275 of them, 22825: 26228. Cold from age 91 on: 1 + ... + 274 = 37675. Together 1 + ... + 365 =
    66795, and 2892 + 26228 + 37675 = 66795.

    Requests: 3650 archives of about 102 MiB, 3 writes each, one part; those of 357 days have moved to infrequent (3570)
    and those of 274 days to cold (2740).
    """
    past = ArchivePast({}, GIB, 10.0, 0.01)
    (year,) = outlook(past, TODAY, prices, Assumptions(read_percent=12, copy=True), [1])
    assert year.bytes_at_end == 365 * GIB
    assert year.standard == pytest.approx(2892 / MONTH * 0.12)
    assert year.infrequent == pytest.approx(26228 / MONTH * 0.06)
    assert year.cold == pytest.approx(37675 / MONTH * 0.012)
    assert year.indexes == pytest.approx(66795 / MONTH * 0.01 * 0.12)
    assert year.copy == pytest.approx(66795 / MONTH * 1.01 * 0.024)
    assert year.requests == pytest.approx(3650 * 3 / 1000 * (1 + 1) + 3570 * 2 / 1000 + 2740 * 4 / 1000)
    assert year.retrieval == pytest.approx((26228 * 0.5 + 37675 * 1) / MONTH * 0.01)
    parts = (year.standard, year.infrequent, year.cold, year.indexes, year.copy, year.requests, year.retrieval)
    assert year.total == pytest.approx(sum(parts))


def test_retention_bounds_what_is_kept(prices):
    """With 30 days there are 8 GiB standard and 22 infrequent on every day after the first month, and nothing cold."""
    past = ArchivePast({}, GIB, 1.0, 0.0)
    one, twenty = outlook(past, TODAY, prices, Assumptions(retention_days=30), [1, 20])
    assert one.bytes_at_end == twenty.bytes_at_end == 30 * GIB
    assert twenty.cold == 0
    assert (twenty.standard - one.standard) == pytest.approx(19 * 365 * 8 / MONTH * 0.12)
    assert (twenty.infrequent - one.infrequent) == pytest.approx(19 * 365 * 22 / MONTH * 0.06)


def test_what_is_there_grows_older_as_well(prices):
    """100 GiB, all older than a quarter, and a plant that stands still: they lie in the cold tier all year."""
    past = ArchivePast({TODAY - timedelta(days=91): 100 * GIB}, 0.0, 0.0, 0.0)
    (year,) = outlook(past, TODAY, prices, Assumptions(read_percent=0), [1])
    assert (year.standard, year.infrequent, year.requests) == (0, 0, 0)
    assert year.total == pytest.approx(100 * 12 * 0.012)


def test_a_large_hour_is_paid_for_by_its_parts(prices):
    past = ArchivePast({}, float(1 << 30), 1.0, 0.0)  # 128 parts of 8 MiB, begun and joined, an index and a receipt
    (year,) = outlook(past, TODAY, prices, Assumptions(read_percent=0, retention_days=1), [1])
    assert year.requests == pytest.approx(365 * (128 + 2 + 2) / 1000 * 1)


def test_the_command_and_its_page(tmp_path, monkeypatch):
    world = World(tmp_path)
    for hours in range(48):
        world.add("cam01", hours, archive_size=GIB, index_size=GIB // 100)
    world.publish()
    with open_catalog(world.store) as connection:
        past = archive_past(connection, FIRST.start.date() + timedelta(days=2))
    assert (past.bytes_per_day, past.archives_per_day) == (24 * GIB, 24)
    assert past.index_share == pytest.approx(0.01, rel=1e-6)
    monkeypatch.setenv("YOLO_ASSETS_HOME", str(tmp_path / "home"))
    (tmp_path / "prices.toml").write_text(PRICES)
    page = tmp_path / "costs.html"
    given = ("--store", world.store.url, "--prices", str(tmp_path / "prices.toml"), "--copy")
    result = CliRunner().invoke(app, ["costs", *given, "--html", str(page), "--json"])
    assert result.exit_code == 0, result.exception
    answer = json.loads(result.stdout)
    assert (answer["currency"], answer["stored_bytes"], answer["copy"]) == ("EUR", 48 * GIB, True)
    assert [one["years"] for one in answer["outlook"]] == [1, 5, 20]
    text = page.read_text()
    assert "&lt;our&gt; contract" in text and "<our>" not in text
    assert all(f"{one['total']:,.2f}" in text for one in answer["outlook"])
