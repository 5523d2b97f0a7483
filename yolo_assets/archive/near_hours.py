"""Frames captured just outside the hour of their folder, found by their own time.

A producer turns its folder a little early or late; the frame stays in the archive of its folder. So a question about a
time looks at the archives of the hours next to it too, ``NEAR`` around. Their receipts say whether such a frame is in
them and when it was captured, so only archives that hold one are read. Belongs here: which archives a question
about a time touches. Does not belong here: which frames of them are chosen (``restore``, ``evidence``).
"""

from __future__ import annotations

from datetime import datetime
from itertools import groupby

from yolo_assets.archive.archive import Archive, may_hold
from yolo_assets.archive.listing import archives_there
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.times import with_near_hours


def archives_holding(
    archive: Archive, start: datetime, end: datetime, *, camera_id: str | None = None
) -> list[ArchiveName]:
    """As ``archives_there``, and the archives of hours next to the range that hold a frame captured in it.

    Of such an hour all parts, by hour, camera and part. It costs the receipts of two more hours; of receipts of an
    earlier version, which do not count frames outside their hour, one or two reads of their index. What cannot be read
    there is passed over: it may concern the question, and whoever asks for its own hour is told.

    Args:
        archive: the archive.
        start: first moment.
        end: first moment after the range.
        camera_id: only this one.

    Raises:
        StoreUnavailableError: the store does not answer.
    """
    around = archives_there(archive, *with_near_hours(start, end), camera_id=camera_id)
    near = [name for name in around if not overlaps(name, start, end)]
    holding = {
        (hour, camera)
        for (hour, camera), results in groupby(
            archive.read_receipts(near), key=lambda result: (result.name.hour, result.name.camera_id)
        )
        if any(may_hold(archive.part(result.receipt), start, end) for result in results if result.receipt is not None)
    }
    return [name for name in around if overlaps(name, start, end) or (name.hour, name.camera_id) in holding]


def overlaps(name: ArchiveName, start: datetime, end: datetime) -> bool:
    """Whether the hour of an archive has a moment in ``[start, end)``."""
    return name.hour.end > start and name.hour.start < end
