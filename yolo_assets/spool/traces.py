"""Counts of an hour from what is on disk, as its seal states them, right even after a crash; traces of single frames.

Belongs here: frames captured, processed, dropped by reason. Does not belong here: writing any of it.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime

import orjson

from yolo_assets.contracts.detection import IMAGE_SHA256
from yolo_assets.contracts.names import SEALED, is_frame, is_record_file
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

_SEQUENCE = re.compile(rb'"sequence":([0-9]{1,15})[,}]')
_TAIL = 1 << 18
_IMAGE_PATH = re.compile(rb'"image_path":"([^"]+)"')


def count_hour(hour: SpoolHour, traces: Traces, device_id: str, sealed_at: datetime) -> Seal:
    """What the seal of an hour says. ``traces``: as read just now; drops that were added since are read again.

    ``captured = processed + dropped``: every good line in the record files is a frame processed, every line of the drop
    log says what was not. What a crash left is counted once a drop claims it.
    """
    members = hour.members()
    images = {member.name for member in members if is_frame(member.name)}
    counted = sum(m.size for m in members if is_frame(m.name) or is_record_file(m.name))
    dropped: Counter[str] = Counter()
    for drop in _without_claimed(list(_drops(hour))):
        dropped[drop.reason] += drop.count
    models = traces.models
    return Seal(
        camera_id=hour.camera_id,
        hour=hour.hour.key,
        device_id=device_id,
        frames=len(images),
        records=len(models),
        bytes=counted,
        captured=len(models) + sum(dropped.values()),
        processed=len(models),
        dropped=dict(dropped),
        model_versions=tuple(sorted(set(models))),
        mask_versions=traces.masks,
        sealed_at=sealed_at,
    )


@dataclass(frozen=True)
class Traces:
    """What the files of an hour tell of single frames.

    Attributes:
        models: model version of every good record.
        masks: versions of privacy masks that good records name, each once.
        hashes: SHA-256 by image, as good records and drops name it.
        records: numbers of the frames that have one.
        notes: reason by number, of the frames that the drops name. Of many in one note that is the first.
        unclaimed: what crashes left, image, torn record or both, each of one frame; nothing says which. A drop that
            claims the names given here says that it is that frame.
        torn_drops: lines of the drops that are none, not claimed; each is one frame as well.
    """

    models: tuple[str, ...]
    masks: tuple[str, ...]
    hashes: Mapping[str, str]
    records: frozenset[int]
    notes: Mapping[int, str]
    unclaimed: tuple[tuple[str, ...], ...]
    torn_drops: tuple[str, ...]


def read_traces(hour: SpoolHour) -> Traces:
    """The traces of single frames. Sealing claims all there is: what is unclaimed in a sealed hour came later."""
    sealed = (hour.path / SEALED).exists()
    images = {member.name for member in hour.frames()}
    found, drops = list(_records(hour)), list(_drops(hour))
    models = tuple(record.model for record in found if not record.torn)
    masks = tuple(sorted({record.mask for record in found if record.mask}))
    records = frozenset(record.sequence for record in found if record.sequence is not None)
    notes = {drop.sequence: drop.reason for drop in drops if drop.sequence is not None}
    torn_drops = () if sealed else tuple(drop.torn for drop in _without_claimed(drops) if drop.torn)
    hashes = {line.image: line.sha256 for line in (*found, *drops) if line.sha256}
    return Traces(models, masks, hashes, records, notes, tuple(_unclaimed(images, found, drops)), torn_drops)


def last_sequence(hour: SpoolHour) -> int:
    """The highest number of a frame in the hour, as far as the ends of its files tell; -1 where none has one."""
    highest = -1
    for member in hour.members():
        if member.name.endswith((".ndjson", *DROP_ENDINGS)):
            with (hour.path / member.name).open("rb") as file:
                file.seek(max(0, member.size - _TAIL))
                highest = max([highest, *(int(found[1]) for found in _SEQUENCE.finditer(file.read()))])
    return highest


def used_stems(hour: SpoolHour) -> set[str]:
    """Frame names of an hour that are taken, without their ending: by an image or by a record without an image."""
    stems = {member.name.rsplit(".", 1)[0] for member in hour.members() if is_frame(member.name)}
    stems.update(found.image.rsplit(".", 1)[0] for found in _records(hour))
    return stems


def _unclaimed(images: Set[str], records: Sequence[_RecordLine], drops: Sequence[_Drop]) -> list[tuple[str, ...]]:
    """Those of these images that no line names, and torn records whose image is not there, without what drops claim."""
    claimed = _claimed(drops)
    named = {record.image for record in records if not record.torn}
    found = [(name,) for name in sorted(images - named - claimed)]
    torn = [record for record in records if record.torn and record.torn not in claimed and record.image not in images]
    nameless = [record.torn for record in torn if not record.image]
    # Torn within the image's name: an image that no line names is most likely its.
    pairs = [(*left, line) for left, line in zip(found, nameless, strict=False)]
    return [
        *pairs,
        *found[len(pairs) :],
        *((line,) for line in nameless[len(pairs) :]),
        *((record.torn,) for record in torn if record.image),
    ]


def _without_claimed(drops: Sequence[_Drop]) -> list[_Drop]:
    claimed = _claimed(drops)
    return [drop for drop in drops if not drop.torn or drop.torn not in claimed]


def _claimed(drops: Sequence[_Drop]) -> set[str]:
    return {name for drop in drops for name in drop.claims}


def _lines(hour: SpoolHour, *endings: str) -> Iterator[bytes]:
    """Every line that is not empty, of the members with one of these endings."""
    for member in hour.members():
        if member.name.endswith(endings):
            with (hour.path / member.name).open("rb") as file:
                yield from (line for raw in file if (line := raw.strip()))


@dataclass(frozen=True, slots=True)
class _RecordLine:
    """A line of a record file.

    Attributes:
        image: file name of its image; ``""`` where that is torn.
        model: version.
        sequence: the frame's number.
        mask: version of the privacy mask in the picture; ``""`` without one.
        sha256: of the image; ``""`` where it is not told.
        torn: what a line that is no record goes by; ``""`` for a good one.
    """

    image: str
    model: str = ""
    sequence: int | None = None
    mask: str = ""
    sha256: str = ""
    torn: str = ""


@dataclass(frozen=True, slots=True)
class _Drop:
    """A line of the drops.

    Attributes:
        reason: why.
        count: frames.
        sequence: the first one's number.
        claims: names of what there is of it all the same: an image, a torn line.
        image: the one that was kept on purpose; ``""`` without.
        sha256: of that image; ``""`` where it is not told.
        torn: what a line that cannot be read goes by; ``""`` for a good one.
    """

    reason: str = UNREADABLE
    count: int = 1
    sequence: int | None = None
    claims: tuple[str, ...] = ()
    image: str = ""
    sha256: str = ""
    torn: str = ""


def _records(hour: SpoolHour) -> Iterator[_RecordLine]:
    for line in _lines(hour, ".ndjson"):
        try:
            record = orjson.loads(line)
            path, model, sequence = record["image_path"], record["model_version"], record.get("sequence")
            if isinstance(path, str) and isinstance(model, str):
                mask, digest = record.get("mask_version"), record.get(IMAGE_SHA256)
                yield _RecordLine(
                    path.rsplit("/", 1)[-1],
                    model,
                    sequence if isinstance(sequence, int) else None,
                    mask if isinstance(mask, str) else "",
                    digest if isinstance(digest, str) else "",
                )
                continue
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            pass
        found = _IMAGE_PATH.search(line)
        image = found[1].decode(errors="replace").rsplit("/", 1)[-1] if found else ""
        yield _RecordLine(image, torn=_goes_by(line))


def _drops(hour: SpoolHour) -> Iterator[_Drop]:
    for line in _lines(hour, *DROP_ENDINGS):
        try:
            drop = orjson.loads(line)
            reason, count, sequence = drop["reason"], drop.get("count", 1), drop.get("sequence")
            claims = [*([drop["image"]] if "image" in drop else []), *drop.get("claims", [])]
            if isinstance(reason, str) and isinstance(count, int) and all(isinstance(name, str) for name in claims):
                digest = drop.get(IMAGE_SHA256, "")
                yield _Drop(
                    reason,
                    max(1, count),
                    sequence if isinstance(sequence, int) else None,
                    tuple(claims),
                    drop.get("image", ""),
                    digest if isinstance(digest, str) else "",
                )
                continue
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            pass
        yield _Drop(torn=_goes_by(line))


def _goes_by(line: bytes) -> str:
    return f"torn-{zlib.crc32(line):08x}"
