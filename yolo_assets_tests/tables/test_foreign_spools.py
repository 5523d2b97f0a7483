"""The tables of spools that other people's tools wrote: the same from the spool and from the archive."""

from __future__ import annotations

import io
import json
import tempfile
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.archiving import archive_hour
from yolo_assets.archive.reclaim import reclaim_hour
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.text import encoding_of
from yolo_assets.contracts.times import END_OF_HOURS, FIRST_MOMENT, Hour, parse_time
from yolo_assets.spool.hours import SpoolHour, scan
from yolo_assets.storage import ObjectStore, open_store
from yolo_assets.tables.build import build_hour
from yolo_assets.tables.rows import build_tables
from yolo_assets.tables.scan import read_detections, read_frames, read_quarantine
from yolo_assets_tests.support.foreign import SPOOLS, spool_case

NOON = Hour.from_key("20241015_14")
# Frames, detections and quarantined rows of every hour of the case; none for hours that are left alone.
RIGHT = {
    "seed_record": (2, 1, 0),
    "image_path_spellings": (9, 9, 0),
    "hour_99991231": (2, 0, 0),
    "hour_19691231": (0, 0, 0),
    "poison_captured_at": (3, 3, 1),
    "poison_timestamp": (3, 3, 1),
    "json_with_bom": (4, 4, 0),
    "hour_border": (3, 3, 0),
    "png_beside_jpg": (4, 4, 0),
    "exif_rotated": (1, 1, 0),
    "zero_byte_frame": (6, 6, 0),
    "long_class_name": (2, 2, 0),
}


def build_all(spool: Path, hours: list[SpoolHour], archive: Archive | None, store: ObjectStore) -> tuple[int, int, int]:
    made = [build_hour(hour.camera_id, hour.hour, spool, archive, store) for hour in hours]
    return sum(m.frames for m in made), sum(m.detections for m in made), sum(m.quarantined for m in made)


def tables(store: ObjectStore) -> list[pl.DataFrame]:
    return [read(store, FIRST_MOMENT, END_OF_HOURS) for read in (read_frames, read_detections, read_quarantine)]


@pytest.mark.parametrize("case", SPOOLS)
def test_a_foreign_spool_gives_its_rows_also_out_of_the_archive(case: str, tmp_path: Path) -> None:
    spool = spool_case(case, tmp_path)
    store, later = open_store((tmp_path / "store").as_uri()), open_store((tmp_path / "later").as_uri())
    hours = list(scan(spool).hours)
    assert build_all(spool, hours, None, store) == RIGHT[case]

    signer = Signer.load_or_create(tmp_path / "archiver")
    archive = Archive(open_store((tmp_path / "archive").as_uri()), TrustedKeys.of(signer))
    for hour in hours:
        archive_hour(hour, archive, signer)
        reclaim_hour(hour, archive, hot_hours=0, now=hour.hour.end + timedelta(days=1))
        assert hour.members() == []
    assert build_all(spool, hours, archive, later) == RIGHT[case]
    for here, cold in zip(tables(store), tables(later), strict=True):
        assert here.equals(cold)


def test_the_example_record_of_the_requirements_word_for_word(tmp_path: Path) -> None:
    spool = spool_case("seed_record", tmp_path)
    store = open_store((tmp_path / "store").as_uri())
    build_hour("camera_01", NOON, spool, None, store)
    frames, detections, _ = tables(store)
    assert frames["image_path"].to_list() == [f"camera_01/20241015_14/20241015_14000{n}.jpg" for n in (2, 3)]
    assert [moment.second for moment in frames["captured_at"]] == [2, 3]  # their names say so
    assert detections.select("class", "confidence", "x1", "y2").rows() == [("defect_crack", 0.93, 120.5, 180.7)]


@pytest.mark.parametrize("case", ["poison_captured_at", "poison_timestamp"])
def test_a_poisoned_time_is_refused_by_file_and_reason(case: str, tmp_path: Path) -> None:
    spool = spool_case(case, tmp_path)
    store = open_store((tmp_path / "store").as_uri())
    build_all(spool, list(scan(spool).hours), None, store)
    frames, _, quarantine = tables(store)
    (row,) = quarantine.iter_rows(named=True)
    assert row["source"].startswith("poison/20241015_14/") and row["source"].endswith(".json")
    assert "0001-01-01T00:00:00+08:00 lies outside the years 1 to 9999" in row["reason"]
    assert "Value error" not in row["reason"] and json.loads(row["raw"])
    assert set(frames["camera_id"]) == {"good1", "poison", "zgood2"}


