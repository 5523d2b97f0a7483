"""One frame of one camera for a person, found by name or by time; if there is none, a message says what there is.

Does not belong here: finding it among the parts of one hour (``Archive.cat``).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.listing import archived_hours
from yolo_assets.archive.part import ArchivedPart
from yolo_assets.archive.restore.hints import no_camera, no_frame, no_hour
from yolo_assets.archive.restore.plan import Thaw, request_thaw
from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.names import frame_time, is_frame
from yolo_assets.contracts.times import Hour, format_time
from yolo_assets.spool.files import native_name
from yolo_assets.storage.base import ColdObjectError, ObjectNotFoundError

BACK = timedelta(days=1)
"""How far back the newest frame before a time is looked for. Older than that it answers another question."""


@dataclass(frozen=True)
class ArchivedFrame:
    """One frame out of the archive.

    Attributes:
        name: its file name.
        data: its bytes, hash checked.
        hour: whose archive holds it.
        passed_over: later hours, up to the one asked for, whose archive lies in the store without a receipt that can
            be read: a newer frame may be in them.
    """

    name: str
    data: bytes
    hour: Hour
    passed_over: tuple[Hour, ...] = ()


class ColdFrameError(UserError):
    """The frame is in an archive that cannot be read at once; it was asked for."""


def one_frame(
    archive: Archive,
    camera_id: str,
    *,
    frame: str | None = None,
    at: datetime | None = None,
    hour: Hour | None = None,
    thaw: Thaw | None = None,
) -> ArchivedFrame:
    """One frame, by name or by time.

    Args:
        archive: the archive.
        camera_id: the camera.
        frame: file name. Its hour follows from it, unless it carries no time.
        at: the newest frame captured at or before this moment, at most ``BACK`` earlier.
        hour: of a frame whose name carries no time.
        thaw: how to ask for the archive when it lies in a cold tier; None: as ``Thaw()``.

    Raises:
        BadInputError: neither or both given, or a frame without a time in its name and no hour.
        ObjectNotFoundError: no such camera, hour or frame; the line says what is near.
        ColdFrameError: come back later.
    """
    if (frame is None) == (at is None):
        raise BadInputError("give either the name of a frame or a time")
    moment = at if frame is None else frame_time(frame)
    if hour is None and moment is None:
        if not is_frame(frame or ""):
            raise BadInputError(
                f"{frame!r} is not the name of a frame, which ends like .jpg; give its hour with --hour YYYYMMDD_HH, "
                "or get all files of the hour with: yolo-assets restore"
            )
        raise BadInputError(
            f"{frame!r} has no time in its name; give its hour with --hour YYYYMMDD_HH, or find a frame with --at TIME"
        )
    where = hour if hour is not None or moment is None else Hour.of(moment)
    assert where is not None  # one of the two is given
    try:
        if frame is not None and hour is not None:
            return _named(archive, camera_id, frame, hour)
        try:
            return ArchivedFrame(*archive.cat(camera_id, frame=frame, at=at), where)
        except ObjectNotFoundError:
            if frame is not None:
                raise ObjectNotFoundError(no_frame(archive, camera_id, where, frame)) from None
        return _earlier(archive, camera_id, at or where.end)
    except ColdObjectError as error:
        near = archive.parts_near(camera_id, where, where.start, where.end)
        parts = [*archive.parts(camera_id, where), *near]
        raise _thaw_requested(parts, frame, at, error, thaw or Thaw()) from None


def _named(archive: Archive, camera_id: str, frame: str, hour: Hour) -> ArchivedFrame:
    for part in archive.parts(camera_id, hour):
        row = part.find_frame(frame)
        if row is not None:
            return ArchivedFrame(native_name(row.name), part.read(row), hour)
    raise ObjectNotFoundError(no_frame(archive, camera_id, hour, frame))


def _earlier(archive: Archive, camera_id: str, moment: datetime) -> ArchivedFrame:
    """The newest frame of the hours before that of ``moment``."""
    here = Hour.of(moment)
    there = archived_hours(archive, camera_id)
    if not there:
        raise ObjectNotFoundError(no_camera(archive, camera_id))
    # An archive of the hour itself that only has later frames is no reason to doubt; one without a receipt is.
    passed = [here] if here in there and not archive.receipts(camera_id, here) else []
    for hour in reversed([hour for hour in there if hour < here and hour.end > moment - BACK]):
        try:
            name, data = archive.cat(camera_id, at=hour.end - timedelta(milliseconds=1))
        except ObjectNotFoundError:
            passed.append(hour)
            continue
        return ArchivedFrame(name, data, hour, tuple(passed))
    nothing = f"camera {camera_id} has no frame archived within {BACK.days * 24} hours before {format_time(moment)}"
    raise ObjectNotFoundError(
        f"{nothing}; {no_hour(archive, camera_id, here) if here not in there else 'give a later time'}"
    )


def _thaw_requested(
    parts: list[ArchivedPart], frame: str | None, at: datetime | None, error: ColdObjectError, thaw: Thaw
) -> UserError:
    """Ask for the part that holds the frame; the line that says when to come back."""
    for part in parts:
        if _holds(part, frame, at):
            cold = request_thaw(part, thaw)
            key = part.receipt.archive_key
            if cold is None:
                return ColdFrameError(f"{key} can be read now; run again")
            state = f"was requested; come back {cold.when}" if cold.asked else cold.when
            return ColdFrameError(f"{key} {state} and run the same command again")
    return error


def _holds(part: ArchivedPart, frame: str | None, at: datetime | None) -> bool:
    if frame is not None:
        return part.find_frame(frame) is not None
    return at is not None and part.newest_frame(at) is not None
