"""The truth about simulated frames, in files of its own outside the spool, so that nothing on the line can read it.

``<truth>/<camera>/<YYYYMMDD_HH>.ndjson``, one line a frame, each hour written whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import orjson
from pydantic import Field, ValidationError

from yolo_assets.contracts.base import Record, Time, one_line
from yolo_assets.contracts.detection import Box
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import check_id
from yolo_assets.contracts.times import Hour
from yolo_assets.simulator.weld_line import TruthBox
from yolo_assets.spool.files import write_atomic


class TrueBox(Record):
    """One defect that is in a frame."""

    class_name: str = Field(alias="class")
    bbox: Box
    hard: bool


class FrameTruth(Record):
    """One line of a truth file."""

    image_path: str
    camera_id: str
    captured_at: Time
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    boxes: tuple[TrueBox, ...]


def true_boxes(found: Iterable[TruthBox]) -> tuple[TrueBox, ...]:
    """What a scene holds, as it is written."""
    return tuple(TrueBox.model_validate({"class": box.class_name, "bbox": box.bbox, "hard": box.hard}) for box in found)


def check_truth_dir(truth: Path, spool: Path) -> None:
    """Refuse a truth folder that the line or the archive could see.

    Raises:
        BadInputError: one of the two folders lies in the other.
    """
    inside, outside = truth.resolve(), spool.resolve()
    if inside == outside or outside in inside.parents:
        raise BadInputError(f"the truth folder {truth} lies inside the spool {spool}; choose one outside it")
    if inside in outside.parents:
        raise BadInputError(f"the truth folder {truth} holds the spool {spool}; choose one next to it")


def truth_file(truth: Path, camera_id: str, hour: Hour) -> Path:
    """``<truth>/<camera>/<YYYYMMDD_HH>.ndjson``."""
    return truth / check_id(camera_id) / f"{hour.key}.ndjson"


def write_hour(truth: Path, camera_id: str, hour: Hour, frames: Sequence[FrameTruth]) -> Path:
    """Write the truth of one camera-hour, replacing what an interrupted run may have left."""
    path = truth_file(truth, camera_id, hour)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, b"".join(frame.to_json() + b"\n" for frame in frames))
    return path


def truth_for(truth: Path, image_paths: Iterable[str]) -> dict[str, FrameTruth]:
    """What is in the named frames.

    Args:
        truth: the truth folder.
        image_paths: ``<camera>/<hour>/<frame>.jpg``, as records have them.

    Returns:
        One entry per path, in the order given.

    Raises:
        BadInputError: a frame has no truth, or a truth file cannot be read.
    """
    paths = list(image_paths)
    frames: dict[str, FrameTruth] = {}
    for file in sorted({_file_of(truth, path) for path in paths}):
        frames.update((frame.image_path, frame) for frame in read_hour(file))
    missing = [path for path in paths if path not in frames]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise BadInputError(f"{truth} has no truth for {missing[0]}{more}; it was not simulated with this truth folder")
    return {path: frames[path] for path in paths}


def read_hour(file: Path) -> list[FrameTruth]:
    """Every line of one truth file; none when the file is not there.

    Raises:
        BadInputError: a line is not such a record.
    """
    try:
        lines = file.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    frames = []
    for number, line in enumerate(lines, 1):
        try:
            frames.append(FrameTruth.model_validate(orjson.loads(line)))
        except (ValidationError, orjson.JSONDecodeError) as error:
            reason = one_line(error) if isinstance(error, ValidationError) else str(error)
            raise BadInputError(f"line {number} of {file} is not a frame's truth: {reason}") from None
    return frames


def _file_of(truth: Path, image_path: str) -> Path:
    parts = image_path.split("/")
    if len(parts) != 3:
        raise BadInputError(f"{image_path!r} is not the path of a frame; expected <camera>/<hour>/<frame>.jpg")
    return truth_file(truth, parts[0], Hour.from_key(parts[1]))
