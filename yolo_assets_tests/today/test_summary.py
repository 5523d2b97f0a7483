"""The verdict on each camera, counted a second time by DuckDB in SQL over the same facts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import duckdb
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_assets.contracts.times import Hour
from yolo_assets.today.summary import Failure, PlantFacts, SpooledHour, ranges, summarise, window_of

NOW = datetime(2026, 3, 2, 9, 42, tzinfo=UTC)
RUNNING = Hour.of(NOW)
CAMERAS = ["cam1", "cam2", "cam3"]
HOURS = [RUNNING.next(-back) for back in range(40, -1, -1)]

places = st.tuples(st.sampled_from(CAMERAS), st.sampled_from(HOURS))


@st.composite
def plants(draw: st.DrawFn) -> PlantFacts:
    spooled = draw(st.dictionaries(places, st.integers(1, 50), max_size=60))
    archived = draw(st.sets(places.filter(lambda place: place[1] < RUNNING), max_size=80))
    counted = {place: draw(st.integers(0, 50)) for place in sorted(archived) if draw(st.booleans())}
    first = draw(st.dictionaries(st.sampled_from(CAMERAS), st.sampled_from(HOURS)))
    failures = draw(st.sets(places.filter(lambda place: place[1] < RUNNING), max_size=6))
    return PlantFacts(
        now=NOW,
        expected=tuple(sorted(draw(st.sets(st.sampled_from([*CAMERAS, "cam4"]))))),
        spooled={place: SpooledHour(frames, place[1].start) for place, frames in spooled.items()},
        archived=archived,
        counted=counted,
        first_hours=first,
        failures=tuple(Failure("hourly_archives", "why", "1", NOW, *place) for place in sorted(failures)),
    )


ORACLE = """
WITH places AS (
    SELECT camera, hour, max(frames) AS frames, bool_or(spooled) AS spooled, bool_or(archived) AS archived
    FROM facts GROUP BY ALL
), cameras AS (
    SELECT camera FROM places UNION SELECT camera FROM expected UNION SELECT camera FROM failures
), starts AS (
    SELECT camera, min(hour) AS first FROM (SELECT camera, hour FROM places UNION ALL SELECT * FROM firsts) GROUP BY 1
), asked AS (
    SELECT camera, hour, first, coalesce((SELECT bool_or(spooled) FROM places p WHERE p.camera = cameras.camera), false)
        AS here
    FROM cameras LEFT JOIN starts USING (camera)
    CROSS JOIN (SELECT $running - INTERVAL 1 HOUR * n AS hour FROM range(1, 25) r(n))
)
SELECT camera,
    coalesce((SELECT sum(frames) FROM places p WHERE p.camera = a.camera
        AND p.hour BETWEEN $running - INTERVAL 24 HOUR AND $running), 0)::INT AS frames,
    count(*) FILTER (EXISTS (FROM places p WHERE p.camera = a.camera AND p.hour = a.hour AND p.archived)) AS archived,
    count(*) FILTER (a.first < a.hour AND NOT EXISTS (FROM places p WHERE p.camera = a.camera AND p.hour = a.hour)
        AND $now - a.hour - INTERVAL 1 HOUR
            >= CASE WHEN here THEN INTERVAL 10 MINUTE ELSE INTERVAL 3 HOUR END) AS missing,
    (SELECT count(*) FROM places p WHERE p.camera = a.camera AND p.spooled AND NOT p.archived
        AND $now - p.hour - INTERVAL 1 HOUR >= INTERVAL 3 HOUR) AS late,
    (SELECT count(DISTINCT hour) FROM failures f WHERE f.camera = a.camera) AS failed