def test_a_frame_beside_its_hour_is_found_by_its_own_time_once(tmp_path: Path) -> None:
    spool = spool_case("hour_border", tmp_path)
    store = open_store((tmp_path / "store").as_uri())
    made = [build_hour("late", hour.hour, spool, None, store) for hour in scan(spool).hours]
    assert [hour.misplaced for hour in made] == [1, 0]
    asked = (parse_time("2024-10-15T15:00:00Z"), parse_time("2024-10-15T15:10:00Z"))
    for read in (read_frames, read_detections):
        found = read(store, *asked)
        assert [path[-22:] for path in found["image_path"]] == [
            "20241015_150000_100.jpg"[-22:],
            "20241015_150001_100.jpg"[-22:],
        ]
        assert found["hour"].dt.hour().to_list() == [14, 15]  # a row stays with the folder that its file lies in
    before = read_frames(store, parse_time("2024-10-15T14:00:00Z"), parse_time("2024-10-15T15:00:00Z"))
    assert before.height == 1


@pytest.mark.parametrize("ending", ["jsonl", "NDJSON", "json"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_an_hour_in_one_file_is_read_in_any_form(ending: str, encoding: str, tmp_path: Path) -> None:
    folder = tmp_path / "spool" / "cam01" / NOON.key
    folder.mkdir(parents=True)
    records = []
    for second in range(3):
        name = f"20241015_14000{second}.jpg"
        (folder / name).write_bytes(b"\xff\xd8\xff\xd9")
        found = {"bbox": [1, 2, 3, 4], "class": "焊缝", "confidence": 1.0, "timestamp": "2024-10-15T16:00:00+02:00"}
        records.append({"image_path": name, "detections": [found], "model_version": "m", "device_id": "d"})
    if ending == "json":
        text = json.dumps(records, indent=1, ensure_ascii=False)
    else:
        text = "\r\n".join(json.dumps(record, ensure_ascii=False) for record in records)
    (folder / f"hour.{ending}").write_bytes(text.encode(encoding))
    store = open_store((tmp_path / "store").as_uri())
    made = build_hour("cam01", NOON, tmp_path / "spool", None, store)
    assert (made.frames, made.detections, made.quarantined) == (3, 3, 0)
    rows = pl.read_parquet(io.BytesIO(store.get(made.keys[0])))
    assert set(rows["class"]) == {"焊缝"} and rows["timestamp"].dt.hour().to_list() == [14] * 3


_json = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=True) | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_almost = st.fixed_dictionaries(
    {"image_path": st.text(max_size=30) | _json, "detections": _json, "model_version": _json, "device_id": _json}
)
_strange = st.binary(max_size=60) | (_json | _almost).map(lambda value: json.dumps(value).encode())
_endings = st.sampled_from([".json", ".ndjson", ".jsonl", ".JSON"])


@pytest.mark.slow
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(_endings, _strange), max_size=6))
def test_nothing_strange_stops_a_neighbour_or_is_passed_over(tmp_path: Path, strange: list[tuple[str, bytes]]) -> None:
    hour = SpoolHour.of(Path(tempfile.mkdtemp(dir=tmp_path)), "cam01", NOON)
    hour.path.mkdir(parents=True)
    for second in range(3):
        name = f"20241015_14000{second}.jpg"
        (hour.path / name).write_bytes(b"\xff\xd8\xff\xd9")
        good = {"image_path": name, "detections": [], "model_version": "m", "device_id": "d"}
        (hour.path / name).with_suffix(".json").write_text(json.dumps(good))
    for number, (ending, data) in enumerate(strange):
        (hour.path / f"strange{number}{ending}").write_bytes(data)
    made = build_tables("cam01", NOON, hour.records())
    assert set(made.frames["image_path"]) >= {f"cam01/{NOON}/20241015_14000{second}.jpg" for second in range(3)}
    told = {source.partition(":")[0].rpartition("/")[2] for source in made.quarantine["source"]}
    valid = made.frames.height - 3 + made.repeated  # by luck it may be a record
    for number, (ending, data) in enumerate(strange):
        if data[encoding_of(data[:4])[1] :].strip() and not valid:
            assert f"strange{number}{ending}" in told
    assert all(reason and "\n" not in reason for reason in made.quarantine["reason"])
