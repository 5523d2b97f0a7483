"""A few frames of a camera-hour or a batch with their boxes: choosing, finding and drawing them. Reads only.

A picture is in the spool or in the archive; one in a cold tier stays there, because looking must cost nothing.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
from PIL import Image

from yolo_assets.archive.archive import Archive
from yolo_assets.contracts.detection import Box, Detection, DetectionRecord
from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.names import annotation_key, check_id, detections_key, frames_key
from yolo_assets.contracts.times import FIRST_MOMENT, Hour
from yolo_assets.evidence.drawing import Picture, PlacedBoxes, draw
from yolo_assets.evidence.lettering import Fonts
from yolo_assets.learning.records import BatchItem, BatchManifest
from yolo_assets.spool.files import native_name
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.storage.base import ObjectNotFoundError, ObjectStore
from yolo_assets.vision.picture_head import read_head
from yolo_assets.vision.pictures import decode_image

A_ROW = 3
"""Frames on a sheet."""
_TILE = (208, 156)
"""Width and height of a frame on a sheet: three of them are as wide as the column in which Dagster's UI shows them."""
_WIDEST = 1280
"""Pixels of one frame that is looked at alone."""
_CAPTION = 22
_QUALITY = 78
_PAPER, _INK = (28, 32, 38), (232, 236, 240)


@dataclass(frozen=True)
class SampleFrame:
    """One frame that was recorded with its picture.

    Attributes:
        camera_id: of its folder.
        hour: of its folder.
        name: file name, as the tables write it.
        captured_at: when.
        record: what was found in it.
        classes: of the camera's whole hour, in order: a class has one colour there.
    """

    camera_id: str
    hour: Hour
    name: str
    captured_at: datetime
    record: DetectionRecord
    classes: tuple[str, ...]


def sample_frames(store: ObjectStore, hour: Hour, camera_id: str, most: int = A_ROW) -> list[SampleFrame]:
    """Frames spread over an hour of a camera, those with detections first.

    Args:
        store: the store root.
        hour: the hour.
        camera_id: the camera.
        most: how many.

    Returns:
        By time; none where the camera has no table of the hour, or no picture was kept.
    """
    frames, detections = _table(store, frames_key(hour, camera_id)), _table(store, detections_key(hour, camera_id))
    if frames is None:
        return []
    kept = frames.filter(pl.col("image_saved").fill_null(True)).sort("captured_at")
    found = kept.filter(pl.col("n_detections") > 0)
    chosen = _spread(found if found.height >= most else kept, most)
    return [_sample(row, hour, detections) for row in chosen.iter_rows(named=True)]


def the_frame(store: ObjectStore, hour: Hour, camera_id: str, name: str) -> SampleFrame:
    """One frame by its name.

    Raises:
        ObjectNotFoundError: the camera's table of the hour has no such frame.
    """
    frames, detections = _table(store, frames_key(hour, camera_id)), _table(store, detections_key(hour, camera_id))
    rows = None if frames is None else frames.filter(pl.col("image_path") == f"{camera_id}/{hour.key}/{name}")
    if rows is None or rows.is_empty():
        raise ObjectNotFoundError(f"the table of {camera_id} in {hour} has no frame {name}")
    return _sample(rows.row(0, named=True), hour, detections)


def _table(store: ObjectStore, key: str) -> pl.DataFrame | None:
    try:
        return pl.read_parquet(io.BytesIO(store.get(key)))
    except ObjectNotFoundError:
        return None


def _spread(rows: pl.DataFrame, most: int) -> pl.DataFrame:
    if rows.height <= most:
        return rows
    return rows[[round(number * (rows.height - 1) / (most - 1)) for number in range(most)] if most > 1 else [0]]


def _sample(row: dict[str, Any], hour: Hour, detections: pl.DataFrame | None) -> SampleFrame:
    found = [] if detections is None else detections.filter(pl.col("image_path") == row["image_path"]).to_dicts()
    record = DetectionRecord(
        image_path=row["image_path"],
        model_version=row["model_version"],
        device_id=row["device_id"],
        width=row["width"],
        height=row["height"],
        detections=tuple(
            Detection.model_validate(
                {
                    "bbox": (item["x1"], item["y1"], item["x2"], item["y2"]),
                    "class": item["class"],
                    "confidence": item["confidence"],
                    "timestamp": item["timestamp"],
                }
            )
            for item in found
        ),
    )
    classes = () if detections is None else tuple(detections["class"].unique().sort())
    name = row["image_path"].rpartition("/")[2]
    return SampleFrame(row["camera_id"], hour, name, row["captured_at"], record, classes)


def picture_of(frame: SampleFrame, spool: Path, archive: Archive) -> bytes:
    """The frame's file: from the spool while it is there, else from the archive, its hash checked.

    Raises:
        ObjectNotFoundError: it is in neither.
        UserError: the archive cannot give it now, for example because it lies in a cold tier.
    """
    name = native_name(frame.name)
    try:
        return (SpoolHour.of(spool, frame.camera_id, frame.hour).path / name).read_bytes()
    except OSError:
        pass  # reclaimed, or the spool is on another machine
    for part in archive.parts(frame.camera_id, frame.hour):
        row = part.find_frame(frame.name)
        if row is not None:
            return part.read(row)
    raise ObjectNotFoundError(f"the picture of {frame.name} is neither in the spool nor in the archive")


