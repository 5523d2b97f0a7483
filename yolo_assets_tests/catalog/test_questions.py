"""Questions to a catalog: right answers, nothing changed, one line for a bad question; also by command line."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest
from typer.testing import CliRunner

from yolo_assets.catalog import parquet_views
from yolo_assets.catalog.costs import load_prices
from yolo_assets.catalog.read import (
    NoCatalogError,
    ask,
    find_archives,
    find_hours,
    gap_ranges,
    gaps,
    open_catalog,
    query,
    stats,
)
from yolo_assets.cli.catalog import app
from yolo_assets.contracts.errors import BadInputError, IntegrityError, SignatureError, UsageError
from yolo_assets.contracts.names import ArchiveName, detections_key
from yolo_assets.contracts.receipt import ClassSummary
from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.storage import open_store
from yolo_assets_tests.catalog.catalog_world import World
from yolo_assets_tests.catalog.receipt_factory import FIRST, put_receipt, put_table


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
        start, end = FIRST.next(24).start, FIRST.next(48).start
        found = find_archives(connection, start, end, camera_id="cam01")
        assert found["receipt_key"].to_list() == keys
        assert find_archives(connection, start, end, camera_id="cam01", columns=["receipt_key", "part"]).rows() == [
            (key, 1) for key in keys
        ]
        with pytest.raises(BadInputError, match="not an hour that exists"):
            Hour.from_key("20260230_00")
        with pytest.raises(BadInputError, match="is not a camera id"):
            find_archives(connection, start, end, camera_id="cam 01")


def test_all_cracks_over_a_confidence_in_a_time(world):
    world.add("cam01", 0, **classes(crack=0.95))  # before
    world.add("cam01", 1, **classes(crack=0.8, dent=0.99))
    world.add("cam02", 2, **classes(crack=0.79))
    world.add("cam02", 3, **classes(crack=0.9))
    world.add("cam02", 4, **classes(crack=0.95))  # after
    world.publish()
    with open_catalog(world.store) as connection:
        found = find_hours(connection, "crack", 0.8, FIRST.next(1).start, FIRST.next(4).start)
    assert found.select("camera_id", "hour", "max_confidence").rows() == [
        ("cam01", FIRST.next(1).start, 0.8),
        ("cam02", FIRST.next(3).start, 0.9),
    ]


def test_hours_with_a_class_join_their_parts(world):
    world.add("cam01", 1, **classes(crack=0.5))
    world.add("cam01", 1, part=2, **classes(crack=0.9))
    world.add("cam01", 2, **classes(dent=0.99, crack=0.7))
    world.add("cam02", 3, **classes(crack=0.8))
    world.add("cam02", 4, **classes(crack=0.8))
    world.publish()
    with open_catalog(world.store) as connection:
        # The range begins inside an hour: the hour is touched.
        found = find_hours(connection, "crack", 0.8, FIRST.next(1).end - timedelta(minutes=1), FIRST.next(4).start)
        one = find_hours(connection, "crack", 0.0, FIRST.start, FIRST.next(9).start, "cam02")
    assert found.rows() == [("cam01", FIRST.next(1).start, 4, 0.9, 2), ("cam02", FIRST.next(3).start, 2, 0.8, 1)]
    assert one["hour"].to_list() == [FIRST.next(3).start, FIRST.next(4).start]


def test_archives_of_a_camera_or_a_batch_in_a_time(world):
    mine = world.add("cam01", 1, batch_ids=("B1", "B2"))
    other = world.add("cam02", 1, batch_ids=("B2",))
    world.add("cam01", 3)
    world.publish()
    with open_catalog(world.store) as connection:
        start, end = FIRST.next(1).end - timedelta(seconds=1), FIRST.next(3).start
        found = find_archives(connection, start, end)
        assert found["receipt_key"].to_list() == [mine, other]
        assert find_archives(connection, start, end, batch_id="B2")["receipt_key"].to_list() == [mine, other]
        assert find_archives(connection, start, end, batch_id="B1")["receipt_key"].to_list() == [mine]
        assert find_archives(connection, start, end, camera_id="cam02")["receipt_key"].to_list() == [other]


def test_what_is_missing_in_ranges(world):
    for hours in (0, 1, 2, 3, 8, 20):
        put_table(world.store, "cam01", FIRST.next(hours))
    for hours in (0, 3, 9, 12):
        world.add("cam01", hours)
    world.add("cam02", 5)
    world.publish()
    with open_catalog(world.store) as connection:
        found = gap_ranges(connection)
        assert gap_ranges(connection, "cam02").is_empty()
    assert [(kind, start, end, hours) for _, kind, start, end, hours in found.iter_rows()] == [
        ("not archived", FIRST.next(1).start, FIRST.next(3).start, 2),
        ("no data", FIRST.next(4).start, FIRST.next(8).start, 4),
        ("not archived", FIRST.next(8).start, FIRST.next(9).start, 1),
        ("no data", FIRST.next(10).start, FIRST.next(12).start, 2),
        ("no data", FIRST.next(13).start, FIRST.next(20).start, 7),
        ("not archived", FIRST.next(20).start, FIRST.next(21).start, 1),
    ]


def test_a_camera_that_should_be_there_and_was_never_seen_is_a_gap(world, cli):
    world.add("cam01", 0)
    put_table(world.store, "cam02", FIRST)
    world.publish()
    with open_catalog(world.store) as connection:
        before = gap_ranges(connection)
        found = gap_ranges(connection, expected=["cam02", "cam09", "cam01", "cam03"])
        assert found.rows() == [
            *before.rows(),
            *[(name, "never seen", None, None, None) for name in ("cam03", "cam09")],
        ]
        assert gap_ranges(connection, "cam01", ["cam01", "cam03"]).is_empty()
    never = {"camera_id": "cam03", "kind": "never seen", "start": None, "end": None, "hours": None}
    assert cli("gaps", "--camera", "cam03").exit_code == 1, "nobody knows it"
    (world.folder / "plant.yaml").write_text("cameras: [cam01, cam03]\n")
    assert json.loads(cli("gaps", "--json", "--camera", "cam03").stdout) == [never]
    assert json.loads(cli("gaps", "--json").stdout)[-1] == never
    assert cli("gaps").stdout.endswith("\ncam03\tnever seen\t\t\t\n")
    (world.folder / "plant.yaml").write_text("camera: [cam01]\n")
    wrong = cli("gaps")
    assert wrong.exit_code == 1 and "plant.yaml: camera" in str(wrong.exception)


def test_any_client_reads_a_published_file_in_any_time_zone(world):
    key = world.add("cam01", 23, part=2)
    put_table(world.store, "cam01", FIRST)
    pointer = world.publish().pointer
    with duckdb.connect(world.folder / "store" / pointer.key, read_only=True) as client:
        client.execute("SET TimeZone = 'Pacific/Auckland'")
        names = {name for (name,) in client.execute("SHOW TABLES").fetchall()}
        assert names == {"archives", "archive_classes", "hours", "gaps", "hours_seen", "problems"}
        for name in names:
            client.execute(f"SELECT * FROM {name}").fetchall()
        sql = "SELECT receipt_key, archive_key, index_key FROM archives"
        name = ArchiveName("cam01", FIRST.next(23), 2)
        assert client.execute(sql).fetchall() == [(key, name.archive_key, name.index_key)]
        assert client.execute("SELECT archive_key FROM archive_classes").fetchall() == [(name.archive_key,)]
        sql = "SELECT epoch(hour)::BIGINT, parts, has_tables FROM hours ORDER BY hour"
        hours = [(int(FIRST.start.timestamp()), 0, True), (int(FIRST.next(23).start.timestamp()), 1, False)]
        assert client.execute(sql).fetchall() == hours


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
    assert found.cameras.select("camera_id", "archives", "frames", "bytes", "first_hour", "last_hour").rows() == [
        ("cam01", 3, 30, 3000, FIRST.start, FIRST.next(24 * 60).start),
        ("cam02", 1, 10, 1000, FIRST.next(24 * 60).start, FIRST.next(24 * 60).start),
    ]
    assert dict(found.ages.select("age", "bytes").iter_rows()) == {"8-90 d": 3000, "91 d and older": 1000}
    assert found.problems == 1


def test_growth_is_of_the_last_days(world):
    for hours in range(0, 24 * 10, 12):
        world.add("cam01", hours, index_size=7)
    world.add("new", 24 * 10 - 1)
    world.publish()
    with open_catalog(world.store) as connection:
        now = FIRST.next(24 * 10).start
        found = stats(connection, now)
        later = stats(connection, FIRST.next(24 * 40).start)
    assert found.cameras["bytes_per_day"].to_list() == [13 * 1000 // 7, 1000]  # the hour 7 days before is not in it
    assert found.index_bytes == 7 * 20
    assert later.cameras["bytes_per_day"].to_list() == [0, 0]


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
    for start, count in ((hour.next(-1), 0), (hour, 1)):
        asked = query(world.store, "FROM detections", start=start.start, end=start.end)
        assert asked.height == 2 * count
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
        ("SELECT * FROM glob('/etc/*')", "disabled by configuration"),
        ("SELECT * FROM world", "world does not exist"),
        ("FROM query_table('detec' || 'tions')", "write detections by its name"),
        ("SELECT * FROM read_parquet('https://127.0.0.1/x.parquet')", "httpfs|disabled by configuration"),
    ],
)
def test_a_bad_question_gets_one_line(world, sql, words):
    world.add()
    world.publish()
    with pytest.raises(BadInputError, match=words) as caught:
        query(world.store, sql)
    assert "\n" not in str(caught.value)


def test_a_question_cannot_leave_the_tables(world):
    world.add()
    world.publish()
    put_table(world.store, "cam01", FIRST)
    with open_catalog(world.store, tables=["detections"]) as connection:
        folders = ask(connection, "SELECT current_setting('allowed_directories') AS a")["a"][0].to_list()
        assert len(folders) == 2  # and the one for what does not fit into memory
        (allowed,) = (folder for folder in folders if folder.endswith("/store/detections/"))
        assert ask(connection, f"SELECT * FROM read_blob('{allowed}**')").height == 1
        for path in (f"{allowed}../../keys/archiver", f"{allowed}../catalog/current.json"):
            with pytest.raises(BadInputError, match="disabled by configuration"):
                ask(connection, f"SELECT * FROM read_text('{path}')")


def test_everything_that_can_be_asked_is_listed(world):
    world.publish()
    listed = query(world.store, "SHOW TABLES")["name"].to_list()
    assert listed == ["archive_classes", "archives", "detections", "frames", "gaps", "hours", "hours_seen", "problems"]
    for name in listed:
        assert query(world.store, f"DESCRIBE {name}").height
        assert query(world.store, f"SELECT * FROM {name}").is_empty()


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


def test_no_catalog_and_a_damaged_one_are_errors_with_advice(world):
    with pytest.raises(NoCatalogError, match="catalog rebuild"):
        query(world.store, "SELECT 1")
    world.add()
    pointer = world.publish().pointer
    world.store.put(pointer.key, b"short")
    with pytest.raises(IntegrityError, match="catalog rebuild"):
        query(world.store, "SELECT 1")
    world.store.put(pointer.key, b"x" * pointer.size)
    with pytest.raises(IntegrityError, match="damaged, or from another release; rebuild it"):
        query(world.store, "SELECT 1")
    world.publish()
    assert query(world.store, "SELECT count(*) AS n FROM archives")["n"].to_list() == [1]


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


@pytest.mark.s3
def test_detections_can_be_asked_in_a_bucket(make_bucket, tmp_path, monkeypatch):
    world = World(tmp_path)
    world.store = open_store(make_bucket().url)
    world.add()
    world.publish()
    sql = "SELECT count(*) AS n FROM detections WHERE class = 'crack'"
    with monkeypatch.context() as without:
        without.setattr(parquet_views, "httpfs_file", lambda: None)
        with pytest.raises(BadInputError, match="install duckdb-extension-httpfs=="):
            query(world.store, sql)
        assert query(world.store, "SELECT count(*) AS n FROM archives")["n"].to_list() == [1]
    if parquet_views.httpfs_file() is None:
        pytest.skip("duckdb-extension-httpfs is not installed")
    assert query(world.store, sql)["n"].to_list() == [0]
    rows = pl.DataFrame({"camera_id": ["a", "b"], "class": ["crack", "dent"], "confidence": [0.9, 0.5]})
    for hours in (0, 20):
        buffer = io.BytesIO()
        rows.write_parquet(buffer)
        world.store.put(detections_key(FIRST.next(hours), "a"), buffer.getvalue())
    assert query(world.store, sql)["n"].to_list() == [2]
    assert query(world.store, sql, start=FIRST.start, end=FIRST.end)["n"].to_list() == [1]
    world.store.put("models/x.parquet", buffer.getvalue())
    with pytest.raises(BadInputError, match="disabled by configuration"):
        query(world.store, f"SELECT * FROM detections, read_parquet('{world.store.url}/models/x.parquet')")


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
    assert made.exit_code == 1 and "the first: 'receipts/x' is not an archive" in str(made.exception)
    answer = json.loads(made.stdout)
    assert answer["archives"] == 1 and answer["problems"][0]["receipt_key"] == "receipts/x"
    world.archive.delete("receipts/x")
    assert cli("rebuild").exit_code == 0

    rows = json.loads(cli("query", "SELECT camera_id, hour FROM archives", "--json").stdout)
    assert rows == [{"camera_id": "cam01", "hour": "2026-03-01T01:00:00.000Z"}]
    assert cli("query", "SELECT camera_id, part FROM archives").stdout == "camera_id\tpart\ncam01\t1\n"
    missing = {"start": "2026-03-01T00:00:00.000Z", "end": "2026-03-01T01:00:00.000Z", "hours": 1}
    gap = {"camera_id": "cam01", "kind": "not archived", **missing}
    assert json.loads(cli("gaps", "--json").stdout) == [gap]
    assert json.loads(cli("gaps", "--json", "--camera", "cam01").stdout) == [gap]
    for question in (("gaps",), ("find", "--class", "crack", "--from", "2026-03-01T00Z", "--to", "2026-03-02T00Z")):
        wrong = cli(*question, "--camera", "cam1")
        assert wrong.exit_code == 1 and "has no camera cam1; it has cam01" in str(wrong.exception)
    assert cli("query", "SELECT classes FROM archives", "--csv").stdout.startswith('classes\n"{""crack"":{""count"":3')
    lists = cli("query", "SELECT device_ids, batch_ids, part FROM archives", "--csv").stdout
    assert lists == 'device_ids,batch_ids,part\n"[""edge-1""]",[],1\n'
    assert json.loads(cli("stats", "--json").stdout)["cameras"][0]["archives"] == 1
    assert "cam01\t1\t10\t1000" in cli("stats").stdout


def test_cli_finds_hours(world, cli):
    world.add("cam01", 1, **classes(crack=0.95))
    world.publish()
    march = ("--from", "2026-03-01T00:00:00Z", "--to", "2026-04-01T00:00:00Z")
    hour = {"camera_id": "cam01", "hour": "2026-03-01T01:00:00.000Z", "max_confidence": 0.95, "archives": 1}
    assert json.loads(cli("find", "--class", "crack", *march, "--json").stdout) == [hour | {"count": 2}]
    narrow = cli("find", "--class", "crack", "--min-confidence", "0.8", *march, "--json")
    assert json.loads(narrow.stdout) == [hour | {"count": None}], "the catalog does not know how many are over 0.8"
    assert "1 hours have no count" in narrow.stderr
    misspelt = cli("find", "--class", "crakc", *march)
    assert misspelt.exit_code == 1 and "has no class crakc; it has crack" in str(misspelt.exception)
    assert "no hours" in cli("find", "--class", "crack", "--min-confidence", "0.96", *march).stderr
    for wrong in (("--from", "yesterday", *march[2:]), (*march[:2], "--to", "2026-03-01T00:00:00Z")):
        assert isinstance(cli("find", "--class", "crack", *wrong).exception, UsageError)
    assert isinstance(cli("find", "--class", "x", *march, "--csv", "--json").exception, UsageError)
    assert isinstance(cli("query", "FROM detections", "--from", march[1]).exception, UsageError)


PRICES = """
label = "our contract"
currency = "EUR"
standard = { per_gib_month = 1024.0, storage_classes = ["HOT"] }
infrequent = { per_gib_month = 0 }
cold = { per_gib_month = 0.5 }
"""


def test_cli_costs(world, cli, tmp_path):
    world.add("cam01", 0, archive_size=2**30, index_size=2**20)  # 2026-03-01: cold, whenever this runs
    hour = Hour.of(utc_now())
    put_receipt(world.archive, world.signer, ArchiveName("cam02", hour), archive_size=2**30)
    world.publish()
    prices = tmp_path / "prices.toml"
    prices.write_text(PRICES)
    answer = json.loads(cli("stats", "--prices", str(prices), "--json").stdout)
    assert [(row["camera_id"], row["cost_per_month"]) for row in answer["cameras"]] == [("cam01", 0.5), ("cam02", 1024)]
    assert {row["tier"]: row["cost_per_month"] for row in answer["tiers"]} == {"standard": 1024, "cold": 0.5}
    assert answer["cost_per_month"] == {"label": "our contract", "currency": "EUR", "indexes": 1.0, "total": 1025.5}
    assert "example: AWS S3 list prices" in cli("stats").stderr

    world.archive.put(ArchiveName("cam01", FIRST).archive_key, b"x" * 1000)
    (listed,) = json.loads(cli("stats", "--prices", str(prices), "--listed", "--json").stdout)["listed"]
    assert listed == {"storage_class": None, "tier": None, "archives": 1, "bytes": 1000, "cost_per_month": None}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read: No such file"),
        ("label = ", "is not TOML"),
        ("label = 'x'", "is not complete: currency"),
        (PRICES.replace("0.5", "-1"), "cold.per_gib_month"),
        (PRICES.replace("0.5", "nan"), "cold.per_gib_month"),
    ],
)
def test_a_bad_price_table_gets_one_line(tmp_path, text, words):
    path = tmp_path / "prices.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BadInputError, match=words):
        load_prices(path)


def test_tiers_of_storage_classes():
    prices = load_prices()
    asked = ["STANDARD", "STANDARD_IA", "GLACIER_IR", "SOMETHING", None]
    assert [prices.tier_of(name) for name in asked] == ["standard", "infrequent", "cold", None, None]


def test_cli_errors(world, cli):
    assert isinstance(cli("query", "SELECT 1").exception, NoCatalogError)
    world.publish()
    assert isinstance(cli("query", "SELECT nope").exception, BadInputError)
    assert "no gaps" in cli("gaps").stderr
    for key in Path(world.folder / "keys").iterdir():
        key.unlink()
    assert isinstance(cli("rebuild").exception, SignatureError)
