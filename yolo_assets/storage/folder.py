"""The store in a plain folder, on a disk or a NAS: one file per object, named by its key.

Belongs here: the interface over files. Single file moves are ``folder_files``, unfinished uploads ``folder_uploads``.

Next to the objects is ``.yolo_store/``: ``tmp/`` (writes under way), ``uploads/`` (multipart), ``locks/``. Everything
appears under its key by one rename or link of a synced file, so a reader or a crash meets the old bytes or the new.
Writers of one key, in any process, take turns under one of 256 lock files; readers take none.

The etag is modification time and size. Every write stamps a time later than that of the file it replaces, to the
nanosecond, so an etag names one write; making it a hash of the content would cost a read of the whole store per
listing. Files that people put there by hand are objects like any other.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.runtime.files import NO_LOCKS
from yolo_assets.storage.base import (
    AlreadyExistsError,
    CasConflictError,
    ObjectChangedError,
    ObjectInfo,
    ObjectNotFoundError,
    ObjectStream,
    PacedBytes,
    Payload,
    StoreUnavailableError,
    UploadedPart,
    unpaced,
)
from yolo_assets.storage.cold import RestoreState, Retrieval, check_request
from yolo_assets.storage.folder_files import locked, make_folders, place, prune, stamp_after, sweep, temporary
from yolo_assets.storage.folder_uploads import Uploads
from yolo_assets.storage.keys import RESERVED, check_key, check_prefix, check_range, key_problem

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
"""What the file system raises when there is no object under a key."""


class FolderStore:
    """An ``ObjectStore`` in a folder. It keeps no versions; parts of an upload may be of any size but all alike."""

    def __init__(self, root: Path, url: str | None = None) -> None:
        """Open the folder, creating it when its parent exists.

        Args:
            root: absolute.
            url: the root as a person wrote it.

        Raises:
            StoreUnavailableError: the parent is missing, or ``root`` is no folder.
        """
        self._root = root
        self._url = url or root.as_uri()
        self._own = root / RESERVED
        self._tmp = self._own / "tmp"
        self._locks = self._own / "locks"
        self._uploads = Uploads(self._own / "uploads", self._tmp)
        self._marked = False
        self._open_root()

    def _open_root(self) -> None:
        if not self._root.exists():
            if not self._root.parent.is_dir():
                raise StoreUnavailableError(
                    f"cannot create the store's folder {self._root}: {self._root.parent} is not a folder; "
                    "create it, mount it, or correct the URL",
                    transient=False,
                )
            with explained(self._root):
                self._root.mkdir(exist_ok=True)
        elif not self._root.is_dir():
            raise StoreUnavailableError(f"{self._root} is not a folder; correct the store's URL", transient=False)
        try:
            self._prepare()
            sweep(self._tmp)
            self._uploads.sweep()
        except OSError:
            return  # read-only for us: reading works, the first write reports what is wrong

    def _prepare(self) -> None:
        """Make what writing needs, once; a root that vanishes later is not made again but reported."""
        if not self._marked:
            for folder in (self._tmp, self._locks, self._own / "uploads"):
                make_folders(folder, self._root)
            self._marked = True

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with explained(self._root):
            self._prepare()
            yield

    @property
    def url(self) -> str:
        """The root as a person wrote it."""
        return self._url

    @property
    def object_lock(self) -> None:
        """None: a folder keeps no versions and locks nothing."""
        return None

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    def _locked(self, key: str) -> AbstractContextManager[None]:
        return locked(self._locks / hashlib.sha256(key.encode()).hexdigest()[:2])

    def _check_there(self) -> None:
        """An unmounted NAS leaves an empty folder behind: that must not read as an empty store."""
        if not (self._own if self._marked else self._root).is_dir():
            raise _folder_gone(self._root)

    def _open(self, key: str, version_id: str | None) -> BinaryIO:
        path = self._path(key)
        if version_id is not None:
            raise ObjectNotFoundError(f"{self._url} is a folder and keeps no versions; {key} has no {version_id}")
        try:
            return path.open("rb")
        except ABSENT:
            self._check_there()
            raise ObjectNotFoundError(f"there is no object {key} in {self._url}") from None

    def get(self, key: str, *, version_id: str | None = None) -> bytes:
        """The whole object."""
        with explained(self._root), self._open(key, version_id) as file:
            return file.read()

    def get_with_info(self, key: str) -> tuple[bytes, ObjectInfo]:
        """Bytes and their etag: of one open file, which is never changed, only replaced."""
        with explained(self._root), self._open(key, None) as file:
            data = file.read()
            return data, _info_of(key, os.fstat(file.fileno()))

    def get_range(self, key: str, start: int, length: int, *, version_id: str | None = None) -> bytes:
        """``length`` bytes from ``start``; fewer at the end."""
        check_range(start, length)
        with explained(self._root), self._open(key, version_id) as file:
            file.seek(start)
            return file.read(length)

    def stream(
        self,
        key: str,
        *,
        version_id: str | None = None,
        chunk_size: int = 1 << 20,
        start: int = 0,
        etag: str | None = None,
    ) -> ObjectStream:
        """The object in chunks: of one open file, which is only ever replaced as a whole."""
        check_range(start, chunk_size)
        with explained(self._root):
            file = self._open(key, version_id)
            info = _info_of(key, os.fstat(file.fileno()))
            if etag not in (None, info.etag):
                file.close()
                raise ObjectChangedError(f"{key} in {self._url} was replaced while it was read; read it again")
            file.seek(start)

        def chunks() -> Iterator[bytes]:
            with file:
                while True:
                    with explained(self._root):
                        chunk = file.read(chunk_size)
                    if not chunk:
                        return
                    yield chunk

        return ObjectStream(info, chunks())

    def head(self, key: str, *, version_id: str | None = None) -> ObjectInfo | None:
        """Information, or None when there is no such object (or no such version: a folder has none)."""
        path = self._path(key)
        with explained(self._root):
            try:
                status = path.stat()
            except ABSENT:
                self._check_there()
                return None
        return None if version_id is not None or path.is_dir() else _info_of(key, status)

    def list(self, prefix: str, *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        """Objects whose key starts with ``prefix``, by code point of the key, which is S3's order too."""
        check_prefix(prefix)
        with explained(self._root):
            self._check_there()
            yield from _walk(self._root, "", prefix, start_after or "")

    def put(self, key: str, data: Payload) -> ObjectInfo:
        """Write, replacing what was there."""
        path = self._path(key)
        with self._writing(), temporary(self._tmp, data) as source, self._locked(key):
            return self._replace(key, source, path, _stat_or_none(path))

    def put_if_absent(self, key: str, data: Payload, *, md5: str | None = None) -> ObjectInfo:
        """Write unless the key is taken."""
        path = self._path(key)
        with self._writing():
            if path.is_file():
                raise self._taken(key)
            with temporary(self._tmp, data) as source, self._locked(key):
                info = _info_of(key, source.stat())
                try:
                    place(source, path, self._root, exclusive=True)
                except FileExistsError:
                    raise self._taken(key) from None
                return info

    def compare_and_swap(self, key: str, data: Payload, etag: str | None) -> ObjectInfo:
        """Replace the object whose etag is ``etag``; None means it must not exist."""
        if etag is None:
            try:
                return self.put_if_absent(key, data)
            except AlreadyExistsError:
                raise self._moved(key) from None
        path = self._path(key)
        with self._writing(), temporary(self._tmp, data) as source, self._locked(key):
            status = _stat_or_none(path)
            if status is None or _etag_of(status) != etag:
                raise self._moved(key)
            return self._replace(key, source, path, status)

    def _replace(self, key: str, source: Path, path: Path, previous: os.stat_result | None) -> ObjectInfo:
        if previous is not None:
            stamp_after(source, previous)
        info = _info_of(key, source.stat())
        place(source, path, self._root, exclusive=False)
        return info

    def delete(self, key: str) -> None:
        """Remove, and the folders that become empty; a missing key is no error."""
        path = self._path(key)
        with self._writing(), self._locked(key):
            try:
                path.unlink()
            except ABSENT:
                return
            prune(path.parent, self._root)

    def create_upload(self, key: str) -> str:
        """Begin a multipart upload; one that is not touched for seven days is forgotten, as S3 buckets are set up."""
        check_key(key)
        with self._writing():
            return self._uploads.create(key)

    def upload_part(
        self, key: str, upload_id: str, number: int, data: Payload, *, digest: str | None = None
    ) -> UploadedPart:
        """Write part ``number`` to its place in the file that becomes the object."""
        check_key(key)
        if isinstance(data, PacedBytes):
            data.pace(len(data))  # as a whole, before the upload is locked: other parts wait for that lock
        with self._writing():
            return self._uploads.write(key, upload_id, number, unpaced(data), digest)

    def list_parts(self, key: str, upload_id: str) -> list[UploadedPart]:
        """The parts that are durably written, by number."""
        check_key(key)
        with explained(self._root):
            return self._uploads.parts(key, upload_id)

    def complete_upload(
        self, key: str, upload_id: str, parts: Sequence[UploadedPart], crc32: int | None = None
    ) -> ObjectInfo:
        """Give the finished file its name unless the key is taken. No byte is copied, nor read to check ``crc32``."""
        path = self._path(key)
        with self._writing():
            if path.is_file():
                self._uploads.forget_if_completed(upload_id, path)
                raise self._taken(key)
            with self._uploads.finished(key, upload_id, parts) as source, self._locked(key):
                info = _info_of(key, source.stat())
                try:
                    place(source, path, self._root, exclusive=True)
                except FileExistsError:
                    raise self._taken(key) from None
            self._uploads.discard(upload_id)
            return info

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Forget an upload; an unknown one is no error."""
        check_key(key)
        with self._writing():
            self._uploads.abort(key, upload_id)

    def restore_state(self, key: str, version_id: str | None) -> RestoreState:
        """Everything in a folder is available."""
        return RestoreState("available")

    def request_restore(
        self, key: str, version_id: str | None, *, days: int, retrieval: Retrieval = "standard"
    ) -> RestoreState:
        """Nothing to ask for: everything in a folder is available."""
        check_request(days, retrieval)
        return RestoreState("available")

    def _taken(self, key: str) -> AlreadyExistsError:
        return AlreadyExistsError(f"{key} already exists in {self._url} and is left as it is")

    def _moved(self, key: str) -> CasConflictError:
        return CasConflictError(f"{key} in {self._url} was changed by another writer; read it again")


def _store_error(error: OSError, root: Path) -> UserError:
    """The one line for an ``OSError`` that happened in the store at ``root``."""
    place = error.filename if isinstance(error.filename, str) else str(root)
    if error.errno in _FULL:
        limit = "the file-size limit is reached" if error.errno == errno.EFBIG else "the disk or quota is full"
        return StoreUnavailableError(f"cannot write to {root}: {limit}; free space or raise the quota, then run again")
    if error.errno in (errno.EACCES, errno.EPERM):
        user = f"user id {os.geteuid()}"
        return StoreUnavailableError(f"no permission for {place}; give {user} access to {root}", transient=False)
    if error.errno == errno.EROFS:
        return StoreUnavailableError(f"{root} is mounted read-only; mount it writable to store there", transient=False)
    if error.errno in (errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY):
        return BadInputError(
            f"{place} is in the way: in a folder an object cannot also be the beginning of another one's key; "
            "use another key or remove it"
        )
    if error.errno == errno.EXDEV:
        return StoreUnavailableError(
            f"{place} lies on another file system than {root}, where nothing can be moved into place at once; "
            "use one file system for the whole store",
            transient=False,
        )
    if error.errno in NO_LOCKS:
        return StoreUnavailableError(
            f"{root} does not support file locks; mount it with locking or use S3", transient=False
        )
    if error.errno == errno.ENOENT:
        return _folder_gone(root)
    reason = error.strerror or str(error)
    return StoreUnavailableError(f"{root} does not work: {reason}; check the disk or the network mount, then run again")


def _folder_gone(root: Path) -> StoreUnavailableError:
    """The store's folder was there when it was opened and is not now."""
    return StoreUnavailableError(f"the store's folder {root} is missing; mount or restore it, then run again")