FROM asked a GROUP BY camera ORDER BY camera
"""


def counted_by_duckdb(facts: PlantFacts) -> list[tuple[object, ...]]:
    rows = [(camera, hour.start, item.frames, True, False) for (camera, hour), item in facts.spooled.items()]
    rows += [(camera, hour.start, 0, False, True) for camera, hour in facts.archived]
    rows += [(camera, hour.start, frames, False, True) for (camera, hour), frames in facts.counted.items()]
    moment = pl.Datetime("us", "UTC")
    names = {"camera": pl.String, "hour": moment, "frames": pl.Int64, "spooled": pl.Boolean, "archived": pl.Boolean}
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("facts", pl.DataFrame(rows, schema=names, orient="row"))
        connection.register("expected", pl.DataFrame({"camera": list(facts.expected)}, schema={"camera": pl.String}))
        firsts = [(camera, hour.start) for camera, hour in facts.first_hours.items()]
        two = {"camera": pl.String, "hour": moment}
        connection.register("firsts", pl.DataFrame(firsts, schema=two, orient="row"))
        failures = [(f.camera_id, f.hour.start) for f in facts.failures or () if f.hour is not None]
        connection.register("failures", pl.DataFrame(failures, schema=two, orient="row"))
        return connection.execute(ORACLE, {"running": RUNNING.start, "now": NOW}).fetchall()


@settings(max_examples=40)
@given(plants())
def test_counts_are_those_of_duckdb(facts: PlantFacts) -> None:
    today = summarise(facts)
    rows = [
        (row.camera_id, row.frames, row.archived, len(row.missing), len(row.late), len(row.failed))
        for row in sorted(today.cameras, key=lambda row: row.camera_id)
    ]
    assert rows == counted_by_duckdb(facts)
    for row in today.cameras:
        silent = row.last_at is None or NOW - row.last_at >= timedelta(hours=2)
        expected = row.camera_id in facts.expected
        assert (row.status == "absent") == (silent and expected)
        assert (row.status == "failed") == (bool(row.failed) and not (silent and expected))
        assert (row.status == "good") == (not silent and not row.failed and not row.late and not row.missing)


def test_expected_cameras_are_there_even_if_they_never_sent_anything() -> None:
    (row,) = summarise(PlantFacts(now=NOW, expected=("cam1",))).cameras
    assert (row.status, row.reason.key, row.last_at, row.missing) == ("absent", "never", None, ())


def test_a_camera_that_stopped_for_good_is_seen_while_it_is_listed() -> None:
    long_ago = Hour.from_key("20260101_00")
    facts = PlantFacts(now=NOW, expected=("listed",), last_hours={"listed": long_ago, "unlisted": long_ago})
    assert [(row.camera_id, row.status) for row in summarise(facts).cameras] == [("listed", "absent")]
    facts = PlantFacts(now=NOW, last_hours={"unlisted": RUNNING.next(-30)})
    (row,) = summarise(facts).cameras
    assert (row.status, row.reason.key) == ("late", "stopped"), "one that nobody lists is named for a week"


def test_nobody_is_absent_while_something_cannot_be_read() -> None:
    facts = PlantFacts(now=NOW, expected=("cam1", "cam2"), seen={"cam2": NOW}, unread={"the archive": "it is away"})
    assert {row.camera_id: row.status for row in summarise(facts).cameras} == {"cam1": "unknown", "cam2": "good"}


def test_the_worst_comes_first() -> None:
    facts = PlantFacts(
        now=NOW,
        expected=("a_good", "b_absent"),
        seen={"a_good": NOW, "c_failed": NOW, "d_late": NOW},
        archived={("d_late", RUNNING.next(-3))},
        failures=(Failure("detections", "why", "1", NOW, "c_failed", RUNNING.next(-1)),),
        first_hours={"d_late": RUNNING.next(-9)},
    )
    assert [row.status for row in summarise(facts).cameras] == ["absent", "failed", "late", "good"]


def test_the_window_is_a_day_of_closed_hours() -> None:
    hours = window_of(NOW)
    assert len(hours) == 24 and hours[-1] == RUNNING.next(-1) and hours[0] == RUNNING.next(-24)


def test_hours_in_a_row_are_one_range() -> None:
    hours = [Hour.from_key(f"20260302_{hh:02d}") for hh in (2, 3, 4, 7, 23)]
    assert ranges(hours) == "02:00-05:00, 07:00-08:00, 23:00-00:00"
