"""The figures of one hour of every camera, made from its tables: what drift and health are judged by.

Two small tables for each hour: *pictures*, a row per camera, and *reports*, a row per camera and model version. They
depend on the tables of that hour alone, so that any hour can be built again, in any order. Which hour was the first of
each camera and version is kept beside them and only ever moves back. Does not belong here: verdicts.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import ConfigDict, Field

from yolo_assets.archive.archive import Archive
from yolo_assets.contracts.base import Record, Time
from yolo_assets.contracts.camera_states import HealthNote
from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.names import CAMERA_BEGINNINGS, hour_figures_key
from yolo_assets.contracts.spool import Seal
from yolo_assets.contracts.times import Hour
from yolo_assets.monitoring.scene import hour_shift
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.storage.base import CasConflictError, ObjectNotFoundError, ObjectStore
from yolo_assets.tables.objects import object_numbers
from yolo_assets.tables.scan import read_detections, read_frames

Kind = Literal["pictures", "reports"]
_MOMENT = pl.Datetime("ms", "UTC")
PICTURES = pl.Schema(
    {
        "camera_id": pl.String(),
        "hour": _MOMENT,
        "frames": pl.Int64(),
        "objects": pl.Int64(),
        "last_at": _MOMENT,
        "longest_gap_s": pl.Float64(),
        "silent_minutes": pl.Float64(),
        "blur": pl.Float64(),
        "brightness": pl.Float64(),
        "longest_frozen": pl.Int64(),
        "frozen_at_end": pl.Int64(),
        "moved": pl.Float64(),
        "captured": pl.Int64(),
        "dropped": pl.Int64(),
    }
)
"""A row per camera. ``blur`` and ``brightness`` are medians, ``moved`` a share of the picture's longer side."""

_CLASS = pl.Struct({"class": pl.String(), "objects": pl.Int64(), "confidence": pl.Float64(), "squares": pl.Float64()})
REPORTS = pl.Schema(
    {
        "camera_id": pl.String(),
        "hour": _MOMENT,
        "model_version": pl.String(),
        "frames": pl.Int64(),
        "exposure": pl.Float64(),
        "classes": pl.List(_CLASS),
    }
)
"""A row per camera and model version. ``exposure`` is the share of the hour's minutes that have a frame."""

_SCHEMAS: dict[Kind, pl.Schema] = {"pictures": PICTURES, "reports": REPORTS}
_FEWEST = 20
"""Frames with figures from which a median is taken."""
_BY_DESIGN = frozenset({"stale", "no_model"})
"""Reasons in a seal that are no loss: the newest frame was preferred, or there was nothing to run."""
_READERS = 8
_TRIES = 16


@dataclass(frozen=True)
class HourFigures:
    """Both tables of one hour: ``PICTURES`` and ``REPORTS``."""

    pictures: pl.DataFrame
    reports: pl.DataFrame


def hour_figures(
    hour: Hour,
    frames: pl.DataFrame,
    detections: pl.DataFrame,
    *,
    seals: Iterable[Seal] = (),
    moved: Mapping[str, float] | None = None,
) -> HourFigures:
    """Figures of every camera with a frame in the hour.

    Args:
        hour: the hour.
        frames: ``tables.schema.FramesTable``, of this hour.
        detections: ``tables.schema.DetectionsTable``, of this hour.
        seals: of the hour; where there is none, gaps in the numbers of the frames tell what was lost.
        moved: by camera, how far its scene lies from where it was.
    """
    sealed = {seal.camera_id: seal for seal in seals}
    pictures, reports = [], []
    found = {str(key[0]): part for key, part in detections.partition_by("camera_id", as_dict=True).items()}
    for key, part in frames.partition_by("camera_id", as_dict=True).items():
        camera = str(key[0])
        objects = _objects(hour, part, found.get(camera, detections.clear()))
        pictures.append(
            {
                **_picture(hour, part, sealed.get(camera)),
                "objects": objects.height,
                "moved": (moved or {}).get(camera),
            }
        )
        for version, of_version in part.group_by("model_version"):
            minutes = of_version["captured_at"].dt.truncate("1m").n_unique()
            classes = (
                objects.filter(pl.col("model_version") == str(version[0]))
                .group_by("class")
                .agg(
                    pl.len().cast(pl.Int64).alias("objects"),
                    pl.col("confidence").sum(),
                    (pl.col("confidence") ** 2).sum().alias("squares"),
                )
                .sort("class")
            )
            reports.append(
                {
                    "camera_id": camera,
                    "hour": hour.start,
                    "model_version": str(version[0]),
                    "frames": of_version.height,
                    "exposure": min(minutes / 60, 1.0),
                    "classes": classes.to_dicts(),
                }
            )
    return HourFigures(
        pl.DataFrame(pictures, schema=PICTURES, orient="row").sort("camera_id"),
        pl.DataFrame(reports, schema=REPORTS, orient="row").sort("camera_id", "model_version"),
    )


