"""Which frames are restored: by camera, time, production batch, class, confidence. Decided from receipts and records.

Belongs here: pure decisions. Does not belong here: reading and writing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from yolo_assets.archive.packing.pack import IndexRow
from yolo_assets.contracts.detection import DetectionRecord
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import check_id, frame_time, is_frame, is_record_file
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.times import Hour, format_time
from yolo_assets.spool.files import native_name
from yolo_assets.spool.frames import frame_stem

_MOST_NAMES = 12


@dataclass(frozen=True)
class FrameFilter:
    """Which frames are selected; every condition that is given must hold, for one detection record.

    Attributes:
        start: first moment.
        end: first moment after the range.
        camera: only this one.
        batch: only frames whose record names this production batch.
        class_name: only frames with a detection of this class.
        min_confidence: only frames with a detection of at least this confidence.
        frames_only: no record files, nor what else an hour holds.

    Raises:
        BadInputError: the range is empty, or not a camera id.
    """

    start: datetime
    end: datetime
    camera: str | None = None
    batch: str | None = None
    class_name: str | None = None
    min_confidence: float | None = None
    frames_only: bool = False

    def __post_init__(self) -> None:
        if self.end <= self.start:
            raise BadInputError(
                f"the range from {format_time(self.start)} to {format_time(self.end)} is empty; --to must be later"
            )
        if self.camera is not None:
            check_id(self.camera)

    @property
    def everything(self) -> bool:
        """Whether no condition on records is given."""
        return self.batch is None and self.class_name is None and self.min_confidence is None

    def fits(self, record: DetectionRecord) -> bool:
        """Whether a record meets the conditions; class and confidence by one and the same detection."""
        if self.batch is not None and record.batch_id != self.batch:
            return False
        if self.class_name is None and self.min_confidence is None:
            return True
        return any(
            (self.class_name is None or detection.class_name == self.class_name)
            and detection.confidence >= (self.min_confidence or 0)
            for detection in record.detections
        )

    def may_hold(self, receipts: Sequence[Receipt]) -> bool:
        """Whether the parts of an hour can hold a record that fits, by what their receipts sum up.

        Records that could not be read are in no sum, so that such an hour's records are searched themselves.
        """
        return any(receipt.bad_records or self._sum_fits(receipt) for receipt in receipts)

    def _sum_fits(self, receipt: Receipt) -> bool:
        if self.batch is not None and self.batch not in receipt.batch_ids:
            return False
        if self.class_name is None and self.min_confidence is None:
            return True
        return any(
            name == (self.class_name or name) and summary.max_confidence >= (self.min_confidence or 0)
            for name, summary in receipt.classes.items()
        )

    def covers(self, name: str, hour: Hour) -> bool:
        """Whether a frame is of the time range; one without a time in its name counts as of its whole hour."""
        moment = frame_time(name)
        return moment is None or self.start <= moment < self.end or (moment not in hour and self.whole(hour))

    def whole(self, hour: Hour) -> bool:
        """Whether an hour lies in the range altogether."""
        return self.start <= hour.start and hour.end <= self.end

    def chosen(
        self, parts: Sequence[Sequence[IndexRow]], hour: Hour, matching: Collection[str] | None
    ) -> list[list[IndexRow]]:
        """The selected members of an hour, part by part.

        Record files come along only where a frame is selected; the rest of an hour (its seal, files of others) only
        where no condition on records is given. An hour without frames comes whole.

        Args:
            parts: the index of each part.
            hour: the hour.
            matching: stems of the frames whose record fits; None without conditions.

        Raises:
            BadInputError: a name is not that of one file in a folder.
        """
        frames = [[row for row in rows if self._frame(native_name(row.name), hour, matching)] for rows in parts]
        some = any(frames) or any(self.covers(f"{stem}.jpg", hour) for stem in matching or ())
        if matching is None:
            some = (
                some or self.whole(hour) or not any(is_frame(native_name(row.name)) for rows in parts for row in rows)
            )
        if self.frames_only or not some:
            return frames
        along = [[row for row in rows if self._along(native_name(row.name), matching)] for rows in parts]
        return [
            sorted([*first, *other], key=lambda row: row.offset) for first, other in zip(frames, along, strict=True)
        ]

    def _frame(self, name: str, hour: Hour, matching: Collection[str] | None) -> bool:
        return is_frame(name) and self.covers(name, hour) and (matching is None or frame_stem(name) in matching)

    def _along(self, name: str, matching: Collection[str] | None) -> bool:
        return not is_frame(name) and (matching is None or is_record_file(name))


@dataclass
class RangeContents:
    """What the receipts of a time range name, reported when no frame meets the conditions."""

    archives: int = 0
    cameras: set[str] = field(default_factory=set[str])
    batches: set[str] = field(default_factory=set[str])
    classes: dict[str, float] = field(default_factory=dict[str, float])

    def add(self, receipt: Receipt) -> None:
        """Take in one receipt."""
        self.archives += 1
        self.cameras.add(receipt.camera_id)
        self.batches.update(receipt.batch_ids)
        for name, summary in receipt.classes.items():
            self.classes[name] = max(self.classes.get(name, 0.0), summary.max_confidence)

    def instead_of(self, selection: FrameFilter) -> str:
        """One line for conditions that no frame meets: what there is."""
        asked = [f"batch {selection.batch}"] if selection.batch is not None else []
        asked += [f"class {selection.class_name}"] if selection.class_name is not None else []
        asked += [f"confidence from {selection.min_confidence:g}"] if selection.min_confidence is not None else []
        there: list[str] = []
        if selection.class_name is not None or selection.min_confidence is not None:
            classes = [f"{name} up to {best:.2f}" for name, best in sorted(self.classes.items())]
            there.append(f"classes {_some(classes)}" if classes else "no detection at all")
        if selection.batch is not None:
            there.append(f"batches {_some(sorted(self.batches))}" if self.batches else "no batch")
        nothing = f"no frame with {' and '.join(asked)}" if asked else "no frame"
        named = f"; their receipts name {' and '.join(there)}" if there else ""
        return (
            f"{nothing} between {format_time(selection.start)} and {format_time(selection.end)} in {self.archives} "
            f"archives of {_some(sorted(self.cameras))}{named}"
        )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more
