"""The archive for fsspec: ``yoloarchive://<camera>/<YYYYMMDD_HH>/<file>``, read only, every byte verified.

``yoloarchive://<camera>/at/<time>`` is the newest frame at or before a time, in the hour of that time. Which archive is
meant, and whose signatures count, are options of the file system, as everywhere else in this project by default
``YOLO_ASSETS_ARCHIVE`` and the keys in the home. Belongs here: fsspec's interface. Does not belong here: finding and
reading (``tree``).
"""

from __future__ import annotations

import errno
import fnmatch
import io
import logging
import os
import tempfile
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

from fsspec.spec import AbstractFileSystem

from yolo_assets.archive.archive import Archive
from yolo_assets.contracts.errors import BadInputError, SignatureError
from yolo_assets.contracts.locations import location_url
from yolo_assets.contracts.names import check_id, frame_time
from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.times import Hour, parse_time
from yolo_assets.filesystem.tree import ArchivedFile, ArchiveTree
from yolo_assets.storage.base import ObjectNotFoundError, StoreUnavailableError
from yolo_assets.storage.fallback import open_with_copy
from yolo_assets.storage.open import folder_of, open_store
from yolo_assets.transparency.held import trusted_archive

AT = "at"
_log = logging.getLogger(__name__)
_IN_MEMORY = 64 << 20
"""A file up to this size is opened in memory; a longer one is verified on its way into a temporary file."""


