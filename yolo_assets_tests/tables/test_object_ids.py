"""Ids of objects in the tables: over an hour's border, in any order of building, and in tables that lack them."""

from __future__ import annotations

from datetime import timedelta
from itertools import permutations
from pathlib import Path

import orjson
import polars as pl

from yolo_assets.catalog.parquet_views import ParquetTables, create_views
from yolo_assets.contracts.names import detections_key, frame_name, spool_hour
from yolo_assets.contracts.times import Hour
from yolo_assets.storage import ObjectStore, open_store
from yolo_assets.tables.build import build_hour
from yolo_assets.tables.objects import tabled_frames
from yolo_assets.tables.scan import read_detections
from yolo_assets_tests.tables.detection_records import CAMERA, NOON, detection_json, frame_json

HOURS = (NOON.next(-1), NOON, NOON.next(1))
FIRST, LAST = -3 * 60, 3600 + 3 * 60


def write_line(spool: Path) -> None:
    """A frame a second over two borders of an hour; a part each 20 s passes at 40 pixels a second, a lamp stands."""
    records: dict[Hour, list[bytes]] = {}
    for second in [*range(FIRST, -FIRST), *range(3600 + FIRST, LAST)]:
        moment = NOON.start + timedelta(seconds=second)
        hour = Hour.of(moment)
        boxes = [[x, 200, x + 60, 260] for k in range(3) if 20 <= (x := ((second % 20) + 20 * k) * 40 - 400) <= 520]
        detections = [detection_json(second, bbox=box) for box in [[5, 5, 25, 25], *boxes]]
        path = f"{CAMERA}/{hour.key}/{frame_name(moment)}"
        records.setdefault(hour, []).append(
            orjson.dumps(frame_json(second, image_path=path, detections=detections, sequence=None))
        )
    for hour, lines in records.items():
        folder = spool_hour(spool, CAMERA, hour)
        folder.mkdir(parents=True)
        (folder / "records.ndjson").write_bytes(b"\n".join(lines))


def all_rows(store: ObjectStore) -> pl.DataFrame:
    return read_detections(store, HOURS[0].start, HOURS[-1].end)


def test_an_object_keeps_its_id_over_a_border_in_any_order_of_building(tmp_path):
    write_line(tmp_path / "spool")
    built = []
    for number, order in enumerate([*permutations(HOURS)][::2]):
        store = open_store((tmp_path / f"store{number}").as_uri())
        for hour in order:
            build_hour(CAMERA, hour, tmp_path / "spool", None, store)
        built.append(all_rows(store))
    assert all(rows.equals(built[0]) for rows in built)
    parts = built[0].filter(pl.col("y1") == 200).with_columns(second=pl.col("captured_at").dt.epoch("s"))
    # The part of a row follows from its place and moment: at x = 0 it is always at a whole 20 s.
    parts = parts.with_columns(part=(pl.col("second") - ((pl.col("x1") + 400) / 40).cast(pl.Int64)))
    assert (
        parts.group_by("part").agg(pl.col("object_id").n_unique())["object_id"].to_list()
        == [1] * parts["part"].n_unique()
    )
    assert parts["object_id"].n_unique() == parts["part"].n_unique()
    border = parts.filter(pl.col("captured_at") == NOON.start)["object_id"].to_list()
    assert border and all(name.startswith(f"{CAMERA}/{HOURS[0].key}/") for name in border)


def test_what_stands_all_hour_long_begins_anew_each_hour(tmp_path):
    spool, store = tmp_path / "spool", open_store((tmp_path / "store").as_uri())
    for hour in HOURS:
        folder = spool_hour(spool, CAMERA, hour)
        folder.mkdir(parents=True)
        moments = [hour.start + timedelta(seconds=second) for second in range(0, 3600, 10)]
        lines = [
            orjson.dumps(
                frame_json(
                    (moment - NOON.start).total_seconds(),
                    image_path=f"{CAMERA}/{hour.key}/{frame_name(moment)}",
                    detections=[detection_json((moment - NOON.start).total_seconds())],
                    sequence=None,
                )
            )
            for moment in moments
        ]
        (folder / "records.ndjson").write_bytes(b"\n".join(lines))
        build_hour(CAMERA, hour, spool, None, store)
    names = all_rows(store).group_by("hour", maintain_order=True).agg(pl.col("object_id").unique())["object_id"]
    assert names.to_list() == [[f"{CAMERA}/{hour.key}/0"] for hour in HOURS]


def test_tables_without_ids_are_read_beside_tables_with_them(tmp_path):
    import duckdb

    write_line(tmp_path / "spool")
    store = open_store((tmp_path / "store").as_uri())
    for hour in HOURS:
        build_hour(CAMERA, hour, tmp_path / "spool", None, store)
    key = detections_key(NOON, CAMERA)
    old = tmp_path / "store" / key
    pl.read_parquet(old).drop("object_id").write_parquet(old)
    rows = all_rows(store)
    lacking = rows.filter(pl.col("object_id").is_null())
    assert set(lacking["hour"].dt.hour()) == {12} and len(lacking) < len(rows)
    with duckdb.connect() as connection:
        create_views(connection, ParquetTables(store, tmp_path / "store", ("detections",)))
        query = "SELECT count(*), count(object_id) FROM detections"
        assert connection.execute(query).fetchall() == [(len(rows), len(rows) - len(lacking))]
    paths = [
        lacking["image_path"][0],
        rows.filter(pl.col("object_id").is_not_null())["image_path"][0],
        "x/20260102_00/y.jpg",
    ]
    found = tabled_frames(store, paths)
    assert set(found) == set(paths[:2])
    assert found[paths[0]].object_ids == () and found[paths[1]].object_ids
    assert found[paths[1]].batch_id == "B7"
