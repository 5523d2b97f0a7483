"""Counts of an hour from what is on disk: what its seal says, right also after a crash.

Belongs here: frames captured, processed, dropped by reason. Does not belong here: writing any of it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime

import orjson

from yolo_assets.contracts.names import SEALED, UPLOADED, is_frame, is_record_file
from yolo_assets.contracts.spool import Seal
from yolo_assets.spool.hours import SpoolHour

DROPS_FILE = "drops.log"
LATE_RECORD = ".late.ndjson"
LATE_DROP = ".late-drop.log"
DROP_ENDINGS = (DROPS_FILE, LATE_DROP)
INTERRUPTED = "interrupted"
"""Reason of a drop that the counting finds: a crash caught the frame before its record or its note was written."""

UNREADABLE = "unreadable_drop"
"""Reason of a drop whose line in the log was torn."""

_IMAGE_PATH = re.compile(rb'"image_path":"([^"]+)"')


def count_hour(hour: SpoolHour, device_id: str, sealed_at: datetime) -> Seal:
    """What the seal of an hour says.

    ``captured = processed + dropped``: every good line in the record files is a frame processed; every line of the drop
    log, every image that no line of either names and every torn line whose image is not there is a frame dropped.
    """
    members = hour.members()
    images = {member.name for member in members if is_frame(member.name)}
    counted = sum(m.size for m in members if is_frame(m.name) or is_record_file(m.name))
    dropped: Counter[str] = Counter()
    models: set[str] = set()
    unnamed = set(images)
    records = torn = 0
    for line in _lines(hour, ".ndjson"):
        path, model = _named(line)
        if model is None:
            torn += path not in images
            continue
        records += 1
        models.add(model)
        unnamed.discard(path)
    for line in _lines(hour, *DROP_ENDINGS):
        reason, image, count = _drop(line)
        dropped[reason] += count
        unnamed.discard(image)
    if lost := len(unnamed) + torn:
        dropped[INTERRUPTED] += lost
    return Seal(
        camera_id=hour.camera_id,
        hour=hour.hour.key,
        device_id=device_id,
        frames=len(images),
        records=records,
        bytes=counted,
        captured=records + sum(dropped.values()),
        processed=records,
        dropped=dict(dropped),
        model_versions=tuple(sorted(models)),
        sealed_at=sealed_at,
    )


def late_images_unnamed(hour: SpoolHour) -> int:
    """Images that came after the hour was taken and that no line names: a crash caught them before their record."""
    marks = [hour.path / name for name in (SEALED, UPLOADED)]
    taken = min((mark.stat().st_mtime_ns for mark in marks if mark.exists()), default=0)
    late = {member.name for member in hour.frames() if member.mtime_ns > taken}
    for line in _lines(hour, ".ndjson"):
        late.discard(_named(line)[0])
    for line in _lines(hour, *DROP_ENDINGS):
        late.discard(_drop(line)[1])
    return len(late)


def used_stems(hour: SpoolHour) -> set[str]:
    """Frame names of an hour that are taken, without their ending: by an image or by a record without an image."""
    stems = {member.name.rsplit(".", 1)[0] for member in hour.members() if is_frame(member.name)}
    for line in _lines(hour, ".ndjson"):
        name, _ = _named(line)
        stems.add(name.rsplit(".", 1)[0])
    return stems


def _lines(hour: SpoolHour, *endings: str) -> Iterator[bytes]:
    """Every line that is not empty, of the members with one of these endings."""
    for member in hour.members():
        if member.name.endswith(endings):
            with (hour.path / member.name).open("rb") as file:
                yield from (line for raw in file if (line := raw.strip()))


def _named(line: bytes) -> tuple[str, str | None]:
    """File name of the image that a line names, and its model version; None for a line that is no record of ours."""
    try:
        record = orjson.loads(line)
        path, model = record["image_path"], record["model_version"]
        if isinstance(path, str) and isinstance(model, str):
            return path.rsplit("/", 1)[-1], model
    except (orjson.JSONDecodeError, KeyError, TypeError):
        pass
    found = _IMAGE_PATH.search(line)
    return (found[1].decode(errors="replace").rsplit("/", 1)[-1] if found else ""), None


def _drop(line: bytes) -> tuple[str, str, int]:
    """Reason of a line of the drop log, the file name of the image that was kept all the same, else ``""``; frames."""
    try:
        drop = orjson.loads(line)
        reason, image, count = drop["reason"], drop.get("image", ""), drop.get("count", 1)
        if isinstance(reason, str) and isinstance(image, str) and isinstance(count, int):
            return reason, image, max(1, count)
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        pass
    return UNREADABLE, "", 1
