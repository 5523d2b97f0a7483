"""Which picture of an hour's folder a record means: one rule, for every reader of records.

Producers write ``image_path`` in many ways: the file name alone, ``<camera>/<frame>``, relative to the spool or to the
record, absolute, as on Windows, as a URL, quoted. A record belongs to the picture of that name that lies in its own
folder, and never to that of another camera: what leads there is refused. Does not belong here: reading records
(``records``), and names themselves (``contracts.names``).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from urllib.parse import SplitResult, unquote, urlsplit

from yolo_assets.contracts.detection import DetectionRecord
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import FRAME_ENDINGS, frame_time
from yolo_assets.contracts.times import Hour

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_SEPARATORS = re.compile(r"[/\\]")
_NOT_PLAIN = re.compile(r"[/\\%:\0]|^\.*$")
_DRIVE = re.compile(r"[A-Za-z]:")
_HOUR = re.compile(r"[0-9]{8}_[0-9]{2}")
_CAMERA = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DIGITS = re.compile(r"[0-9]+")


def frame_stem(path: str) -> str:
    """``frame`` of ``camera/hour/frame.jpg``, ``frame.json`` and ``frame.png.json``."""
    name = PurePosixPath(path).name
    for ending in (".json", *FRAME_ENDINGS):
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
    return name


@dataclass(frozen=True)
class _Spelling:
    """One way to read a path.

    Attributes:
        folders: before the name, without ``.``, ``..`` resolved.
        name: the last part.
        relative: it starts in the spool or beside the record, not at a root, a drive or a host.
        windows: written with backslashes, so that upper and lower case are the same.
    """

    folders: tuple[str, ...]
    name: str
    relative: bool
    windows: bool


@dataclass(frozen=True)
class FrameFolder:
    """The folder of a camera-hour, which tells what picture a record in it means.

    Attributes:
        camera_id: of the folder.
        hour: of the folder.
        frames: names of the pictures that lie there, or did before they were archived.
    """

    camera_id: str
    hour: Hour
    frames: frozenset[str] = field(default=frozenset(), repr=False)

    @classmethod
    def of(cls, camera_id: str, hour: Hour, frames: Iterable[str] = ()) -> FrameFolder:
        """The folder with these pictures."""
        return cls(camera_id, hour, frozenset(frames))

    def frame_of(self, record: DetectionRecord) -> str:
        """The file name of the picture that a record in this folder means.

        It need not lie here: our agent does not keep the picture of every frame.

        Raises:
            BadInputError: the record names another camera, or a path that leads to another camera or hour.
        """
        if record.camera_id is not None and record.camera_id != self.camera_id:
            raise BadInputError(
                f"the record names camera {record.camera_id!r} but lies in the folder of {self.camera_id!r}"
            )
        path = record.image_path
        name = path.removeprefix(self._prefix)
        if not _NOT_PLAIN.search(name):  # as our agent writes it, or the name alone: the usual case, and the quick one
            return self._there(name) or name
        spellings = list(_spellings(path))
        for spelling in spellings:
            found = self._there(spelling.name)
            if found is not None:
                return self._own(spelling, found, path, there=True)
        last = spellings[-1]
        return self._own(last, last.name, path, there=False)

    def stem_of(self, record: DetectionRecord) -> str:
        """``frame_stem`` of ``frame_of``: what a record, its picture and its own record file have in common.

        Raises:
            BadInputError: see ``frame_of``.
        """
        return frame_stem(self.frame_of(record))

    @cached_property
    def _prefix(self) -> str:
        return f"{self.camera_id}/{self.hour.key}/"

    @cached_property
    def _by_folded(self) -> dict[str, str]:
        """The pictures by name regardless of case and of how accents are composed, where that is unambiguous."""
        names: dict[str, str | None] = {}
        for name in self.frames:
            folded = _folded(name)
            names[folded] = None if folded in names else name
        return {folded: name for folded, name in names.items() if name is not None}

    def _there(self, name: str) -> str | None:
        return name if name in self.frames else self._by_folded.get(_folded(name))

    def _own(self, spelling: _Spelling, name: str, path: str, *, there: bool) -> str:
        """``name``, when the folders before it do not lead elsewhere."""
        folders = spelling.folders
        hours = [number for number, folder in enumerate(folders) if _HOUR.fullmatch(folder)]
        if name in ("", ".", "..") or "\0" in name:
            raise BadInputError(f"image_path {path!r} names no picture")
        if hours:
            before, hour = folders[: hours[-1]], folders[hours[-1]]
            elsewhere = bool(before) and not self._is_own(before[-1], spelling)
            # A picture whose name holds its time is the same one in whatever hour the path puts it.
            elsewhere |= hour != self.hour.key and not (there and frame_time(name) is not None)
            elsewhere |= hours[-1] + 1 < len(folders) and not there
        else:
            elsewhere = self._leads_elsewhere(spelling, there)
        if elsewhere:
            raise BadInputError(
                f"image_path {path!r} is not in the folder of its camera and hour; write the file name alone, or "
                f"{self._prefix}<frame>"
            )
        return name

    def _leads_elsewhere(self, spelling: _Spelling, there: bool) -> bool:
        """Of a path without an hour: the nearest folder that names a camera decides."""
        for folder in reversed(spelling.folders):
            if self._is_own(folder, spelling):
                return False
            if _CAMERA.fullmatch(folder) and _shape(folder) == _shape(self.camera_id):
                return True  # cam02 beside cam01
        if len(spelling.folders) == 1 and spelling.relative and _CAMERA.fullmatch(spelling.folders[0]):
            return True  # <camera>/<frame>, as the example record has it
        return bool(spelling.folders) and not there

    def _is_own(self, folder: str, spelling: _Spelling) -> bool:
        if spelling.windows:
            return folder.casefold() == self.camera_id.casefold()
        return folder == self.camera_id


def _spellings(path: str) -> Iterator[_Spelling]:
    """The ways to read a path; the last one holds where no picture of any lies there."""
    url = _url(path)
    if url is not None:
        yield _split(f"/{url.netloc}/{path.partition('://')[2].partition('/')[2] or url.path}", both=False)
        yield _split(f"/{url.netloc}/{unquote(url.path)}", both=True)
        return
    yield _split(path, both=False)
    if "%" in path:
        yield _split(unquote(path), both=True)
    yield _split(path, both=True)


def _url(path: str) -> SplitResult | None:
    try:
        return urlsplit(path) if _URL.match(path) else None
    except ValueError:  # "file://[x/y.jpg" is no URL
        return None


def _split(path: str, *, both: bool) -> _Spelling:
    """The parts of a path; ``both``: a backslash separates them as well."""
    *folders, name = _SEPARATORS.split(path) if both else path.split("/")
    relative = not folders or (bool(folders[0]) and not _DRIVE.fullmatch(folders[0]))
    kept: list[str] = []
    for folder in folders:
        if folder == ".." and kept:
            kept.pop()
        elif folder not in ("", ".", "..") and not _DRIVE.fullmatch(folder):
            kept.append(folder)
    return _Spelling(tuple(kept), name, relative, windows=both and "\\" in path)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold().strip()


def _shape(camera_id: str) -> str:
    """A camera id without what tells it from its neighbours."""
    return _DIGITS.sub("#", camera_id)
