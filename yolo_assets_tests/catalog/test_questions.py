"""Questions to a catalog: right answers, nothing changed, one line for a bad question; also by command line."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import polars as pl
import pytest
from typer.testing import CliRunner

from yolo_assets.catalog.read import NoCatalogError, ask, gaps, lookup, open_catalog, query, stats, with_class
from yolo_assets.cli.catalog import app
from yolo_assets.contracts.errors import BadInputError, IntegrityError, SignatureError
from yolo_assets.contracts.names import detections_key
from yolo_assets.contracts.receipt import ClassSummary
from yolo_assets.contracts.times import Hour
from yolo_assets.storage import open_store
from yolo_assets_tests.catalog.catalog_world import World
from yolo_assets_tests.catalog.receipt_factory import FIRST, put_table


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def classes(**found):
    return {"classes": {name: ClassSummary(count=2, max_confidence=value) for name, value in found.items()}}


def test_camera_and_day(world):
    keys = [world.add("cam01", 24 + hours) for hours in (0, 5, 23)]
    for camera, hours in (("cam01", 23), ("cam01", 48), ("cam02", 30)):
        world.add(camera, hours)
    world.publish()
    with open_catalog(world.store) as connection:
        found = lookup(connection, "cam01", FIRST.next(24).date)
        assert found["receipt_key"].to_list() == keys
        with pytest.raises(BadInputError, match="no hour that exists"):
            lookup(connection, "cam01", "2026-02-30")
        with pytest.raises(BadInputError, match="is not a camera id"):
            lookup(connection, "cam 01", "2026-02-03")


def test_all_cracks_over_a_confidence_in_a_time(world):
    world.add("cam01", 0, **classes(crack=0.95))  # before
    world.add("cam01", 1, **classes(crack=0.8, dent=0.99))
    world.add("cam02", 2, **classes(crack=0.79))
    world.add("cam02", 3, **classes(crack=0.9))
    world.add("cam02", 4, **classes(crack=0.95))  # after
    world.publish()
    with open_catalog(world.store) as connection:
        found = with_class(connection, "crack", 0.8, FIRST.next(1).start, FIRST.next(4).start)
    assert found.select("camera_id", "hour", "max_confidence").rows() == [
        ("cam01", FIRST.next(1).start, 0.8),
        ("cam02", FIRST.next(3).start, 0.9),
    ]


def test_gaps_are_hours_with_tables_and_no_archive(world):
    for hours in range(4):
        put_table(world.store, "cam01", FIRST.next(hours))
    world.store.put("detections/date=2026-03-01/hour=00/.DS_Store", b"")
    world.add("cam01", 1)
    world.add("cam01", 2, part=2)
    world.add("cam02", 3)
    world.publish()
    with open_catalog(world.store) as connection:
        assert gaps(connection).rows() == [("cam01", FIRST.start), ("cam01", FIRST.next(3).start)]
    world.add("cam01", 0)
    world.publish()
    with open_catalog(world.store) as connection:
        assert gaps(connection).rows() == [("cam01", FIRST.next(3).start)]


def test_stats_by_camera_and_age(world):
    for hours in (0, 100, 24 * 60):
        world.add("cam01", hours)
    world.add("cam02", 24 * 60)
    world.archive.put("receipts/x", b"")
    world.publish()
    with open_catalog(world.store) as connection:
        found = stats(connection, FIRST.next(24 * 92).start)
    assert found.cameras.rows() == [
        ("cam01", 3, 30, 3000, FIRST.start, FIRST.next(24 * 60).start),
        ("cam02", 1, 10, 1000, FIRST.next(24 * 60).start, FIRST.next(24 * 60).start),
    ]
    assert dict(found.ages.select("age", "bytes").iter_rows()) == {"8-90 d": 3000, "91 d and older": 1000}
    assert found.problems == 1


@pytest.mark.parametrize("hours", [0, 8 * 24 - 1, 8 * 24, 91 * 24 - 1, 91 * 24])
def test_age_bounds(world, hours):
    world.add()
    world.publish()
    with open_catalog(world.store) as connection:
        age = stats(connection, FIRST.next(hours).start).ages["age"].to_list()
    days = hours // 24
    assert age == ["0-7 d" if days <= 7 else "8-90 d" if days <= 90 else "91 d and older"]


def test_detections_can_be_asked_in_a_folder(world):
    world.add()
    world.publish()
    assert query(world.store, "SELECT count(*) AS n FROM detections")["n"].to_list() == [0]
    hour = Hour.from_key("20260102_12")
    rows = pl.DataFrame({"camera_id": ["a", "b"], "class": ["crack", "dent"], "confidence": [0.9, 0.5]})
    path = world.folder / "store" / detections_key(hour, "a")
    path.parent.mkdir(parents=True)
    rows.write_parquet(path)
    sql = "SELECT camera_id FROM Detections WHERE class = 'crack' AND confidence > 0.8"
    assert query(world.store, sql)["camera_id"].to_list() == ["a"]
    path.write_bytes(b"")
    with pytest.raises(BadInputError, match=r"hour=12/a\.parquet.*build that hour again"):
        query(world.store, sql)
    assert query(world.store, "SELECT count(*) AS n FROM archives")["n"].to_list() == [1]


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT nothing_like_it FROM archives", "nothing_like_it"),
        ("SELEC 1", "syntax error"),
        ("", "give one SELECT"),
        ("SELECT 1; SELECT 2", "give one SELECT"),
        ("DELETE FROM archives", "give one SELECT"),
        ("COPY archives TO 'out.csv'", "give one SELECT"),
        ("ATTACH 'other.duckdb'", "give one SELECT"),
        ("INSTALL httpfs", "give one SELECT"),
        ("SELECT * FROM read_text('/etc/hostname')", "disabled by configuration"),
        ("SELECT * FROM read_parquet('https://127.0.0.1/x.parquet')", "httpfs|disabled by configuration"),
    ],
)
def test_a_bad_question_gets_one_line(world, sql, words):
    world.add()
    world.publish()
    with pytest.raises(BadInputError, match=words) as caught:
        query(world.store, sql)
    assert "\n" not in str(caught.value)


def test_a_connection_cannot_change_the_catalog(world):
    world.add()
    world.publish()
    with open_catalog(world.store) as connection:
        for sql in (
            "DELETE FROM archives",
            "CREATE TABLE catalog_file.x (i INTEGER)",
            "SET enable_external_access = true",
        ):
            with pytest.raises(duckdb.Error):
                connection.execute(sql)
        assert ask(connection, "SELECT count(*) AS n FROM archives")["n"].to_list() == [1]


def test_a_reader_keeps_its_catalog_while_others_publish(world):
    world.add(hours=0)
    world.publish()
    with open_catalog(world.store) as reader:
        for hours in range(1, 12):
            world.add(hours=hours)
            world.publish()
        assert ask(reader, "SELECT count(*) AS n FROM archives")["n"].to_list() == [1]
        with open_catalog(world.store) as second:
            assert ask(second, "SELECT count(*) AS n FROM archives")["n"].to_list() == [12]


def test_no_catalog_and_a_damaged_one_say_what_to_do(world):
    with pytest.raises(NoCatalogError, match="catalog rebuild"):
        query(world.store, "SELECT 1")
    world.add()
    pointer = world.publish().pointer
    world.store.put(pointer.key, b"short")
    with pytest.raises(IntegrityError, match="catalog rebuild"):
        query(world.store, "SELECT 1")


def test_a_folder_with_odd_characters(tmp_path):
    folder = tmp_path / "it's a [store] *?"
    folder.mkdir()
    world = World(folder)
    world.add()
    put_table(world.store, "cam01", FIRST)
    world.publish()
    assert query(world.store, "SELECT count(*) AS n FROM archives, detections")["n"].to_list() == [0]


@pytest.mark.s3
def test_catalog_in_s3(make_bucket, tmp_path):
    world = World(tmp_path)
    world.store, world.archive = open_store(make_bucket().url), open_store(make_bucket(locked=True).url)
    keys = {world.add(hours=hours) for hours in range(3)}
    world.publish()
    keys.add(world.add(hours=3))
    world.publish()
    cache = tmp_path / "cache"
    for _ in range(2):
        found = query(world.store, "SELECT receipt_key FROM archives", cache=cache)
        assert set(found["receipt_key"]) == keys
    assert len(list(cache.iterdir())) == 1
    with (
        pytest.raises(BadInputError, match="only when the store is a folder"),
        open_catalog(world.store, tables=["frames"]),
    ):
        pass


class Cli:
    def __init__(self, world: World, monkeypatch) -> None:
        monkeypatch.setenv("YOLO_ASSETS_HOME", str(world.folder))

    def __call__(self, *arguments: str):
        return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def cli(world, monkeypatch):
    return Cli(world, monkeypatch)


def test_cli_rebuild_and_questions(world, cli):
    world.add("cam01", 1)
    put_table(world.store, "cam01", FIRST)
    world.archive.put("receipts/x", b"")
    made = cli("rebuild", "--json")
    assert made.exit_code == 0, made.output
    told = json.loads(made.stdout)
    assert told["archives"] == 1 and told["problems"][0]["receipt_key"] == "receipts/x"
    assert "not believed" in made.stderr

    rows = json.loads(cli("query", "SELECT camera_id, hour FROM archives", "--json").stdout)
    assert rows == [{"camera_id": "cam01", "hour": "2026-03-01T01:00:00.000Z"}]
    assert cli("query", "SELECT camera_id, part FROM archives").stdout == "camera_id\tpart\ncam01\t1\n"
    assert json.loads(cli("gaps", "--json").stdout) == [{"camera_id": "cam01", "hour": "2026-03-01T00:00:00.000Z"}]
    assert json.loads(cli("stats", "--json").stdout)["cameras"][0]["archives"] == 1
    assert "cam01\t1\t10\t1000" in cli("stats").stdout


def test_cli_errors(world, cli):
    assert isinstance(cli("query", "SELECT 1").exception, NoCatalogError)
    world.publish()
    assert isinstance(cli("query", "SELECT nope").exception, BadInputError)
    assert "no gaps" in cli("gaps").stderr
    for key in Path(world.folder / "keys").iterdir():
        key.unlink()
    assert isinstance(cli("rebuild").exception, SignatureError)
