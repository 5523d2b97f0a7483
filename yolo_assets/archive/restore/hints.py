"""Says what the archive has when it lacks what was requested: cameras, hours, frames close by.

Belongs here: sentences for people, made with few requests. Nothing here decides anything.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import islice

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.listing import folders, stored_archives
from yolo_assets.archive.missing import missing_parts
from yolo_assets.contracts.names import ARCHIVES, ArchiveName, is_frame
from yolo_assets.contracts.times import Hour
from yolo_assets.spool.files import native_name, portable_name

_SOME = 8


def some_cameras(archive: Archive) -> str:
    """``cam1, cam2 and more``: cameras that have archives; empty when there are none."""
    cameras = (folder.removeprefix("camera=") for folder in folders(archive, ARCHIVES) if folder.startswith("camera="))
    return listed(list(islice(cameras, _SOME + 1)))


def listed(names: list[str]) -> str:
    """A few names in a row, ``and more`` when there are more than fit in a line."""
    return ", ".join(names[:_SOME]) + (" and more" if len(names) > _SOME else "")


def no_camera(archive: Archive, camera_id: str | None = None) -> str:
    """One line for a camera, or for a store, of which nothing is archived: which cameras there are."""
    cameras = some_cameras(archive)
    if not cameras:
        return f"nothing is archived in {archive.url} yet"
    nothing = f"nothing is archived of camera {camera_id}; " if camera_id is not None else ""
    return f"{nothing}there are archives of {cameras}"


def no_hour(archive: Archive, camera_id: str, hour: Hour, last: Hour | None = None) -> str:
    """One line for a camera without a receipt from ``hour`` to ``last``: which hours of it are near."""
    names = stored_archives(archive, camera_id)
    if not names:
        return no_camera(archive, camera_id)
    asked = f"hour {hour}" if last in (None, hour) else f"the hours {hour} to {last}"
    lost = [name for name in names if hour <= name.hour <= (last or hour)]
    if lost:
        return no_receipts(lost, f"camera {camera_id} has no receipt for {asked}")
    there = sorted({name.hour for name in names})
    before = [archived for archived in there if archived < hour]
    after = [archived for archived in there if archived > (last or hour)]
    near = [f"{before[-1]} before"] if before else []
    near += [f"{after[0]} after"] if after else []
    return f"camera {camera_id} has no archive of {asked}; the nearest are {' and '.join(near)}"


def no_receipts(lost: list[ArchiveName], start: str) -> str:
    """One line for archives that lie in the store and have no receipt that can be read: what to do."""
    more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
    return (
        f"{start}, and {lost[0].archive_key}{more} is in the store: the receipt was lost or hidden, or the archive "
        f"was never finished; see: yolo-assets archive verify {lost[0].stem}"
    )


def no_frame(archive: Archive, camera_id: str, hour: Hour, frame: str) -> str:
    """One line for a frame that no archive of its hour holds: which names are near."""
    parts = archive.parts(camera_id, hour)
    if not parts:
        return no_hour(archive, camera_id, hour)
    stored = (row.name for part in parts for row in part.index())
    names = sorted({name for name in stored if is_frame(native_name(name))})
    if not names:
        return f"the archives of {camera_id} {hour} hold records and no frame"
    place = bisect_left(names, portable_name(frame))
    near = names[max(0, place - 1) : place + 1]
    missing = missing_parts(part.name for part in parts)
    perhaps = f"; it may be in {missing[0].stem}, whose receipt is lost or hidden" if missing else ""
    return (
        f"camera {camera_id} has no {frame} among the {len(names)} frames of hour {hour}; "
        f"the closest are {listed(near)}{perhaps}"
    )
