"""``catalog find`` counts what was asked for, and finds it beside its folder's hour too, on really archived hours."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.restore.filter import FrameFilter
from yolo_assets.catalog import publish as publishing
from yolo_assets.catalog.counting import FoundHour, count_asked
from yolo_assets.catalog.read import ask, find_hours, open_catalog, query_exactly, seals
from yolo_assets.contracts.device_keys import EnrolledDevices
from yolo_assets.contracts.errors import BadInputError, IntegrityError
from yolo_assets.contracts.names import frame_name
from yolo_assets.contracts.receipt import Custody, OutsideHour
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour
from yolo_assets.defs.archive.checks import as_sealed
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.storage import open_store
from yolo_assets_tests.catalog.catalog_world import World
from yolo_assets_tests.catalog.receipt_factory import FIRST
from yolo_assets_tests.cli.command_line import cli
from yolo_assets_tests.support.one_round import run_archiver

HOUR = Hour.from_key("20241015_14")


def write(spool: Path, moment: datetime, confidences: list[float], kind: str = "crack") -> None:
    """A foreign frame with its record, in the folder of the hour 14."""
    folder = SpoolHour.of(spool, "cam1", HOUR).path
    folder.mkdir(parents=True, exist_ok=True)
    name = frame_name(moment)
    (folder / name).write_bytes(b"\xff\xd8\xff" + name.encode())
    found = {"bbox": [1, 2, 3, 4], "class": kind, "timestamp": moment.isoformat()}
    detections = [found | {"confidence": confidence} for confidence in confidences]
    record = {"image_path": name, "detections": detections, "model_version": "m", "device_id": "d"}
    (folder / f"{name}.json").write_text(json.dumps(record))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with one archived hour: cracks of 0.5 and 0.9, dents, and a crack captured at 15:00:00.250."""
    for second in range(18):
        write(tmp_path / "spool", HOUR.start + timedelta(seconds=second), [0.9 if second % 6 == 0 else 0.5])
    write(tmp_path / "spool", HOUR.start + timedelta(minutes=30), [0.95], "dent")
    write(tmp_path / "spool", HOUR.end + timedelta(milliseconds=250), [0.85])
    for step in ("archive", "run", "--grace", "0"), ("catalog", "rebuild"):
        done = cli(*step, home=tmp_path)
        assert done.returncode == 0, done.stderr
    return tmp_path


def find(home: Path, *options: str, start: str = "14:00:00Z", end: str = "16:00:00Z") -> list[dict[str, Any]]:
    span = ("--from", f"2024-10-15T{start}", "--to", f"2024-10-15T{end}")
    done = cli("catalog", "find", *options, *span, "--json", home=home)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_counts_are_of_confidence_class_and_time(home: Path) -> None:
    def count(*options: str, **span: str) -> list[tuple[str, int, float]]:
        return [(one["hour"][11:13], one["count"], one["max_confidence"]) for one in find(home, *options, **span)]

    assert count("--class", "crack") == [("14", 19, 0.9)]
    assert count("--class", "crack", "--min-confidence", "0.8") == [("14", 4, 0.9)]
    assert count("--class", "crack", "--min-confidence", "0.8", end="14:00:05Z") == [("14", 1, 0.9)]
    assert count("--class", "crack", start="14:00:01Z", end="14:00:06Z") == [("14", 5, 0.5)]
    assert count("--class", "dent", start="14:00:00Z", end="14:00:20Z") == []
    assert count("--class", "crack", start="15:00:00Z") == [("14", 1, 0.85)], "beside its folder's hour"
    assert count("--class", "crack", start="15:01:00Z") == []
    text = cli(
        "catalog", "find", "--class", "crack", "--min-confidence", "0.8", "--from", "2024-10-15T14Z", "--to",
        "2024-10-15T16Z", home=home,
    )  # fmt: skip
    assert text.stdout.splitlines()[0].split("\t")[2] == "count of crack from 0.8 on"


def test_old_questions_follow_a_rename_and_a_merge(home: Path) -> None:
    for argv in (("add", "crack"), ("add", "dent"), ("rename", "crack", "fissure"), ("merge", "dent", "fissure")):
        assert cli("classes", *argv, home=home).returncode == 0
    for name in ("crack", "fissure", "dent"):
        assert [(one["count"], one["archives"]) for one in find(home, "--class", name)] == [(20, 1)]
    span = ("--from", "2024-10-15T14Z", "--to", "2024-10-15T16Z")
    asked = cli("restore", "--class", "fissure", *span, "--frames-only", "--out", home / "out", "--json", home=home)
    assert asked.returncode == 0, asked.stderr
    assert "fissure is also looked for as crack, dent" in asked.stderr
    assert len(list((home / "out").rglob("*.jpg"))) == 20
    asked_for = ("--camera", "cam1", "--class", "fissure", *span)
    why = ("--reason", "an audit", "--by", "Li")
    made = cli("evidence", "make", *asked_for, *why, "--out", home / "pack", "--json", home=home)
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["counts"]["detections"] == 20
    key = home / "keys" / "archiver.pub"
    assert cli("evidence", "verify", home / "pack", "--key", key, home=home).returncode == 0


def test_a_question_names_its_archive_and_its_store(home: Path) -> None:
    sql = "SELECT outside_count, records_without_frame FROM archives"
    for url in (home / "archive", (home / "archive").as_uri()):
        asked = cli("catalog", "query", sql, "--json", "--archive", url, "--store", home / "store", home=home / "new")
        assert json.loads(asked.stdout) == [{"outside_count": 1, "records_without_frame": 0}], asked.stderr
    other = cli("archive", "run", "--archive", home / "other", "--grace", "0", home=home)
    assert other.returncode == 0
    wrong = cli("catalog", "query", sql, "--archive", home / "other", home=home)
    assert wrong.returncode == 1 and "catalog rebuild --archive file://" in wrong.stderr


