"""Read the tables of many camera-hours back over a time range, through the store interface."""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Literal

import polars as pl

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import check_id
from yolo_assets.contracts.times import Hour, with_near_hours
from yolo_assets.storage.base import ObjectNotFoundError, ObjectStore
from yolo_assets.tables.schema import DetectionsTable, FramesTable, QuarantineTable, TableModel, polars_schema

Table = Literal["detections", "frames", "quarantine"]

_MODELS: dict[Table, TableModel] = {"detections": DetectionsTable, "frames": FramesTable, "quarantine": QuarantineTable}
_KEY = re.compile(r"[a-z]+/date=(?P<date>\d{4}-\d\d-\d\d)/hour=(?P<hour>\d\d)/(?P<camera>[A-Za-z0-9_-]{1,64})\.parquet")
_MANY_DAYS = 366
"""Beyond, all keys of a table are listed at once instead of those of each day."""
_READERS = 8
"""Reads in flight: small files from an object store wait for the network, not for the processor."""


def read_detections(
    store: ObjectStore,
    start: datetime,
    end: datetime,
    camera_ids: Collection[str] | None = None,
    columns: Sequence[str] | None = None,
) -> pl.DataFrame:
    """Detections captured in ``[start, end)``.

    Args:
        store: store root.
        start: aware moment.
        end: aware moment, excluded.
        camera_ids: only these; all without.
        columns: only these of ``schema.DetectionsTable``; all without.

    Returns:
        By camera, capture time and position; no rows, but the columns, when there is nothing.
    """
    return _read(store, "detections", start, end, camera_ids, columns)


def read_frames(
    store: ObjectStore,
    start: datetime,
    end: datetime,
    camera_ids: Collection[str] | None = None,
    columns: Sequence[str] | None = None,
) -> pl.DataFrame:
    """Processed frames captured in ``[start, end)``; arguments and order as ``read_detections``."""
    return _read(store, "frames", start, end, camera_ids, columns)


def read_quarantine(
    store: ObjectStore, start: datetime, end: datetime, camera_ids: Collection[str] | None = None
) -> pl.DataFrame:
    """Quarantined rows of the hours that touch ``[start, end)``: a bad row may have no time of its own."""
    return _read(store, "quarantine", start, end, camera_ids, None)


def list_hours(
    store: ObjectStore, table: Table, start: datetime, end: datetime, camera_ids: Collection[str] | None = None
) -> Iterator[tuple[Hour, str, str]]:
    """``(hour, camera_id, key)`` of the tables of hours that touch ``[start, end)``: one listing per day."""
    cameras = None if camera_ids is None else {check_id(camera_id) for camera_id in camera_ids}
    first, day = Hour.nearest(start), Hour.nearest(start).start.date()
    days = (Hour.nearest(end).start.date() - day).days + 1
    dates = [f"date={(day + timedelta(days=number)).isoformat()}/" for number in range(days)]
    for folder in dates if days <= _MANY_DAYS else [""]:
        for info in store.list(f"{table}/{folder}"):
            match parse_table_key(info.key):
                case (hour, camera_id) if first <= hour and hour.start < end and camera_id in (cameras or {camera_id}):
                    yield hour, camera_id, info.key


def parse_table_key(key: str) -> tuple[Hour, str] | None:
    """Hour and camera of ``<table>/date=<YYYY-MM-DD>/hour=<HH>/<camera>.parquet``; None for any other object."""
    match = _KEY.fullmatch(key)
    try:
        return (Hour.from_key(f"{match['date'].replace('-', '')}_{match['hour']}"), match["camera"]) if match else None
    except BadInputError:
        return None


def _read(
    store: ObjectStore,
    table: Table,
    start: datetime,
    end: datetime,
    camera_ids: Collection[str] | None,
    columns: Sequence[str] | None,
) -> pl.DataFrame:
    schema = polars_schema(_MODELS[table])
    names = list(columns) if columns is not None else schema.names()
    if unknown := set(names) - set(schema.names()):
        raise BadInputError(f"no column {sorted(unknown)[0]!r} in {table}; there are: {', '.join(schema.names())}")
    # A frame may lie in the folder, and so in the table, of the hour beside its own.
    bounds = (start, end) if table == "quarantine" else with_near_hours(start, end)
    keys = [key for _, _, key in list_hours(store, table, *bounds, camera_ids)]
    with ThreadPoolExecutor(_READERS) as pool:
        tables = list(pool.map(lambda key: _fetch(store, key), keys))
    # Tables that were written before a column was there have nothing in it.
    rows = pl.concat([schema.to_frame(), *(part for part in tables if part is not None)], how="diagonal")
    if table == "quarantine":
        return rows.sort("hour", "camera_id", maintain_order=True)
    order = ["camera_id", "captured_at", "image_path", *(["index"] if table == "detections" else [])]
    return rows.filter((pl.col("captured_at") >= start) & (pl.col("captured_at") < end)).sort(order).select(names)


def _fetch(store: ObjectStore, key: str) -> pl.DataFrame | None:
    try:
        data = store.get(key)
    except ObjectNotFoundError:  # a stale quarantine table may be deleted between listing and reading
        return None
    return pl.read_parquet(io.BytesIO(data))