def drawn(frame: SampleFrame, data: bytes, most: tuple[int, int] = (_WIDEST, _WIDEST)) -> Picture:
    """The upright picture with boxes and labels, made smaller first where it is larger, so that labels stay readable.

    Args:
        frame: what was found in it.
        data: its file.
        most: width and height that it may have.

    Raises:
        BadInputError: not a picture, or too large.
    """
    picture = decode_image(data, frame.name)
    placed = PlacedBoxes.of([frame.record], read_head(data, frame.name))
    height, width = picture.shape[:2]
    scale = min(1.0, most[0] / width, most[1] / height)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    boxes = [(item, (x1 * scale, y1 * scale, x2 * scale, y2 * scale)) for item, (x1, y1, x2, y2) in placed.boxes]
    return draw(picture, boxes, frame.classes, _fonts())


def sheet(frames: Sequence[SampleFrame], spool: Path, archive: Archive, *, named: bool) -> bytes:
    """A row of small pictures as WebP; one that cannot be shown says why in its place.

    Args:
        frames: at least one.
        spool: where frames lie until they are reclaimed.
        archive: where they lie after it.
        named: each is captioned with its camera, not with its time alone.
    """
    tiles: list[Picture] = []
    for frame in frames:
        caption = f"{frame.captured_at:%H:%M:%S}"
        try:
            picture = drawn(frame, picture_of(frame, spool, archive), _TILE)
        except UserError as error:
            picture, caption = _blank(), f"{caption}: {error}"
        tiles.append(_tile(picture, f"{frame.camera_id} {caption}" if named else caption))
    gap = np.full((_TILE[1] + _CAPTION, 4, 3), 255, np.uint8)
    parts = [part for tile in tiles for part in (gap, tile)][1:]
    return webp(np.asarray(np.hstack(parts), np.uint8))


def batch_sheet(store: ObjectStore, batch: str, most: int = 24) -> bytes:
    """A contact sheet of an annotation batch as WebP: some frames of each reason, with the boxes that people are shown.

    Args:
        store: the store root.
        batch: its id.
        most: frames on the sheet, ``A_ROW`` in a row.

    Raises:
        ObjectNotFoundError: no such batch.
        BadInputError: it is no id, or its manifest cannot be read.
    """
    key = annotation_key(check_id(batch, "batch"), "manifest.json")
    items = _in_turn(BatchManifest.from_json(store.get(key), key).items)[:most]
    classes = tuple(sorted({box.class_name for item in items for box in item.predictions}))
    tiles: list[Picture] = []
    for item in items:
        caption = f"{item.reason}: {item.camera_id}"
        if item.captured_at is not None:
            caption += f" {item.captured_at:%m-%d %H:%M:%S}"
        try:
            picture = decode_image(store.get(annotation_key(batch, f"images/{item.file}")), item.file)
        except UserError:
            picture, caption = _blank(), f"{caption}: its picture was removed"
        scale = min(1.0, _TILE[0] / picture.shape[1], _TILE[1] / picture.shape[0])
        size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
        small = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
        boxes: list[tuple[Detection, Box]] = []
        for box in item.predictions:
            x1, y1, x2, y2 = (side * scale for side in box.bbox)
            found = {**box.model_dump(by_alias=True), "timestamp": item.captured_at or FIRST_MOMENT}
            boxes.append((Detection.model_validate(found), (x1, y1, x2, y2)))
        tiles.append(_tile(draw(small, boxes, classes, _fonts()), caption))
    empty = np.full_like(tiles[0], 255)
    tiles += [empty] * (-len(tiles) % A_ROW)
    rows = [np.hstack(tiles[first : first + A_ROW]) for first in range(0, len(tiles), A_ROW)]
    return webp(np.asarray(np.vstack(rows), np.uint8))


def _in_turn(items: Sequence[BatchItem]) -> list[BatchItem]:
    """Those of each reason in turn, so that a sheet that does not hold all shows all reasons."""
    queues: dict[str, list[BatchItem]] = {}
    for item in items:
        queues.setdefault(item.reason, []).append(item)
    return [item for turn in zip_longest(*queues.values()) for item in turn if item is not None]


def webp(picture: Picture) -> bytes:
    """A picture as WebP."""
    done, data = cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])
    if not done:
        raise ValueError("the picture cannot be encoded")
    return data.tobytes()


def _blank() -> Picture:
    return np.full((_TILE[1], _TILE[0], 3), _PAPER, np.uint8)


def _tile(picture: Picture, caption: str) -> Picture:
    """The picture in the middle of its place, the caption below it, cut where it is too long."""
    tile = Image.new("RGB", (_TILE[0], _TILE[1] + _CAPTION), _PAPER)
    seen = Image.fromarray(picture[:, :, ::-1])
    tile.paste(seen, ((_TILE[0] - seen.width) // 2, (_TILE[1] - seen.height) // 2))
    text = _fonts().picture(caption, 13, _INK)
    tile.paste(text, (6, _TILE[1] + (_CAPTION - text.height) // 2), text)
    return np.ascontiguousarray(np.asarray(tile, np.uint8)[:, :, ::-1])


@cache
def _fonts() -> Fonts:
    return Fonts()
