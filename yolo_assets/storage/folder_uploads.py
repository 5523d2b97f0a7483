"""Multipart uploads into a folder: one file that grows, and a journal of the parts that are durably in it.

``uploads/<id>/journal`` has one JSON line per fact: the key, then each part written or withdrawn. ``uploads/<id>/data``
is the object-to-be; part n lies at (n - 1) x the size of part 1, so completing is a link, not a copy. A part that
arrives before part 1 has no place yet and waits in ``early-<n>``. A part is journalled after its bytes are synced, so
what the journal records survives ``kill -9`` and power loss; a line cut short by either does not count.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.runtime.files import write_all
from yolo_assets.storage.base import UploadedPart, UploadGoneError
from yolo_assets.storage.folder_files import discard, lock, set_time, sync_folder, temporary
from yolo_assets.storage.keys import check_part_number, check_parts

KEPT_SECONDS = 7 * 86400.0
"""An upload untouched for so long is forgotten: the age at which S3 buckets are commonly set to abort them."""

_ID = re.compile(r"[0-9a-f]{32}")


@dataclass
class _Upload:
    """What a journal records. ``part_size`` is that of the first part 1 ever written: places depend on it for good."""

    folder: Path
    journal: int
    key: str = ""
    part_size: int | None = None
    parts: dict[int, UploadedPart] = field(default_factory=dict)
    early: set[int] = field(default_factory=set)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def early_file(self, number: int) -> Path:
        return self.folder / f"early-{number}"

    def read(self) -> None:
        size = os.fstat(self.journal).st_size
        text = os.pread(self.journal, size, 0)
        whole = text.rfind(b"\n") + 1
        if whole != size:  # the last line was cut short by a kill: what it was to record did not happen
            os.ftruncate(self.journal, whole)
        for line in text[:whole].splitlines():
            self._apply(orjson.loads(line))

    def write(self, entry: dict[str, int | str | bool]) -> None:
        write_all(self.journal, orjson.dumps(entry) + b"\n", os.fstat(self.journal).st_size)
        os.fsync(self.journal)
        self._apply(entry)

    def _apply(self, entry: dict) -> None:
        if "key" in entry:
            self.key = entry["key"]
        elif "withdrawn" in entry:
            self.parts.pop(entry["withdrawn"], None)
            self.early.discard(entry["withdrawn"])
        else:
            number = entry["part"]
            # An upload that an earlier version began names its parts by MD5.
            self.parts[number] = UploadedPart(number, entry["size"], entry.get("digest") or entry["md5"])
            (self.early.add if entry["early"] else self.early.discard)(number)
            if number == 1 and self.part_size is None:
                self.part_size = entry["size"]


class Uploads:
    """All unfinished uploads of one store. Methods raise ``OSError`` for what the file system refuses."""

    def __init__(self, folder: Path, trash: Path) -> None:
        self._folder = folder
        self._trash = trash

    def create(self, key: str) -> str:
        """Begin an upload; it is durable when this returns."""
        upload_id = uuid.uuid4().hex
        folder = self._folder / upload_id
        folder.mkdir()
        with temporary(self._trash, orjson.dumps({"key": key}) + b"\n") as source:
            source.replace(folder / "journal")
        (folder / "data").touch()
        sync_folder(folder)
        sync_folder(self._folder)
        return upload_id

    @contextmanager
    def _open(self, key: str, upload_id: str) -> Iterator[_Upload]:
        """The upload, locked against every other use of it.

        Raises:
            UploadGoneError: no such upload of that key, or it is completed. A completed one's data file is the object
                itself when a kill came between the link and the clean-up: writing on would change the object.
        """
        gone = UploadGoneError(f"the upload {upload_id} of {key} is unknown to the folder; start it again")
        folder = self._folder / upload_id
        if not _ID.fullmatch(upload_id):
            raise gone
        try:
            journal = os.open(folder / "journal", os.O_RDWR)
        except FileNotFoundError:
            raise gone from None
        try:
            lock(journal)
            try:
                there = os.path.samestat(os.fstat(journal), (folder / "journal").stat())
                links = (folder / "data").stat().st_nlink
            except FileNotFoundError:
                raise gone from None
            upload = _Upload(folder, journal)
            upload.read()
            if not there or links > 1 or upload.key != key:
                raise gone
            yield upload
        finally:
            os.close(journal)

    def write(
        self, key: str, upload_id: str, number: int, data: bytes | memoryview, digest: str | None = None
    ) -> UploadedPart:
        """Write one part durably; the same bytes again, by their digest, are not written again.

        Raises:
            BadInputError: longer than part 1, or another part 1 of another size.
            UploadGoneError: no such upload.
        """
        check_part_number(key, number)
        part = UploadedPart(number, len(data), digest or hashlib.sha256(data).hexdigest())
        with self._open(key, upload_id) as upload:
            if upload.parts.get(number) == part:
                return part
            size = upload.part_size if upload.part_size is not None else (len(data) if number == 1 else None)
            if size is not None and (len(data) > size or (number == 1 and len(data) != size)):
                raise BadInputError(
                    f"part {number} of {key} has {len(data)} bytes and part 1 had {size}; "
                    "all parts but the last are of one size"
                )
            if number in upload.parts:  # its bytes are about to change: until they are durable there is no such part
                upload.write({"withdrawn": number})
            if size is None:
                _write_durably(upload.early_file(number), data, 0)
                sync_folder(upload.folder)
            else:
                _write_durably(upload.data, data, (number - 1) * size)
            upload.write({"part": number, "size": part.size, "digest": part.etag, "early": size is None})
            _move_early_parts(upload)
        return part

    def parts(self, key: str, upload_id: str) -> list[UploadedPart]:
        """The parts that are durably there, by number."""
        with self._open(key, upload_id) as upload:
            return sorted(upload.parts.values(), key=lambda part: part.number)

    @contextmanager
    def finished(self, key: str, upload_id: str, parts: Sequence[UploadedPart]) -> Iterator[Path]:
        """The whole object as one durable file, ready to be given its name inside the block.

        Raises:
            UploadGoneError: no such upload, or it does not hold the parts as listed.
            BadInputError: gaps or uneven sizes.
        """
        with self._open(key, upload_id) as upload:
            check_parts(key, parts)
            for part in parts:
                if upload.parts.get(part.number) != part:
                    raise UploadGoneError(f"part {part.number} of {key} is not in the folder as listed; start it again")
            _move_early_parts(upload)
            with upload.data.open("r+b") as file:
                file.truncate(sum(part.size for part in parts))
                set_time(file.fileno(), time.time_ns())
                os.fsync(file.fileno())
            yield upload.data

    def forget_if_completed(self, upload_id: str, target: Path) -> None:
        """Clean up an upload whose Complete was killed after the object had got its name."""
        data = self._folder / upload_id / "data"
        if _ID.fullmatch(upload_id) and data.exists() and data.samefile(target):
            self.discard(upload_id)

    def discard(self, upload_id: str) -> None:
        """Remove what remains of an upload."""
        discard(self._folder / upload_id, self._trash)

    def abort(self, key: str, upload_id: str) -> None:
        """Remove an upload of ``key``; no error when there is none."""
        try:
            with self._open(key, upload_id):
                self.discard(upload_id)
        except UploadGoneError:
            return

    def sweep(self) -> None:
        """Remove uploads that no one touched for ``KEPT_SECONDS``, and those that were killed while they began."""
        for folder in list(self._folder.iterdir()):
            try:
                newest = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
                if time.time() - newest > KEPT_SECONDS:
                    discard(folder, self._trash)
            except OSError:
                continue


def _write_durably(path: Path, data: bytes | memoryview, offset: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        write_all(fd, data, offset)
        os.fsync(fd)
    finally:
        os.close(fd)


def _move_early_parts(upload: _Upload) -> None:
    """Move parts that came before part 1 to their places, once these are known; a crash half-way repeats the move."""
    if upload.part_size is None:
        return
    for number in sorted(upload.early):
        part = upload.parts[number]
        if part.size > upload.part_size:
            raise BadInputError(
                f"part {number} of {upload.key} is longer than part 1; all but the last are of one size"
            )
        source = upload.early_file(number)
        with source.open("rb") as early, upload.data.open("r+b") as data:
            data.seek((number - 1) * upload.part_size)
            shutil.copyfileobj(early, data, 1 << 20)
            data.flush()
            os.fsync(data.fileno())
        upload.write({"part": number, "size": part.size, "digest": part.etag, "early": False})
        source.unlink(missing_ok=True)