def _objects(hour: Hour, frames: pl.DataFrame, detections: pl.DataFrame) -> pl.DataFrame:
    """One row per object that was first seen in the hour: its usual class, its mean confidence, the model version.

    Tables written before objects had ids are linked here.
    """
    if detections.is_empty():
        return pl.DataFrame(schema={"class": pl.String, "confidence": pl.Float64, "model_version": pl.String})
    if "object_id" in detections.columns and not detections["object_id"].null_count():
        begun = pl.col("object_id").str.split("/").list.get(1, null_on_oob=True) == hour.key
        numbered = detections.filter(begun.fill_null(True)).rename({"object_id": "object"})
    else:
        in_time = frames.unique("image_path").sort("captured_at", "image_path")
        numbered = detections.with_columns(pl.Series("object", object_numbers(in_time, detections)))
    return numbered.group_by("object").agg(
        pl.col("class").mode().sort().first(), pl.col("confidence").mean(), pl.col("model_version").first()
    )


def _picture(hour: Hour, frames: pl.DataFrame, seal: Seal | None) -> dict[str, object]:
    frames = frames.sort("captured_at", "image_path")
    last = frames["captured_at"].max()
    assert isinstance(last, datetime)
    gaps = frames["captured_at"].diff().dt.total_milliseconds().max()
    longest, at_end = _frozen(frames)
    captured, dropped = _lost(frames, seal)
    return {
        "camera_id": frames["camera_id"][0],
        "hour": hour.start,
        "frames": frames.height,
        "last_at": last,
        "longest_gap_s": gaps / 1000 if isinstance(gaps, int | float) else None,
        "silent_minutes": max((hour.end - last).total_seconds() / 60, 0.0),
        "blur": _median(frames, "blur"),
        "brightness": _median(frames, "brightness"),
        "longest_frozen": longest,
        "frozen_at_end": at_end,
        "captured": captured,
        "dropped": dropped,
    }


def _median(frames: pl.DataFrame, column: str) -> float | None:
    values = frames[column].drop_nulls()
    if values.len() < _FEWEST:
        return None
    median = values.median()
    return median if isinstance(median, float) else None


def _frozen(frames: pl.DataFrame) -> tuple[int, int]:
    """Longest run of frames whose figures are known and exactly equal, and the length of the last run."""
    known = frames.filter(pl.col("blur").is_not_null() & pl.col("brightness").is_not_null())
    if known.is_empty():
        return 0, 0
    runs = known.select(pl.struct("blur", "brightness").rle().struct.field("len"))["len"]
    longest = runs.max()
    return (longest if isinstance(longest, int) else 0), int(runs[-1])


def _lost(frames: pl.DataFrame, seal: Seal | None) -> tuple[int | None, int | None]:
    """Frames that were captured, and those that were lost on the way."""
    if seal is not None and seal.captured:
        meant = sum(number for reason, number in seal.dropped.items() if reason in _BY_DESIGN)
        return seal.captured - meant, sum(seal.dropped.values()) - meant
    numbers = frames["sequence"].drop_nulls().unique().sort()
    if numbers.len() < _FEWEST:
        return None, None
    steps = numbers.diff().drop_nulls()
    steps = steps.filter(steps <= max(1000, frames.height))  # beyond, the agent began to count anew
    return int(steps.sum()) + 1, int((steps - 1).sum())


class CameraBeginnings(Record):
    """The first and the last hour of each camera, and the first of each model version on it."""

    model_config = ConfigDict(protected_namespaces=())

    schema_version: Literal[1] = 1
    first: dict[str, Time] = Field(default_factory=dict, description="by camera")
    last: dict[str, Time] = Field(default_factory=dict, description="by camera")
    versions: dict[str, dict[str, Time]] = Field(default_factory=dict, description="first hour by camera and version")

    def with_hour(self, figures: HourFigures) -> CameraBeginnings:
        """These and an hour's; the order of hours does not matter."""
        first, last = dict(self.first), dict(self.last)
        versions = {camera: dict(known) for camera, known in self.versions.items()}
        for camera, hour in figures.pictures.select("camera_id", "hour").iter_rows():
            first[camera] = min(hour, first.get(camera, hour))
            last[camera] = max(hour, last.get(camera, hour))
        for camera, version, hour in figures.reports.select("camera_id", "model_version", "hour").iter_rows():
            known = versions.setdefault(camera, {})
            known[version] = min(hour, known.get(version, hour))
        return CameraBeginnings(first=first, last=last, versions=versions)


