"""What a person means by one word: a frame, a label, a model version or an archive of this store.

Names of the four kinds seldom look alike, but they may; then the first of ``KINDS`` that there is counts, and the
others are named, so that ``--as`` can ask for them. Does not belong here: what came of it (``trace``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal, get_args

import duckdb

from yolo_assets.catalog.read import ask
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import ArchiveName, check_id, frame_time, is_frame
from yolo_assets.contracts.times import Hour
from yolo_assets.learning.records import AcceptedLabels

Kind = Literal["archive", "model", "frame", "label"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""In the order in which a name is tried."""

_SHOWN = 5


@dataclass(frozen=True)
class Named:
    """What a word may mean before anything is read: forms that it has.

    Attributes:
        text: as written.
        archive: as an archive, by its name or key.
        model: as a version, ``<name>/<version>``, or a version alone.
        path: as a frame's ``<camera>/<YYYYMMDD_HH>/<frame>``.
        frame: as a frame's file name alone.
        sha256: as the hash of a picture or a label file, or its first eight digits or more.
    """

    text: str
    archive: ArchiveName | None = None
    model: str | None = None
    path: str | None = None
    frame: str | None = None
    sha256: str | None = None

    @classmethod
    def read(cls, text: str) -> Named:
        """The forms of a word.

        Raises:
            BadInputError: nothing can be called that.
        """
        word = text.strip()
        parts = PurePosixPath(word.replace("\\", "/")).parts
        if not word or not parts:
            raise BadInputError(f"{text!r} names nothing; give a frame, label file, model version or archive")
        hexadecimal = 8 <= len(word) <= 64 and not set(word.lower()) - set("0123456789abcdef")
        return cls(
            word,
            archive=_archive(word),
            model=word if len(parts) <= 2 and not is_frame(word) else None,
            path=_path(parts),
            frame=parts[-1] if len(parts) == 1 and is_frame(parts[0]) else None,
            sha256=word.lower() if hexadecimal else None,
        )

    @property
    def hours(self) -> tuple[Hour, ...]:
        """The hours in whose folders a frame of this name may lie; none where the name does not tell."""
        if self.path is not None:
            return (Hour.from_key(self.path.split("/")[1]),)
        moment = frame_time(self.frame) if self.frame is not None else None
        if moment is None:
            return ()
        hour = Hour.of(moment)
        return (hour.next(-1), hour, hour.next(1))

    def is_file(self, labels: AcceptedLabels) -> bool:
        """Whether this names a label file: by its name in the inbox, a path that ends in it, or its SHA-256."""
        if self.sha256 is not None and labels.source_sha256.startswith(self.sha256):
            return True
        accepted = f"{labels.source_sha256}.json"
        return PurePosixPath(self.text).name in (labels.source_file, PurePosixPath(labels.source_file).name, accepted)

    def is_image(self, image_path: str, sha256: str) -> bool:
        """Whether this names a picture: by its path, the end of it, or its SHA-256."""
        if self.sha256 is not None and sha256.startswith(self.sha256):
            return True
        wanted = self.path or self.text
        return image_path == wanted or image_path.endswith(f"/{wanted}")


def frame_rows(connection: duckdb.DuckDBPyConnection, named: Named) -> list[dict[str, Any]]:
    """The rows of the frames table that a word names; of a file name alone there may be one a camera.

    Args:
        connection: of ``open_catalog`` with the table ``frames``.
        named: with ``path`` or ``frame``.
    """
    columns = "image_path, camera_id, hour, captured_at, model_version, device_id, batch_id, image_saved, n_detections"
    if named.path is not None:
        where, given = "image_path = ?", named.path
    elif named.frame is not None:
        where, given = "image_path LIKE '%/' || ?", named.frame
    else:
        return []
    return list(ask(connection, f"SELECT {columns} FROM frames WHERE {where} ORDER BY image_path", [given]).to_dicts())


def only_one(named: Named, paths: Sequence[str]) -> str | None:
    """The one frame that a word means, or None without any.

    Raises:
        BadInputError: there are several; the line names them.
    """
    different = sorted(set(paths))
    if len(different) > 1:
        more = f" and {len(different) - _SHOWN} more" if len(different) > _SHOWN else ""
        raise BadInputError(f"{named.text} may be {', '.join(different[:_SHOWN])}{more}; give the whole path of one")
    return different[0] if different else None


def _archive(text: str) -> ArchiveName | None:
    try:
        return ArchiveName.parse(text)
    except BadInputError:
        return None


def _path(parts: tuple[str, ...]) -> str | None:
    """The last three parts, where they are camera, hour and frame."""
    if len(parts) < 3 or not is_frame(parts[-1]):
        return None
    camera, hour, frame = parts[-3:]
    try:
        return f"{check_id(camera)}/{Hour.from_key(hour).key}/{frame}"
    except BadInputError:
        return None
