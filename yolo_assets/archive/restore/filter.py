"""Which frames are restored: by camera, time, batch, part, class, confidence. Decided from receipts and records.

Belongs here: pure decisions. Does not belong here: reading and writing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from yolo_assets.archive.packing.pack import IndexRow
from yolo_assets.contracts.detection import Detection, DetectionRecord
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import FRAME_ENDINGS, check_id, frame_time, holds_lines, is_frame, is_record_file
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.times import Hour, format_time
from yolo_assets.spool.files import native_name
from yolo_assets.spool.frames import frame_stem

_MOST_NAMES = 12


@dataclass(frozen=True)
class RecordsTell:
    """What the records of an hour say where the names of its files do not.

    Attributes:
        moments: when pictures were captured, by name.
        owners: for record files of one frame, by name, that frame and when it was captured.
    """

    moments: Mapping[str, datetime] = field(default_factory=dict[str, datetime])
    owners: Mapping[str, tuple[str, datetime | None]] = field(default_factory=dict[str, tuple[str, datetime | None]])


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
        part_id: only frames whose record names this workpiece.
        frames_only: no record files, nor what else an hour holds.
        also_called: other names of that class: from before a rename, and of what was merged into it.

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
    part_id: str | None = None
    also_called: tuple[str, ...] = ()

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
        named = self.batch is not None or self.part_id is not None
        return not named and self.class_name is None and self.min_confidence is None

    def fits(self, record: DetectionRecord) -> bool:
        """Whether a record meets the conditions; class and confidence by one and the same detection."""
        if self.batch is not None and record.batch_id != self.batch:
            return False
        if self.part_id is not None and record.part_name != self.part_id:
            return False
        if self.class_name is None and self.min_confidence is None:
            return True
        return any(map(self.selects, record.detections))

    def selects(self, detection: Detection) -> bool:
        """Whether one detection is of the class and at least of the confidence."""
        return self._names(detection.class_name) and detection.confidence >= (self.min_confidence or 0)

    def _names(self, class_name: str) -> bool:
        return self.class_name in (None, class_name) or class_name in self.also_called

    def may_hold(self, receipts: Sequence[Receipt]) -> bool:
        """Whether the parts of an hour can hold a record that fits, by what their receipts sum up.

        Records that could not be read are in no sum, so that such an hour's records are searched themselves.
        """
        return any(receipt.bad_records or self._sum_fits(receipt) for receipt in receipts)

    def _sum_fits(self, receipt: Receipt) -> bool:
        if self.batch is not None and self.batch not in receipt.batch_ids:
            return False
        if self.part_id is not None and receipt.part_ids is not None and self.part_id not in receipt.part_ids:
            return False
        if self.class_name is None and self.min_confidence is None:
            return True
        return any(
            self._names(name) and summary.max_confidence >= (self.min_confidence or 0)
            for name, summary in receipt.classes.items()
        )

    def covers(self, name: str, hour: Hour) -> bool:
        """Whether a frame in the folder of an hour is of the time range, by its name; see ``covers_moment``."""
        return self.covers_moment(frame_time(name), hour)

    def covers_moment(self, moment: datetime | None, hour: Hour) -> bool:
        """Whether a frame in the folder of an hour is of the time range.

        Args:
            moment: when it was captured; None: nothing tells, it counts as of its whole hour.
            hour: of its folder. A range that holds all of it holds also what was captured outside it.
        """
        if moment is None:
            return self.touches(hour)
        return self.start <= moment < self.end or (moment not in hour and self.whole(hour))

    def touches(self, hour: Hour) -> bool:
        """Whether an hour has a moment in the range."""
        return hour.start < self.end and hour.end > self.start

    def whole(self, hour: Hour) -> bool:
        """Whether an hour lies in the range altogether."""
        return self.start <= hour.start and hour.end <= self.end

    def chosen(
        self, parts: Sequence[Sequence[IndexRow]], hour: Hour, told: RecordsTell | None = None
    ) -> list[list[IndexRow]]:
        """The members of an hour that a time range selects, part by part.

        An hour that lies in the range altogether comes whole. Of another come the frames of the range, with the record
        files that are theirs alone; files of the whole hour (lines of records, seal, drops) come along where something
        is selected, and of an hour beside the range only record files. An hour without frames comes whole.

        Args:
            parts: the index of each part.
            hour: the hour.
            told: what records say where names do not.

        Raises:
            BadInputError: a name is not that of one file in a folder.
        """
        named = [[(native_name(row.name), row) for row in rows] for rows in parts]
        told = told or RecordsTell()
        frames = {name for rows in named for name, _ in rows if is_frame(name)}
        wanted = {name for name in frames if self.covers_moment(frame_time(name) or told.moments.get(name), hour)}
        if self.frames_only:
            return [[row for name, row in rows if name in wanted] for rows in named]
        if self.whole(hour):
            return [list(rows) for rows in parts]
        own = {frame_stem(name): False for name in frames} | {frame_stem(name): True for name in wanted}
        alone = {name: self._alone(name, hour, own, told) for rows in named for name, _ in rows if name not in frames}
        some = bool(wanted) or any(alone.values()) or (not frames and self.touches(hour))

        def comes(name: str) -> bool:
            if name in frames:
                return name in wanted
            choice = alone[name]
            return choice if choice is not None else some and (self.touches(hour) or is_record_file(name))

        return [[row for name, row in rows if comes(name)] for rows in named]

    def _alone(self, name: str, hour: Hour, own: Mapping[str, bool], told: RecordsTell) -> bool | None:
        """Whether a record file of one frame comes; None for a file of the whole hour."""
        if not is_record_file(name) or holds_lines(name):
            return None
        stem = frame_stem(name)
        if stem in own:
            return own[stem]
        if name in told.owners:
            frame, moment = told.owners[name]
            return own.get(frame_stem(frame), self.covers_moment(moment, hour))
        moment = frame_time(f"{stem}{FRAME_ENDINGS[0]}")  # of a frame whose picture was not kept
        return None if moment is None else self.covers_moment(moment, hour)


@dataclass
class RangeContents:
    """What the receipts of a time range name, reported when no frame meets the conditions."""

    archives: int = 0
    cameras: set[str] = field(default_factory=set[str])
    batches: set[str] = field(default_factory=set[str])
    parts: set[str] = field(default_factory=set[str])
    classes: dict[str, float] = field(default_factory=dict[str, float])

    def add(self, receipt: Receipt) -> None:
        """Take in one receipt."""
        self.archives += 1
        self.cameras.add(receipt.camera_id)
        self.batches.update(receipt.batch_ids)
        self.parts.update(receipt.part_ids or ())
        for name, summary in receipt.classes.items():
            self.classes[name] = max(self.classes.get(name, 0.0), summary.max_confidence)

    def instead_of(self, selection: FrameFilter) -> str:
        """One line for conditions that no frame meets: what there is."""
        asked = [f"batch {selection.batch}"] if selection.batch is not None else []
        asked += [f"part {selection.part_id}"] if selection.part_id is not None else []
        asked += [f"class {selection.class_name}"] if selection.class_name is not None else []
        asked += [f"confidence from {selection.min_confidence:g}"] if selection.min_confidence is not None else []
        there: list[str] = []
        if selection.class_name is not None or selection.min_confidence is not None:
            classes = [f"{name} up to {best:.2f}" for name, best in sorted(self.classes.items())]
            there.append(f"classes {_some(classes)}" if classes else "no detection at all")
        if selection.batch is not None:
            there.append(f"batches {_some(sorted(self.batches))}" if self.batches else "no batch")
        if selection.part_id is not None:
            there.append(f"parts {_some(sorted(self.parts))}" if self.parts else "no part")
        nothing = f"no frame with {' and '.join(asked)}" if asked else "no frame"
        named = f"; their receipts name {' and '.join(there)}" if there else ""
        return (
            f"{nothing} between {format_time(selection.start)} and {format_time(selection.end)} in {self.archives} "
            f"archives of {_some(sorted(self.cameras))}{named}"
        )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more
