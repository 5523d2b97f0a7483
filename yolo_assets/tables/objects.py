"""The objects in the tables: which detections of a camera are one object, and the ids they have over an hour's border.

Belongs here: ``object_id`` of the detections of an hour, and looking it up for single frames. Does not belong here: how
detections are linked (``vision.objects``), the other columns (``build``).

An id is ``<camera_id>/<YYYYMMDD_HH>/<n>``, of the hour in which the object was first seen. Each hour is linked by
itself, and over the border to the hour before by what was seen on both sides of it: the ids of an hour follow from its
own rows and those of the hour before alone, in whatever order hours are built. What was in view all through the hour
before, from its first minute to its end, has a new id in each hour: it is a part of the scene.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
from numpy.typing import NDArray

from yolo_assets.contracts.base import Record
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import detections_key, frames_key
from yolo_assets.contracts.times import Hour
from yolo_assets.storage.base import ObjectNotFoundError, ObjectStore
from yolo_assets.vision.detections import Detections
from yolo_assets.vision.objects import link_objects

SHARED_SECONDS = 120
"""On each side of a border: what is linked over it. What is seen so early in an hour, and also after its end, was in
view all through it."""

_READERS = 8


class TabledFrame(Record):
    """What the tables know of a frame besides the record.

    Attributes:
        batch_id: its production batch.
        boxes: x1, y1, x2, y2 of each detection, pixels.
        object_ids: of each detection; empty where the table was written before there were ids.
    """

    batch_id: str | None
    boxes: tuple[tuple[float, float, float, float], ...]
    object_ids: tuple[str, ...]


def with_object_ids(
    camera_id: str,
    hour: Hour,
    frames: pl.DataFrame,
    detections: pl.DataFrame,
    before: tuple[pl.DataFrame, pl.DataFrame] | None,
) -> pl.DataFrame:
    """The detections of an hour with their ``object_id``.

    Args:
        camera_id: the camera.
        hour: the hour.
        frames: its ``schema.FramesTable``.
        detections: its ``schema.DetectionsTable``; ids in it are replaced.
        before: frames and detections of the hour before; None where nothing is known of it.
    """
    numbers = object_numbers(frames, detections)
    ids = np.array([f"{camera_id}/{hour}/{number}" for number in range(int(numbers.max(initial=-1)) + 1)], object)
    for number, earlier in _continued(hour, frames, detections, numbers, before).items():
        ids[number] = f"{camera_id}/{hour.next(-1)}/{earlier}"
    return detections.with_columns(pl.Series("object_id", ids[numbers].tolist(), pl.String))


def reaches_back(hour: Hour, detections: pl.DataFrame) -> bool:
    """Whether an object of the hour may have been there before: only then the hour before is needed."""
    early = pl.col("captured_at") < pl.lit(hour.start).dt.offset_by(f"{SHARED_SECONDS}s")
    return not detections.filter(early).is_empty()


def tabled_frames(store: ObjectStore, image_paths: Collection[str]) -> dict[str, TabledFrame]:
    """What the tables know of single frames, by image path; those of hours without tables are not among them.

    Args:
        store: store root.
        image_paths: ``<camera>/<YYYYMMDD_HH>/<frame>``; each hour's tables are read once.
    """
    hours: dict[tuple[str, str], set[str]] = {}
    for path in image_paths:
        camera, hour, _ = path.split("/")
        hours.setdefault((camera, hour), set()).add(path)
    found: dict[str, TabledFrame] = {}
    with ThreadPoolExecutor(_READERS) as pool:
        for part in pool.map(lambda hour: _tabled(store, hour[0], hour[1], hours[hour]), sorted(hours)):
            found |= part
    return found


def _tabled(store: ObjectStore, camera: str, key: str, paths: Collection[str]) -> Mapping[str, TabledFrame]:
    try:
        tables = read_tables(store, camera, Hour.from_key(key))
    except BadInputError:  # the folder of no hour
        return {}
    if tables is None:
        return {}
    frames, detections = (table.filter(pl.col("image_path").is_in(list(paths))) for table in tables)
    if "object_id" not in detections.columns:
        detections = detections.with_columns(pl.lit(None, pl.String).alias("object_id"))
    rows: dict[str, list[tuple[tuple[float, float, float, float], str | None]]] = {}
    for path, x1, y1, x2, y2, name in (
        detections.sort("image_path", "index").select("image_path", "x1", "y1", "x2", "y2", "object_id").iter_rows()
    ):
        rows.setdefault(path, []).append(((x1, y1, x2, y2), name))
    return {
        path: TabledFrame(
            batch_id=batch,
            boxes=tuple(box for box, _ in rows.get(path, ())),
            object_ids=tuple(name for _, name in rows.get(path, ()) if name is not None),
        )
        for path, batch in frames.select("image_path", "batch_id").iter_rows()
    }


def read_tables(store: ObjectStore, camera_id: str, hour: Hour) -> tuple[pl.DataFrame, pl.DataFrame] | None:
    """Frames and detections of a camera-hour as they lie in the store; None when they are not all there."""
    try:
        frames, detections = (store.get(key(hour, camera_id)) for key in (frames_key, detections_key))
    except ObjectNotFoundError:
        return None
    return pl.read_parquet(frames), pl.read_parquet(detections)


def object_numbers(frames: pl.DataFrame, detections: pl.DataFrame) -> NDArray[np.int64]:
    """The number of the object of each row of the detections ``[n]``; -1 for a row whose frame is not among these.

    Args:
        frames: of one camera, in the order of time.
        detections: of the same camera, in any order.
    """
    numbers = np.full(detections.height, -1, np.int64)
    times = frames.select("image_path", "captured_at").with_row_index("frame")
    rows = detections.select("image_path", "x1", "y1", "x2", "y2", "class", "confidence").with_row_index("row")
    rows = rows.join(times.select("image_path", "frame"), on="image_path").sort("frame", "row")
    if rows.is_empty():
        return numbers
    classes = rows["class"].rank("dense").to_numpy().astype(np.int32)
    boxes = rows.select("x1", "y1", "x2", "y2").to_numpy()
    borders = np.searchsorted(rows["frame"].to_numpy(), np.arange(frames.height + 1))
    every = Detections.of(boxes, classes, rows["confidence"].to_numpy())
    found = [every[low:high] for low, high in zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True)]
    linked = link_objects(times["captured_at"].dt.epoch("ms").to_numpy() / 1000, found)
    numbers[rows["row"].to_numpy()] = np.concatenate(linked)
    return numbers


def _continued(
    hour: Hour,
    frames: pl.DataFrame,
    detections: pl.DataFrame,
    numbers: NDArray[np.int64],
    before: tuple[pl.DataFrame, pl.DataFrame] | None,
) -> dict[int, int]:
    """The objects of this hour that were first seen in the hour before: their numbers here and there."""
    if before is None or before[1].is_empty() or detections.is_empty():
        return {}
    near = pl.col("captured_at").is_between(
        pl.lit(hour.start).dt.offset_by(f"-{SHARED_SECONDS}s"), pl.lit(hour.start).dt.offset_by(f"{SHARED_SECONDS}s")
    )
    columns = ["image_path", "captured_at"]
    row = ["index", "class", "confidence", "x1", "y1", "x2", "y2"]
    there = before[1].select(*columns, *row).with_columns(earlier=pl.Series(object_numbers(*before)), now=None)
    here = detections.select(*columns, *row).with_columns(earlier=None, now=pl.Series(numbers))
    both = pl.concat(
        [there.with_columns(pl.col("now").cast(pl.Int64)), here.with_columns(pl.col("earlier").cast(pl.Int64))]
    )
    shared = both.filter(near).sort("captured_at", "image_path", "index")
    seen = pl.concat([before[0].select(columns), frames.select(columns)]).filter(near).sort(columns)
    shared = shared.with_columns(linked=pl.Series(object_numbers(seen, shared)))
    pairs = (
        shared.group_by("linked", maintain_order=True)
        .agg(pl.col("earlier").drop_nulls().last(), pl.col("now").drop_nulls().first())
        .drop_nulls()
    )
    start = pl.lit(hour.next(-1).start).dt.offset_by(f"{SHARED_SECONDS}s")
    always = set(there.filter(pl.col("captured_at") < start)["earlier"])
    return {now: earlier for _, earlier, now in reversed(pairs.rows()) if earlier not in always}