def test_tables_that_nobody_built_are_told(home: Path) -> None:
    asked = cli("catalog", "query", "SELECT * FROM detections", home=home)
    assert (asked.returncode, asked.stdout) == (0, "")
    assert "yolo-assets tables build" in asked.stderr and "no table of detections" in asked.stderr
    counted = cli("catalog", "query", "SELECT count(*) AS n FROM frames", "--json", home=home)
    assert json.loads(counted.stdout) == [{"n": 0}] and "no table of frames" in counted.stderr
    assert "no table" not in cli("catalog", "query", "SELECT * FROM archives", home=home).stderr
    blob = cli("catalog", "query", "SELECT 'x'::BLOB AS b, 'a\tb' AS t", home=home)
    assert blob.stdout == "b\tt\neA==\ta\\tb\n" and "bytes are shown in base64: b" in blob.stderr


def test_what_cannot_be_read_has_no_count(tmp_path: Path) -> None:
    asked = FrameFilter(HOUR.start, HOUR.end, class_name="crack", min_confidence=0.8)
    hours = [FoundHour("cam1", HOUR.next(n).start, 7, 0.9, 1) for n in range(3)]
    assert [one.count for one in count_asked(hours, asked, None)] == [None, None, None]
    signer = Signer.load_or_create(tmp_path / "key")
    empty = Archive(open_store((tmp_path / "archive").as_uri()), TrustedKeys.of(signer))
    whole = FrameFilter(HOUR.start, HOUR.next(3).start, class_name="crack")
    assert [one.count for one in count_asked(hours, whole, empty)] == [7, 7, 7], "the sums of whole hours"
    write(tmp_path / "spool", HOUR.start, [0.9, 0.85, 0.7])
    run_archiver(tmp_path / "spool", empty, signer, grace_seconds=0)
    (counted,) = count_asked(hours[:1], asked, empty)
    assert (counted.count, counted.max_confidence) == (2, 0.9)


def test_a_catalog_of_the_version_before_is_brought_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path)
    outside = OutsideHour(count=1, first=FIRST.end, last=FIRST.end)
    world.add("cam01", 0, outside_hour=outside, records_without_frame=2)
    world.add("cam02", 0)
    pointer = world.publish().pointer
    path = tmp_path / "store" / pointer.key
    added = ("receipt_sha256", "seal_problem", "sealed_by", "part_ids", "records_without_frame")
    with duckdb.connect(path) as before:  # as version 2 wrote it
        for column in (*added, "outside_count", "outside_first", "outside_last"):
            before.execute(f"DROP VIEW IF EXISTS archives; ALTER TABLE stored.archives DROP COLUMN {column}")
        before.execute("ALTER TABLE stored.meta DROP COLUMN archive_url; UPDATE stored.meta SET schema_version = 2")
    monkeypatch.setattr(
        publishing, "fetch_catalog", lambda _store, _pointer, to, _cache: bool(to.write_bytes(path.read_bytes()))
    )
    with pytest.raises(IntegrityError, match="catalog rebuild"), open_catalog(world.store):
        pass
    world.add("cam03", 1, outside_hour=outside)
    made = world.publish(dates=["2026-03-01"])
    assert (made.changed, made.added) == (True, 1), "receipts that were in it are not read again"
    with open_catalog(world.store) as connection:
        rows = ask(connection, "SELECT camera_id, outside_count, outside_first FROM archives ORDER BY camera_id").rows()
        assert rows == [("cam01", None, None), ("cam02", None, None), ("cam03", 1, FIRST.end)]
        assert find_hours(connection, "crack", 0, FIRST.end, FIRST.end + timedelta(seconds=1))[
            "camera_id"
        ].to_list() == ["cam03"]
    with pytest.raises(BadInputError, match="the catalog is of file://"):
        query_exactly(world.store, "SELECT 1", archive_url="s3://other/root")


def test_archives_that_are_not_what_the_device_sealed_are_found(tmp_path: Path) -> None:
    world = World(tmp_path)
    good = Custody(statement_sha256="0" * 64, root="1" * 64, files=3, key_id="device1")
    world.add("cam01", 0, custody=good)
    world.add("cam02", 0, custody=good.model_copy(update={"differing": 1, "examples": ("a.jpg",)}))
    world.add("cam03", 0)
    world.publish()
    told = "of 3 files that the device sealed 1 are not what was sealed: a.jpg"
    with open_catalog(world.store) as connection:
        rows = ask(connection, "SELECT camera_id, sealed_by, seal_problem FROM archives ORDER BY camera_id").rows()
        assert rows == [("cam01", "device1", None), ("cam02", "device1", told), ("cam03", None, None)]
        nobody, since = EnrolledDevices(), FIRST.start
        found = seals(connection, nobody, since)
        assert found.wrong.rows() == [("cam02", FIRST.key, 1, "differs", told)]
        assert found.counts == {"not enrolled": 1, "differs": 1, "not sealed": 1}
        assert seals(connection, nobody, FIRST.start + timedelta(days=1)).counts == {}
        some = seals(connection, EnrolledDevices(problems={"another": "it was changed"}), since)
        assert some.wrong["camera_id"].to_list() == ["cam01", "cam02"], "who enrols some enrols all"
    assert not as_sealed(found).passed and as_sealed(replace(found, wrong=found.wrong.clear())).passed
