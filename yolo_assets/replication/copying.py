"""Copies one archive, or one small object, from one place to another: hashed on the way, verified where it arrives.

The archive comes first, its index second, its receipt last: the second place never has a receipt without what it speaks
of. Nothing is overwritten. Uploads are the archiver's (``archive.upload``), so one that was killed is resumed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import orjson

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.options import VerifyHow
from yolo_assets.archive.packing.pack import HashedParts, PartBuffers
from yolo_assets.archive.part import at_version
from yolo_assets.archive.part_plan import PART_SIZE, part_size_for
from yolo_assets.archive.retention import protect
from yolo_assets.archive.upload import KeyTakenError, UploadJournal, upload, verify_stored
from yolo_assets.contracts.copies import CopiedArchive
from yolo_assets.contracts.errors import IntegrityError, UserError
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.times import utc_now
from yolo_assets.runtime.files import write_atomic
from yolo_assets.storage.base import (
    NoObjectLockError,
    ObjectInfo,
    ObjectStore,
    Retention,
    StoreUnavailableError,
    UploadGoneError,
)

_STARTS = 4
"""How often an upload is begun again that the second place forgot."""
_MOST_WHOLE = PART_SIZE
"""Up to this size an object is one put: what a kill costs is at most the parts that are on their way."""


@dataclass
class CopiedParts(HashedParts):
    """The bytes of an object that lies in another place; its last part is held back unless all of it is right.

    Attributes:
        key: for messages.
        chunks: reads the object from its beginning.
        expected_size: bytes that it must have.
        expected_sha256: hash that it must have; None: it has none that is signed.
        part_size: bytes of an upload part.
    """

    key: str
    chunks: Callable[[], Iterator[bytes]]
    expected_size: int
    expected_sha256: str | None
    part_size: int
    buffers: PartBuffers = field(default_factory=PartBuffers)
    size: int = 0
    sha256: str = ""
    md5: str = ""
    crc32: str = ""
    part_count: int = 0

    def _stream(self) -> Iterator[bytes | memoryview]:
        yield from self.chunks()

    def _most(self) -> int:
        return max(1, self.expected_size)

    def _check(self) -> None:
        if self.size != self.expected_size or self.expected_sha256 not in (None, self.sha256):
            raise IntegrityError(f"{self.key} is not what its receipt says in the place it is copied from; not copied")


@dataclass
class CopyCounts:
    """What a run did so far.

    Attributes:
        archives: copied.
        archive_bytes: of them.
        objects: other objects that were copied: audits, checkpoints, keys, statements, catalogs.
        parts_sent: upload parts that travelled.
        parts_resumed: upload parts that the second place held already.
        without_lock: archives whose retention the second place cannot keep.
        without_hold: archives whose legal hold the second place cannot keep.
    """

    archives: int = 0
    archive_bytes: int = 0
    objects: int = 0
    parts_sent: int = 0
    parts_resumed: int = 0
    without_lock: int = 0
    without_hold: int = 0


@dataclass
class Copier:
    """Copies single archives and objects between two places. Safe to share between threads, except ``counts``.

    Attributes:
        first: where from.
        copy: where to.
        folder: of the journals of uploads under way.
        verify: how what arrived is verified, as by the archiver.
        buffers: memory for parts.
    """

    first: Archive
    copy: Archive
    folder: Path
    verify: VerifyHow = "head"
    buffers: PartBuffers = field(default_factory=PartBuffers)
    _locks: dict[str, bool] = field(default_factory=dict[str, bool])

    def archive(
        self, name: ArchiveName, before: Callable[[CopiedArchive], None] = lambda _: None
    ) -> tuple[CopiedArchive, CopyCounts]:
        """Copy an archive with its index and its receipt.

        Args:
            name: which.
            before: called when all but the receipt is there.

        Raises:
            UserError: it cannot be copied as it is; nothing of it counts in the second place, run again.
        """
        data, receipt = self.first.read_receipt(name)
        part, counts = self.first.part(receipt), CopyCounts(archives=1, archive_bytes=receipt.archive_size)
        retention = _retention(receipt)
        held = self._is_held(name, receipt)
        info = self._send(
            receipt.archive_key,
            lambda: at_version(
                part.store, receipt, lambda version: part.store.stream(receipt.archive_key, version_id=version)
            ),
            receipt.archive_size,
            receipt.sha256,
            counts,
        )
        index = part.read_index()[0]
        for there in (info, self._send_bytes(name.index_key, index, counts)):
            self._protect(there, retention, held, counts)
        copied = CopiedArchive(
            name=name.stem,
            receipt_sha256=hashlib.sha256(data).hexdigest(),
            size=receipt.archive_size,
            etag=info.etag,
            version_id=info.version_id,
            locked=retention is not None and self._keeps_locks(info),
        )
        before(copied)
        self._protect(self._send_bytes(name.receipt_key, data, counts), retention, held, counts)
        return copied, counts

    def object(self, store: ObjectStore, key: str, size: int, sha256: str | None = None) -> CopyCounts:
        """Copy any other object that is written once.

        Args:
            store: where from.
            key: of the object.
            size: bytes, as listed.
            sha256: that it must have, where it is known.

        Raises:
            UserError: see ``archive``.
        """
        counts = CopyCounts(objects=1)
        self._send(key, lambda: store.stream(key), size, sha256, counts)
        return counts

    def _send_bytes(self, key: str, data: bytes, counts: CopyCounts) -> ObjectInfo:
        return self._send(key, lambda: iter((data,)), len(data), hashlib.sha256(data).hexdigest(), counts)

    def _send(
        self, key: str, chunks: Callable[[], Iterator[bytes]], size: int, sha256: str | None, counts: CopyCounts
    ) -> ObjectInfo:
        """Send an object unless it is there already, and verify what arrived."""
        store, note = self.copy.store, self.folder / hashlib.sha256(key.encode()).hexdigest()[:24]
        journal = UploadJournal(note.with_suffix(".parts"), partial(_remember, note, key))
        for _ in range(_STARTS):
            parts = CopiedParts(key, chunks, size, sha256, part_size_for(size, PART_SIZE, _MOST_WHOLE), self.buffers)
            try:
                uploaded = upload(store, key, _remembered(note, key), parts, journal)
            except UploadGoneError:
                continue
            except KeyTakenError:
                raise IntegrityError(
                    f"{key} holds other bytes in {store.url} than in {self.first.url}; compare them with: "
                    "yolo-assets archive verify --both"
                ) from None
            info = verify_stored(store, key, parts, uploaded, full=self.verify == "full")
            note.unlink(missing_ok=True)
            journal.file.unlink(missing_ok=True)
            counts.parts_sent += uploaded.sent
            counts.parts_resumed += uploaded.resumed
            return info
        raise StoreUnavailableError(f"{store.url} forgot {_STARTS} uploads of {key}; run again")

    def _is_held(self, name: ArchiveName, receipt: Receipt) -> bool:
        lock = self.first.store.object_lock
        if lock is None or receipt.version_id is None or self._locks.get(self.first.url) is False:
            return False
        try:
            return lock.get_legal_hold(name.receipt_key, None)
        except NoObjectLockError:
            self._locks[self.first.url] = False
            return False

    def _keeps_locks(self, info: ObjectInfo) -> bool:
        """Whether the second place has object lock; asked once, about an object that is there."""
        lock, url = self.copy.store.object_lock, self.copy.url
        if url not in self._locks:
            try:
                if lock is not None:
                    lock.get_retention(info.key, info.version_id)
                self._locks[url] = lock is not None
            except NoObjectLockError:
                self._locks[url] = False
        return self._locks[url]

    def _protect(self, info: ObjectInfo, retention: Retention | None, held: bool, counts: CopyCounts) -> None:
        """Give an object that arrived the retention and the hold of the first place; count where there is no lock."""
        store = self.copy.store
        if retention is None and not held:
            return
        if not self._keeps_locks(info):
            counts.without_lock, counts.without_hold = int(retention is not None), int(held)
            return
        if retention is not None:
            protect(store, info.key, info.version_id, retention)
        if held and store.object_lock is not None:
            store.object_lock.set_legal_hold(info.key, info.version_id, True)
            if not store.object_lock.get_legal_hold(info.key, info.version_id):
                raise UserError(f"{store.url} did not set the legal hold of {info.key}; run again")


def _retention(receipt: Receipt) -> Retention | None:
    """What the second place must keep; None: nothing is promised any more."""
    if receipt.retention_until is None or receipt.retention_mode is None or receipt.retention_until <= utc_now():
        return None
    return Retention(receipt.retention_until, receipt.retention_mode)


def _remember(note: Path, key: str, upload_id: str | None) -> bool:
    if upload_id is None:
        note.unlink(missing_ok=True)
        return True
    write_atomic(note, orjson.dumps({"key": key, "upload_id": upload_id}))
    return True


def _remembered(note: Path, key: str) -> str | None:
    try:
        found = orjson.loads(note.read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return None
    return found.get("upload_id") if isinstance(found, dict) and found.get("key") == key else None
