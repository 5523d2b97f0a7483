"""Which parts a camera-hour must have, from names alone: parts count from 1, so a part implies all those before it.

Belongs here: what is missing in a list of names, and the message about it. A receipt can be lost on any store, and be
hidden by a delete marker where versions are kept; a listing shows neither. Does not belong here: reading (``archive``).
"""

from __future__ import annotations

from collections.abc import Iterable

from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.times import Hour

_MOST = 100
"""Missing parts of one hour that are named: a foreign ``_p999999999`` must not fill the memory."""


def missing_parts(names: Iterable[ArchiveName]) -> list[ArchiveName]:
    """Parts that are not among these names although a later part of the same camera-hour is."""
    hours: dict[tuple[Hour, str], set[int]] = {}
    for name in names:
        hours.setdefault((name.hour, name.camera_id), set()).add(name.part)
    return [
        ArchiveName(camera_id, hour, part)
        for (hour, camera_id), parts in hours.items()
        if len(parts) < max(parts)
        for part in _absent(parts)
    ]


def with_missing(names: Iterable[ArchiveName]) -> list[ArchiveName]:
    """These names and the parts that are missing among them, by hour, camera and part."""
    listed = list(names)
    return sorted([*listed, *missing_parts(listed)], key=lambda name: (name.hour, name.camera_id, name.part))


def no_receipt(name: ArchiveName) -> str:
    """One line for an archive without a receipt that can be read."""
    return (
        f"{name.receipt_key} is missing: it was lost or hidden, or the archive was never finished; "
        f"see: yolo-assets archive verify {name.stem}"
    )


def _absent(parts: set[int]) -> list[int]:
    absent: list[int] = []
    for part in range(1, max(parts)):
        if len(absent) == _MOST:
            break
        if part not in parts:
            absent.append(part)
    return absent
