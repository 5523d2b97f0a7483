"""Moves an object into a store: sends only what is missing, and never overwrites anything.

Small ones are sent as one conditional put, others as a resumable multipart upload whose id is on disk before the first
part is sent. After a crash the same bytes are made again: packed from the spool, or read from the place that is copied.
Parts that the store holds already are not sent again.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import deque
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from yolo_assets.archive.packing.pack import HashedParts, PackedPart
from yolo_assets.archive.part_plan import save_plan
from yolo_assets.contracts.errors import IntegrityError, UserError
from yolo_assets.contracts.names import PARTS
from yolo_assets.contracts.spool import ArchivePlan
from yolo_assets.runtime.files import is_full
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.storage.base import (
    AlreadyExistsError,
    ObjectInfo,
    ObjectStore,
    UploadedPart,
    UploadGoneError,
    multipart_etag,
)
from yolo_assets.storage.retrying import read_whole

_MD5_ETAG = re.compile(r"[0-9a-f]{32}(-\d+)?")
CONCURRENCY = 3
"""Upload parts on the way at once."""


class KeyTakenError(UserError):
    """Another archive lies under the key: this one needs the next part number."""


@dataclass(frozen=True)
class UploadJournal:
    """What an upload leaves on disk while it is under way, so that another process can resume it.

    The upload's id is durable before the first byte travels. The parts that arrived save
    hashing what the store holds once more, and a store whose part ETags are no MD5 (encrypted with KMS, Aliyun) cannot
    tell by itself what it holds. A line that was lost costs the one or the other. Safe to write from several threads.

    Attributes:
        file: notes the parts that arrived.
        planned: writes down the upload's id, or that there is none; durable when it returns. False: the disk has no
            room for it, see ``save_plan``.
    """

    file: Path
    planned: Callable[[str | None], bool]

    @classmethod
    def of(cls, hour: SpoolHour, plan: ArchivePlan) -> UploadJournal:
        """Of an hour of the spool: ``.archiving.json`` and ``.archiving.parts``."""

        def planned(upload_id: str | None) -> bool:
            return save_plan(hour, plan.model_copy(update={"upload_id": upload_id}))

        return cls(hour.notes / PARTS, planned)

    def arrived(self, upload_id: str, number: int, digest: str, etag: str) -> None:
        """Note that the store took a part, and what it called it."""
        line = f"{number} {digest} {etag} {upload_id}\n".encode()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            descriptor = os.open(self.file, flags, 0o644)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)
        except OSError as error:
            if not is_full(error):
                raise

    def parts(self, upload_id: str) -> dict[int, tuple[str, str]]:
        """Digest and ETag of the parts that were noted for an upload, by number.

        The digest is ``PackedPart.digest``; in what an earlier version noted, the MD5 of the part.
        """
        try:
            lines = self.file.read_text("utf-8", "replace").splitlines()
        except FileNotFoundError:
            return {}
        fields = (line.split(" ", 3) for line in lines)
        return {
            int(field[0]): (field[1], field[2])
            for field in fields
            if len(field) == 4 and field[3] == upload_id and field[0].isdecimal()
        }


@dataclass(frozen=True)
class Uploaded:
    """What an upload did.

    Attributes:
        info: the object as the store answered when it was written, or as it was found.
        sent: upload parts that travelled.
        resumed: upload parts that the store held already.
        part_etags: of the parts that it is made of, in order; none when it was one put.
    """

    info: ObjectInfo
    sent: int
    resumed: int
    part_etags: tuple[str, ...] = ()


def upload(
    store: ObjectStore, key: str, upload_id: str | None, packing: HashedParts, journal: UploadJournal
) -> Uploaded:
    """Make the parts and send them in one pass.

    Args:
        store: the root.
        key: of the object.
        upload_id: of a multipart upload that was begun before; it is on disk, unless that is full.
        packing: fresh; consumed by this.
        journal: of this object.

    Raises:
        KeyTakenError: other bytes lie under the key.
        UploadGoneError: the multipart upload is gone; the journal was rewritten without it, start over.
        MemberChangedError: see ``Packing.parts``.
        StoreUnavailableError: the journal stays; a later run resumes it.
    """
    there = store.head(key)
    if there is not None:  # a Complete of ours that succeeded unseen, or another object
        part_etags: list[str] = []
        for part in packing.parts():
            part_etags.append(part.md5())
            part.release()
        return _adopt(store, there, packing, tuple(part_etags))
    held: dict[int, UploadedPart] = {}
    if upload_id is not None:
        try:
            held = {part.number: part for part in store.list_parts(key, upload_id)}
        except UploadGoneError:
            upload_id = None
            journal.planned(None)
    try:
        with _aborting(store, key) as unremembered:
            return _send(store, key, upload_id, packing, held, journal, unremembered)
    except UploadGoneError:
        journal.planned(None)
        raise
    except AlreadyExistsError:
        there = store.head(key)
        if there is None:
            raise
        return _adopt(store, there, packing, ())


def verify_stored(store: ObjectStore, key: str, packing: HashedParts, uploaded: Uploaded, *, full: bool) -> ObjectInfo:
    """Check what the store holds against what was packed.

    Each part was refused unless it arrived as it was sent: ``S3Uploads.send_part``. So the ETags that the store gave
    the parts stand for their bytes, and the ETag of the whole for all of them.

    Args:
        store: the archive root.
        key: of the archive.
        packing: finished.
        uploaded: what the store answered to the upload.
        full: read every byte back; else size and ETag, and the bytes only where the ETag proves nothing.

    Raises:
        IntegrityError: the store holds something else.
    """
    info = store.head(key)
    if info is None:
        raise IntegrityError(f"the store lost {key} right after the upload; nothing was deleted here, run again")
    if info.size != packing.size:
        raise IntegrityError(f"the store holds {info.size} bytes of {key}, {packing.size} were sent; run again")
    if info.checksum_crc32 not in (None, packing.crc32):
        raise IntegrityError(
            f"the store has CRC-32 {info.checksum_crc32} of {key}, {packing.crc32} was sent; nothing was deleted here"
        )
    # An ETag in the form of an MD5 must be the right one; an opaque one proves that nothing was written after it.
    opaque = not _MD5_ETAG.fullmatch(info.etag)
    proven = info.etag in _expected_etags(packing, uploaded.part_etags) or (opaque and info.etag == uploaded.info.etag)
    if (full or not proven) and not _same_bytes(store, info, packing):
        raise IntegrityError(f"the store returns other bytes of {key} than were sent; nothing was deleted here")
    return info


@contextmanager
def _aborting(store: ObjectStore, key: str) -> Generator[list[str]]:
    """Collects uploads that no plan on disk remembers. When they fail nothing can resume them: they are aborted."""
    unremembered: list[str] = []
    try:
        yield unremembered
    except BaseException:
        for upload_id in unremembered:
            with suppress(UserError, OSError):  # the store is away; its rule for old uploads takes them
                store.abort_upload(key, upload_id)
        raise


def _send(
    store: ObjectStore,
    key: str,
    upload_id: str | None,
    packing: HashedParts,
    held: dict[int, UploadedPart],
    journal: UploadJournal,
    unremembered: list[str],
) -> Uploaded:
    noted = {} if upload_id is None else journal.parts(upload_id)
    done: list[UploadedPart] = []
    going: deque[Future[UploadedPart]] = deque()
    sent = 0
    with ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="upload") as pool:
        try:
            for part in packing.parts():
                if part.last and part.number == 1 and upload_id is None:
                    info = store.put_if_absent(key, part.data, md5=packing.md5)
                    part.release()
                    return Uploaded(info, 1, 0)
                if upload_id is None:
                    upload_id = store.create_upload(key)
                    if not journal.planned(upload_id):
                        unremembered.append(upload_id)
                if _is_held(held.get(part.number), part, noted):
                    done.append(held[part.number])
                    part.release()
                    continue
                if len(going) >= CONCURRENCY:
                    done.append(going.popleft().result())
                going.append(pool.submit(_send_part, store, key, upload_id, part, journal))
                sent += 1
            done.extend(future.result() for future in going)
        except BaseException:
            for future in going:
                future.cancel()
            raise
    if upload_id is None:
        raise AssertionError("an archive has at least its end blocks")
    done.sort(key=lambda part: part.number)
    info = store.complete_upload(key, upload_id, done, int(packing.crc32, 16))
    return Uploaded(info, sent, len(done) - sent, tuple(part.etag for part in done))


def _send_part(store: ObjectStore, key: str, upload_id: str, part: PackedPart, journal: UploadJournal) -> UploadedPart:
    sent = store.upload_part(key, upload_id, part.number, part.data, digest=part.digest)
    journal.arrived(upload_id, sent.number, part.digest, sent.etag)
    part.release()
    return sent


def _is_held(held: UploadedPart | None, part: PackedPart, noted: Mapping[int, tuple[str, str]]) -> bool:
    """Whether the store has these bytes: its ETag is the one it gave when it took just these bytes, or their MD5."""
    if held is None or held.size != len(part.data):
        return False
    digest, etag = noted.get(part.number, ("", held.etag))
    if part.digest in (held.etag, digest) and etag == held.etag:
        return True
    md5 = part.md5()
    return md5 in (held.etag, digest if etag == held.etag else "")


def _adopt(store: ObjectStore, there: ObjectInfo, packing: HashedParts, part_etags: tuple[str, ...]) -> Uploaded:
    expected = _expected_etags(packing, part_etags)
    if there.size != packing.size or not (there.etag in expected or _same_bytes(store, there, packing)):
        raise KeyTakenError(f"{there.key} holds another archive and is never overwritten")
    return Uploaded(there, 0, packing.part_count, part_etags)


def _expected_etags(packing: HashedParts, part_etags: tuple[str, ...]) -> tuple[str, ...]:
    """ETags that plain S3 gives these bytes. No other store's ETag can look so by chance."""
    joined = multipart_etag(part_etags)
    return (packing.md5,) if joined is None else (packing.md5, joined)


def stored_sha256(store: ObjectStore, key: str, version_id: str | None) -> str:
    """SHA-256 of an object, every byte read back."""

    def read() -> str:
        digest = hashlib.sha256()
        for chunk in store.stream(key, version_id=version_id):
            digest.update(chunk)
        return digest.hexdigest()

    return read_whole(read)


def _same_bytes(store: ObjectStore, info: ObjectInfo, packing: HashedParts) -> bool:
    return stored_sha256(store, info.key, info.version_id) == packing.sha256