def keep_figures(store: ObjectStore, hour: Hour, figures: HourFigures) -> CameraBeginnings:
    """Write an hour's figures, and return the beginnings with it.

    Raises:
        CasConflictError: others changed the beginnings, time after time.
    """
    tables: dict[Kind, pl.DataFrame] = {"pictures": figures.pictures, "reports": figures.reports}
    for kind, table in tables.items():
        buffer = io.BytesIO()
        table.write_parquet(buffer, compression="zstd")
        store.put(hour_figures_key(kind, hour), buffer.getvalue())
    for _ in range(_TRIES):
        known, etag = _beginnings(store)
        changed = known.with_hour(figures)
        if changed == known:
            return known
        try:
            store.compare_and_swap(CAMERA_BEGINNINGS, changed.to_json(), etag)
        except CasConflictError:
            continue
        return changed
    raise CasConflictError(f"{CAMERA_BEGINNINGS} was changed by others {_TRIES} times; run it again")


def _beginnings(store: ObjectStore) -> tuple[CameraBeginnings, str | None]:
    try:
        data, info = store.get_with_info(CAMERA_BEGINNINGS)
    except ObjectNotFoundError:
        return CameraBeginnings(), None
    return CameraBeginnings.from_json(data, CAMERA_BEGINNINGS), info.etag


def measure_hour(
    store: ObjectStore, spool: Path, archive: Archive | None, hour: Hour, notes: Iterable[HealthNote]
) -> CameraBeginnings | None:
    """Make and keep the figures of an hour from its tables, its seals and some of its pictures.

    Args:
        store: store root, with the tables.
        spool: where seals and pictures are, while they are there.
        archive: where pictures are after that.
        hour: the hour.
        notes: what people said; a camera's scene is compared with the one since it was last said to be well.

    Returns:
        The beginnings with this hour; None when no frame of it is known.
    """
    frames = read_frames(store, hour.start, hour.end)
    if frames.is_empty():
        return None
    cameras = [str(camera) for camera in frames["camera_id"].unique().sort()]
    known, _ = _beginnings(store)
    again = {note.camera_id: note.at for note in notes if note.action == "relearn" and note.at < hour.end}

    def shift(camera: str) -> float | None:
        first = min(known.first.get(camera, hour.start), hour.start)
        since = Hour.of(max(first, again.get(camera, first)))
        return hour_shift(store, spool, archive, camera, hour, since)

    with ThreadPoolExecutor(_READERS) as pool:
        shifts = dict(zip(cameras, pool.map(shift, cameras), strict=True))
    figures = hour_figures(
        hour,
        frames,
        read_detections(store, hour.start, hour.end),
        seals=_seals(spool, cameras, hour),
        moved={camera: moved for camera, moved in shifts.items() if moved is not None},
    )
    return keep_figures(store, hour, figures)


def _seals(spool: Path, cameras: Iterable[str], hour: Hour) -> list[Seal]:
    found: list[Seal] = []
    for camera in cameras:
        try:
            seal = SpoolHour.of(spool, camera, hour).seal()
        except (UserError, OSError):
            continue  # whoever archives the hour tells; the numbers of the frames tell what was lost
        if seal is not None:
            found.append(seal)
    return found


class FiguresReader:
    """Reads hours back; of a run with many hours each is fetched once."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._kept: dict[tuple[Kind, Hour], pl.DataFrame] = {}

    def read(self, kind: Kind, hours: Collection[Hour], fresh: Hour) -> pl.DataFrame:
        """The figures of some hours, by hour.

        Args:
            kind: which table.
            hours: any.
            fresh: the hour that was just written: it is fetched again.
        """
        self._kept.pop((kind, fresh), None)
        missing = [hour for hour in hours if (kind, hour) not in self._kept]
        with ThreadPoolExecutor(_READERS) as pool:
            for hour, table in zip(missing, pool.map(lambda hour: self._get(kind, hour), missing), strict=True):
                self._kept[kind, hour] = table
        return pl.concat([_SCHEMAS[kind].to_frame(), *(self._kept[kind, hour] for hour in sorted(hours))])

    def _get(self, kind: Kind, hour: Hour) -> pl.DataFrame:
        try:
            return pl.read_parquet(io.BytesIO(self._store.get(hour_figures_key(kind, hour))))
        except ObjectNotFoundError:
            return _SCHEMAS[kind].to_frame()
