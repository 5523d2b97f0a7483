"""Files seen as objects: their information, and the listing in key order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from yolo_assets.storage.base import ObjectInfo
from yolo_assets.storage.keys import key_problem

ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
"""What the file system says when there is no object under a key."""


def etag_of(status: os.stat_result) -> str:
    """Modification time and size: what every write changes, see ``folder_files.stamp_after``."""
    return f"{status.st_mtime_ns:x}-{status.st_size:x}"


def info_of(key: str, status: os.stat_result) -> ObjectInfo:
    """What a file's status says about the object."""
    moment = datetime.fromtimestamp(status.st_mtime_ns // 1_000_000 / 1000, UTC)
    return ObjectInfo(key=key, size=status.st_size, etag=etag_of(status), modified_at=moment)


def stat_or_none(path: Path) -> os.stat_result | None:
    """The status of a file, None when there is none."""
    try:
        return path.stat()
    except ABSENT:
        return None


def walk(root: Path, folder: str, prefix: str, after: str) -> Iterator[ObjectInfo]:
    """Objects under ``folder`` (``""`` or ending in ``/``); skips what cannot match without looking into it."""
    try:
        with os.scandir(root / folder) as entries:
            # A folder sorts as its objects do, with the slash: "a-b" comes before "a/b".
            names = sorted(f"{folder}{entry.name}{'/' if entry.is_dir() else ''}" for entry in entries)
    except ABSENT:
        return  # pruned meanwhile
    for name in names:
        if name.endswith("/"):
            wanted = name.startswith(prefix) or prefix.startswith(name)
            passed = name < after and not after.startswith(name)
            if wanted and not passed and key_problem(name + "x") is None:
                yield from walk(root, name, prefix, after)
        elif name.startswith(prefix) and name > after and key_problem(name) is None:
            try:
                yield info_of(name, (root / name).stat())
            except ABSENT:
                continue  # deleted meanwhile
