"""How many detections of an hour were asked for: of a class, from a confidence on, captured within a range.

Receipts, and so the catalog, know the sum of a class over a whole hour; anything narrower is counted in the archived
records. Belongs here: counting one question. Does not belong here: finding the hours (``read.find_hours``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from yolo_assets.archive.archive import Archive, in_order
from yolo_assets.archive.restore.filter import FrameFilter
from yolo_assets.archive.restore.matching import matching_confidences
from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.times import Hour
from yolo_assets.storage.base import StoreUnavailableError

MOST_READ = 500
"""Hours whose records are read for one question: each takes a few requests."""


@dataclass(frozen=True)
class FoundHour:
    """A camera-hour that holds what was asked for.

    Attributes:
        camera_id: the camera.
        hour: start of the hour.
        count: detections that were asked for; None when the records that tell cannot be read.
        max_confidence: the highest among them; where ``count`` is None, of the class in that hour.
        archives: how many archives (parts) hold the class.
    """

    camera_id: str
    hour: datetime
    count: int | None
    max_confidence: float
    archives: int


def count_asked(
    found: Sequence[FoundHour],
    asked: FrameFilter,
    archive: Archive | None,
    report: Callable[[], object] = lambda: None,
) -> list[FoundHour]:
    """The hours with their counts; those without any detection that was asked for are left out.

    Args:
        found: with the sums of whole hours.
        asked: class, confidence, range.
        archive: where the records lie; None: it cannot be reached from here.
        report: called for each hour whose records were read.

    Raises:
        StoreUnavailableError: the store does not answer.
    """
    narrow = [one for one in found if asked.min_confidence or not asked.whole(Hour(one.hour))]
    read = dict.fromkeys(narrow) if archive is None else dict.fromkeys(narrow[MOST_READ:])
    if archive is not None:

        def count(one: FoundHour) -> FoundHour | None:
            return _counted(archive, one, asked)

        for one, counted in zip(narrow, in_order(narrow[:MOST_READ], count), strict=False):
            read[one] = counted
            report()
    answers = [(read[one] or replace(one, count=None)) if one in read else one for one in found]
    return [one for one in answers if one.count != 0]


def _counted(archive: Archive, found: FoundHour, asked: FrameFilter) -> FoundHour | None:
    """The hour with its count; None when its records cannot be read."""
    try:
        confidences = matching_confidences(archive, found.camera_id, Hour(found.hour), asked)
    except UserError as error:
        if isinstance(error, StoreUnavailableError) and error.transient:
            raise
        return None
    return replace(found, count=len(confidences), max_confidence=max(confidences, default=0.0))