class ArchiveFileSystem(AbstractFileSystem):
    """Read-only view of an archive. Copies for other processes open the archive anew, also after a fork.

    A file is handed out when all of it was read and has the hash of the signed index; else ``IntegrityError`` names it.
    Missing files are ``FileNotFoundError``. A file in a cold tier raises ``ColdObjectError``, which says how to ask
    for it.
    """

    protocol = "yoloarchive"

    def __init__(self, archive: str | None = None, key: str | Sequence[str] | None = None, **options: Any) -> None:
        """Describe the archive; nothing is opened yet.

        Args:
            archive: archive root, ``file:///path``, a folder or ``s3://bucket/prefix``; None: that of the settings.
            key: public key of the archiver, or several, or a folder of them; None: those in the home.
            options: fsspec's own.
        """
        super().__init__(**options)
        self._where = archive
        self._keys = [key] if isinstance(key, str) else key
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._opened: ArchiveTree | None = None

    @property
    def archived(self) -> ArchiveTree:
        """Cameras, hours and files of this process: connections are not shared with the process that forked it."""
        if self._process != os.getpid():
            self._process, self._lock, self._opened = os.getpid(), threading.Lock(), None
        with self._lock:
            if self._opened is None:
                self._opened = ArchiveTree(_open(self._where, self._keys))
            return self._opened

    def invalidate_cache(self, path: str | None = None) -> None:
        """Read listings and indexes anew: what was archived meanwhile is seen."""
        self.archived.forget()
        super().invalidate_cache(path)

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        """Cameras, hours of a camera, or files of an hour; see fsspec."""
        found = self._listed(_stripped(path))
        return found if detail else [entry["name"] for entry in found]

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        """Name, size, type and, of a file, ``sha256`` and the ``archive`` that holds it; see fsspec."""
        path = _stripped(path)
        with _for_fsspec(path):
            camera, hour, rest = _parts(path)
            if camera is None:
                return _folder("")
            if hour is None:
                there = self.archived.has_camera(camera)
            elif rest and not self._is_folder(camera, hour, rest):
                return _entry(self._file(path))
            else:
                there = isinstance(hour, Hour) and bool(self.archived.files(camera, hour))
        if not there:
            raise FileNotFoundError(f"{path} is not in the archive {self.archived.archive.url}")
        return _folder(path)

    def modified(self, path: str) -> datetime:
        """When a frame was captured, by its name; else when its hour began, as in the archive itself."""
        file = self._file(_stripped(path))
        return frame_time(file.path.rpartition("/")[2]) or file.part.name.hour.start

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        """The bytes of one file, or some of them; all of it is read, because its hash is of all of it."""
        with _for_fsspec(path):
            file = self._file(_stripped(path))
            return file.part.read(file.row)[start:end]

    def cat(self, path: Any, recursive: bool = False, on_error: str = "raise", **kwargs: Any) -> Any:
        """The bytes of one file, or of many by path; many are fetched together. See fsspec."""
        paths: list[str] = self.expand_path(path, recursive=recursive)
        if not isinstance(path, list) and paths == [_stripped(path)]:
            return self.cat_file(paths[0])
        if recursive:
            paths = [each for each in paths if self.isfile(each)]
        found = dict(zip(paths, self._many(paths, on_error), strict=True))
        return {name: data for name, data in found.items() if on_error != "omit" or isinstance(data, bytes)}

    def cat_ranges(
        self, paths: list[str], starts: Any, ends: Any, max_gap: int | None = None, on_error: str = "return", **_: Any
    ) -> list[bytes | Exception]:
        """Pieces of many files, which are fetched together; see fsspec."""
        begins = starts if isinstance(starts, list) else [starts] * len(paths)
        stops = ends if isinstance(ends, list) else [ends] * len(paths)
        return [
            data[begin:stop] if isinstance(data, bytes) else data
            for data, begin, stop in zip(self._many(paths, on_error), begins, stops, strict=True)
        ]

    def glob(self, path: str, maxdepth: int | None = None, **kwargs: Any) -> Any:
        """Paths that match a pattern; only hours that match its second part are looked into. See fsspec."""
        pattern = _stripped(path).split("/")
        if "**" in path or maxdepth is not None or len(pattern) > 3:
            return super().glob(path, maxdepth=maxdepth, **kwargs)
        found = [_folder("")]
        for piece in pattern:
            folders = [entry["name"] for entry in found if entry["type"] == "directory"]
            found = [entry for folder in folders for entry in self._matching(folder, piece)]
        return {entry["name"]: entry for entry in found} if kwargs.get("detail") else [entry["name"] for entry in found]

    def mkdir(self, path: str, create_parents: bool = True, **kwargs: Any) -> None:
        """Refused: archives are written by the archiver alone."""
        raise _read_only(path)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Refused, see ``mkdir``."""
        raise _read_only(path)

    def _rm(self, path: str) -> None:
        raise _read_only(path)

    def cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        """Refused, see ``mkdir``."""
        raise _read_only(path2)

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        if mode != "rb":
            raise _read_only(path)
        with _for_fsspec(path):
            file = self._file(path)
            if file.row.size <= _IN_MEMORY:
                return io.BytesIO(file.part.read(file.row))
            copy = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 - whoever asked for it closes it
            try:
                for _, pieces in file.part.read_many([file.row]):
                    copy.writelines(pieces)
            except BaseException:
                copy.close()
                raise
            copy.seek(0)
            return copy

    def _listed(self, path: str) -> list[dict[str, Any]]:
        with _for_fsspec(path):
            camera, hour, rest = _parts(path)
            if camera is None:
                return [_folder(name) for name in self.archived.cameras()]
            if hour is None:
                entries = [_folder(f"{camera}/{each}") for each in self.archived.hours(camera)]
            elif rest and not self._is_folder(camera, hour, rest):
                return [_entry(self._file(path))]
            elif isinstance(hour, Hour):
                below = f"{rest}/" if rest else ""
                every = self.archived.files(camera, hour)
                files = {place: file for place, file in every.items() if place.startswith(below)}
                entries = [_entry(file) for place, file in files.items() if "/" not in place[len(below) :]]
                later = {place.partition("/")[0] for place in files if "/" in place[len(below) :]}
                entries += [_folder(f"{camera}/{hour}/{name}") for name in sorted(later)]
            else:
                entries = []
        if not entries:
            raise FileNotFoundError(f"{path} is not in the archive {self.archived.archive.url}")
        return entries

    def _matching(self, folder: str, pattern: str) -> list[dict[str, Any]]:
        """What lies in a folder under names that match; nothing of an hour that is not archived yet."""
        try:
            if not any(character in pattern for character in "*?["):
                return [self.info(f"{folder}/{pattern}".lstrip("/"))]
            entries = self._listed(folder)
        except FileNotFoundError:
            return []
        return [entry for entry in entries if fnmatch.fnmatchcase(entry["name"].rpartition("/")[2], pattern)]

    def _is_folder(self, camera: str, hour: Hour | str, rest: str) -> bool:
        """Whether ``part<N>`` is meant, where files of a later part lie that have the name of an earlier one."""
        if not isinstance(hour, Hour) or "/" in rest or not rest.startswith("part"):
            return False
        return any(place.startswith(f"{rest}/") for place in self.archived.files(camera, hour))

    def _file(self, path: str) -> ArchivedFile:
        with _for_fsspec(path):
            camera, hour, rest = _parts(path)
            if camera is None or hour is None or not rest:
                raise IsADirectoryError(errno.EISDIR, "is a folder of the archive", path)
            if isinstance(hour, Hour):
                return self.archived.find(camera, hour, rest)
            return self.archived.find_at(camera, parse_time(rest))

    def _many(self, paths: Sequence[str], on_error: str) -> list[bytes | Exception]:
        """Bytes, or what went wrong, of each path in order."""
        files: dict[str, ArchivedFile | Exception] = {}
        for path in dict.fromkeys(paths):
            try:
                files[path] = self._file(_stripped(path))
            except Exception as error:
                if on_error == "raise":
                    raise
                files[path] = error
        wanted = [file for file in files.values() if isinstance(file, ArchivedFile)]
        read: dict[str, bytes | Exception] = {}
        try:
            read.update({file.path: data for file, data in self.archived.read(wanted)})
        except Exception:
            if on_error == "raise":
                raise
            for file in wanted:  # one by one: what is damaged does not hide what is whole
                try:
                    read[file.path] = file.part.read(file.row)
                except Exception as error:
                    read[file.path] = error
        return [read[file.path] if isinstance(file, ArchivedFile) else file for file in map(files.__getitem__, paths)]


def _open(where: str | None, keys: Sequence[str] | None) -> Archive:
    """The archive of the settings, with its copy where they name one, or of the options.

    Raises:
        SignatureError: there is no key to check receipts with.
        StoreUnavailableError: there is no such folder.
    """
    settings = Settings.from_env()
    url = settings.archive_url if where is None else location_url(where)
    chosen = settings.archiver_public_keys() if keys is None else [Path(key) for key in keys]
    if not chosen:
        raise SignatureError(
            f"no key to check receipts with in {settings.keys}; give the archiver's public key with the option key="
        )
    if settings.archive_copy_url is not None and url.rstrip("/") == settings.archive_url.rstrip("/"):
        copied = open_with_copy(url, settings.archive_copy_url, memory=settings.known_stores, say=_log.warning)
        return trusted_archive(copied, chosen, settings)
    folder = folder_of(url)
    if folder is not None and not folder.is_dir():
        raise StoreUnavailableError(
            f"there is no archive at {folder}; give the right one with the option archive=", transient=False
        )
    return trusted_archive(open_store(url, memory=settings.known_stores, remember=False), chosen, settings)


def _parts(path: str) -> tuple[str | None, Hour | str | None, str]:
    """Camera, hour or ``at``, and the rest of a path; None where the path ends before."""
    camera, _, below = path.strip("/").partition("/")
    if not camera:
        return None, None, ""
    second, _, rest = below.partition("/")
    if not second:
        return check_id(camera), None, ""
    return check_id(camera), second if second == AT else Hour.from_key(second), rest


def _stripped(path: Any) -> str:
    """A path without the protocol."""
    return str(ArchiveFileSystem._strip_protocol(path))


def _entry(file: ArchivedFile) -> dict[str, Any]:
    return {
        "name": file.path,
        "size": file.row.size,
        "type": "file",
        "sha256": file.row.sha256.hex(),
        "archive": file.part.receipt.archive_key,
    }


def _folder(path: str) -> dict[str, Any]:
    return {"name": path, "size": 0, "type": "directory"}


def _read_only(path: str) -> OSError:
    return OSError(errno.EROFS, "the archive is read only; the archiver alone writes it", path)


@contextmanager
def _for_fsspec(path: str) -> Generator[None]:
    """What is not there is ``FileNotFoundError`` for programs that know nothing of this project."""
    try:
        yield
    except (ObjectNotFoundError, BadInputError) as error:
        raise FileNotFoundError(errno.ENOENT, str(error), path) from None
