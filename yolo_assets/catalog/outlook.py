"""What the archive will cost over years: the catalog's own figures, carried on day by day, times a price table.

Belongs here: how much lies in which tier on which day, and the sums. Does not belong here: the prices (``costs``), what
there is today (``read``), how it is shown (``costs.html.j2``).

The plant goes on as it does today: the bytes and archives a day of the last week, each day. An archive moves to the
next tier at the age of 8 and of 91 days, and is gone when its retention ends. A year has 365 days, a month a twelfth of
that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any

import duckdb
import jinja2

from yolo_assets.archive.part_plan import part_size_for
from yolo_assets.catalog.costs import GIB, TIERS, Prices, Tier
from yolo_assets.catalog.read import ask

HORIZONS = (1, 5, 20)
"""Years."""
_YEAR = 365
_MONTH = _YEAR / 12
_FIRST_DAY: dict[Tier, int] = {"standard": 0, "infrequent": 8, "cold": 91}
"""Age in days at which an archive comes into a tier; the same bounds as in ``read.stats``."""
_WRITES = 3
"""Requests that write for an archive in one put: itself, its index, its receipt."""


@dataclass(frozen=True)
class ArchivePast:
    """What a plant has archived, as far as costs need it.

    Attributes:
        bytes_by_day: of archives, by the day of their hour.
        bytes_per_day: of the seven days before, or of as many as there are.
        archives_per_day: in the same days.
        index_share: bytes of indexes for each byte of archives.
    """

    bytes_by_day: dict[date, int]
    bytes_per_day: float
    archives_per_day: float
    index_share: float


@dataclass(frozen=True)
class Assumptions:
    """What no catalog knows.

    Attributes:
        retention_days: an archive is gone at this age; 0: it stays.
        read_percent: share of what is stored that is read back in a year.
        copy: whether there is a second copy of everything, at the price of ``second_copy``.
    """

    retention_days: int = 0
    read_percent: float = 1.0
    copy: bool = False


@dataclass(frozen=True)
class Outlook:
    """What the coming years cost together, in the price table's currency.

    Attributes:
        years: how many.
        bytes_at_end: of archives, on the last day.
        standard, infrequent, cold: storage by tier.
        indexes: storage of the indexes, which never change tiers.
        copy: storage of the second copy; 0 without one.
        requests: writing archives, moving them to the next tier, and writing the copy.
        retrieval: reading back.
    """

    years: int
    bytes_at_end: int
    standard: float
    infrequent: float
    cold: float
    indexes: float
    copy: float
    requests: float
    retrieval: float

    @property
    def total(self) -> float:
        """All of it."""
        storage = self.standard + self.infrequent + self.cold + self.indexes + self.copy
        return storage + self.requests + self.retrieval

    def document(self) -> dict[str, Any]:
        """For machines; amounts to the cent."""
        amounts = {name: round(value, 2) for name, value in asdict(self).items()}
        return {**amounts, "total": round(self.total, 2)}


def archive_past(connection: duckdb.DuckDBPyConnection, today: date) -> ArchivePast:
    """Read from a catalog what the archive holds by day.

    Args:
        connection: of ``read.open_catalog``.
        today: in UTC.
    """
    sql = """
        SELECT (hour AT TIME ZONE 'UTC')::DATE AS day, count(*) AS archives, sum(archive_size)::BIGINT AS bytes,
            coalesce(sum(index_size), 0)::BIGINT AS index_bytes
        FROM archives GROUP BY day ORDER BY day
    """
    rows = ask(connection, sql).rows()
    by_day = {day: size for day, _, size, _ in rows}
    recent = [row for row in rows if today - timedelta(days=7) <= row[0] < today] or rows[-1:]
    days = max(1, min(7, (today - recent[0][0]).days)) if recent else 1
    total = sum(by_day.values())
    return ArchivePast(
        bytes_by_day=by_day,
        bytes_per_day=sum(row[2] for row in recent) / days,
        archives_per_day=sum(row[1] for row in recent) / days,
        index_share=sum(row[3] for row in rows) / total if total else 0.0,
    )


def outlook(
    past: ArchivePast, today: date, prices: Prices, given: Assumptions, horizons: Sequence[int] = HORIZONS
) -> list[Outlook]:
    """What the coming years cost, for each number of years.

    Args:
        past: what there is.
        today: the first day that is paid for; what it brings is stored with it.
        prices: what things cost.
        given: what no catalog knows.
        horizons: numbers of years, ascending.
    """
    first = min([today, *past.bytes_by_day])
    before = (today - first).days
    arrived = [float(past.bytes_by_day.get(first + timedelta(days=day), 0)) for day in range(before)]
    arrived += [past.bytes_per_day] * (max(horizons) * _YEAR)
    so_far = [0.0, *accumulate(arrived)]

    def stored(day: int, youngest: int, oldest: float) -> float:
        """Bytes whose age on a day is from ``youngest`` days on and under ``oldest``."""
        newest = day - youngest + 1
        return so_far[max(0, newest)] - so_far[max(0, int(max(0, day - oldest + 1)))] if newest > 0 else 0.0

    end = given.retention_days or float("inf")
    byte_days = dict.fromkeys(TIERS, 0.0)
    moved = dict.fromkeys(TIERS, 0.0)
    whole = 0.0
    found: list[Outlook] = []
    for number in range(max(horizons) * _YEAR):
        day, whole = before + number, 0.0
        for tier, leaves in zip(TIERS, [*list(_FIRST_DAY.values())[1:], float("inf")], strict=True):
            enters = _FIRST_DAY[tier]
            size = max(0.0, stored(day, enters, min(leaves, end)))
            byte_days[tier] += size
            whole += size
            if enters < end and day - enters >= 0:
                moved[tier] += arrived[day - enters]
        if (number + 1) % _YEAR == 0 and (number + 1) // _YEAR in horizons:
            found.append(_summed((number + 1) // _YEAR, whole, byte_days, moved, past, prices, given))
    return found


def _summed(
    years: int,
    whole: float,
    byte_days: dict[Tier, float],
    moved: dict[Tier, float],
    past: ArchivePast,
    prices: Prices,
    given: Assumptions,
) -> Outlook:
    gib_months = {tier: size / GIB / _MONTH for tier, size in byte_days.items()}
    per_archive = past.bytes_per_day / past.archives_per_day if past.archives_per_day else 0.0
    archives = {tier: size / per_archive if per_archive else 0.0 for tier, size in moved.items()}
    # In one put, or in parts: a request to begin, one for each part, one to join them.
    parts = per_archive / part_size_for(int(per_archive))
    writes = _WRITES if parts <= 1 else _WRITES + 1 + parts
    requests = archives["standard"] * writes * prices.standard.per_thousand_writes / 1000
    requests += sum(archives[tier] * prices.of(tier).per_thousand_writes / 1000 for tier in TIERS[1:])
    copy = 0.0
    if given.copy:
        total = sum(gib_months.values())
        copy = total * (1 + past.index_share) * prices.second_copy.per_gib_month
        requests += archives["standard"] * writes * prices.second_copy.per_thousand_writes / 1000
    read = given.read_percent / 100 / 12  # of what lies there, in a month
    return Outlook(
        years=years,
        bytes_at_end=round(whole),
        **{tier: gib_months[tier] * prices.of(tier).per_gib_month for tier in TIERS},
        indexes=sum(gib_months.values()) * past.index_share * prices.standard.per_gib_month,
        copy=copy,
        requests=requests,
        retrieval=sum(gib_months[tier] * read * prices.of(tier).retrieval_per_gib for tier in TIERS),
    )


def costs_page(past: ArchivePast, today: date, prices: Prices, given: Assumptions, found: Sequence[Outlook]) -> bytes:
    """One HTML file that needs nothing else: the figures, what they were computed from, and what they leave out."""
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string(Path(__file__).with_name("costs.html.j2").read_text(encoding="utf-8"))
    rows = [
        ("Storage, 0-7 days old", [one.standard for one in found]),
        ("Storage, 8-90 days old", [one.infrequent for one in found]),
        ("Storage, 91 days and older", [one.cold for one in found]),
        ("Storage of the indexes", [one.indexes for one in found]),
        ("Requests: writing and moving", [one.requests for one in found]),
        (f"Reading back {given.read_percent:g} % of it a year", [one.retrieval for one in found]),
        *([("Second copy", [one.copy for one in found])] if given.copy else []),
    ]
    return template.render(
        today=today,
        prices=prices,
        given=given,
        found=found,
        rows=rows,
        gib=GIB,
        stored=sum(past.bytes_by_day.values()),
        past=past,
    ).encode()