@contextmanager
def explained(root: Path) -> Iterator[None]:
    """Turn any ``OSError`` inside into one line that tells what to do."""
    try:
        yield
    except OSError as error:
        raise _store_error(error, root) from error


def _etag_of(status: os.stat_result) -> str:
    """Modification time and size: what every write changes, see ``folder_files.stamp_after``."""
    return f"{status.st_mtime_ns:x}-{status.st_size:x}"


def _info_of(key: str, status: os.stat_result) -> ObjectInfo:
    """A file's status as information about the object."""
    moment = datetime.fromtimestamp(status.st_mtime_ns // 1_000_000 / 1000, UTC)
    return ObjectInfo(key=key, size=status.st_size, etag=_etag_of(status), modified_at=moment)


def _stat_or_none(path: Path) -> os.stat_result | None:
    """The status of a file, None when there is none."""
    try:
        return path.stat()
    except ABSENT:
        return None


def _walk(root: Path, folder: str, prefix: str, after: str) -> Iterator[ObjectInfo]:
    """Objects under ``folder`` (``""`` or ending in ``/``); skips what cannot match without looking into it."""
    try:
        with os.scandir(root / folder) as entries:
            # A folder sorts as its objects do, with the slash: "a-b" comes before "a/b".
            names = sorted(f"{folder}{entry.name}{'/' if entry.is_dir() else ''}" for entry in entries)
    except ABSENT:
        return  # pruned meanwhile
    for name in names:
        if name.endswith("/"):
            matches = name.startswith(prefix) or prefix.startswith(name)
            passed = name < after and not after.startswith(name)
            if matches and not passed and key_problem(name + "x") is None:
                yield from _walk(root, name, prefix, after)
        elif name.startswith(prefix) and name > after and key_problem(name) is None:
            try:
                yield _info_of(name, (root / name).stat())
            except ABSENT:
                continue  # deleted meanwhile
