"""The interface that every store offers, and the errors it raises. No implementation here."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import GeneratorType
from typing import Literal, Protocol, Self, runtime_checkable

from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.storage.cold import RestoreState, Retrieval, standard_wait


class ObjectNotFoundError(UserError):
    """No object under that key."""


class AlreadyExistsError(UserError):
    """A put-if-absent found an object under the key; the stored one is untouched."""


class CasConflictError(UserError):
    """A compare-and-swap lost: another writer replaced the object since it was read."""

    may_pass = True


class StoreUnavailableError(UserError):
    """The store cannot be reached, or refuses us: network, credentials, bucket, folder, disk full.

    Attributes:
        transient: whether trying again can help without anyone's intervention: a cut connection, a busy server. Only
            these are retried.
    """

    may_pass = True

    def __init__(self, message: str, *, transient: bool = True) -> None:
        super().__init__(message)
        self.transient = transient


class UploadGoneError(UserError):
    """A multipart upload that was to be resumed is unknown to the store: expired, aborted or completed."""

    may_pass = True


class NoObjectLockError(UserError):
    """The bucket, or the store as a whole, has no object lock: nothing in it can be made unalterable."""


class ObjectChangedError(StoreUnavailableError):
    """The object was replaced while it was being read: the rest belongs to other bytes. Reading it anew helps."""


class ObjectDamagedError(StoreUnavailableError):
    """All of an object was read, and only its end showed that bytes were damaged on the way. Reading it anew helps."""


class ColdObjectError(StoreUnavailableError):
    """The object lies in a cold tier and cannot be read at once. Trying again soon does not help.

    Attributes:
        tier: the storage class or access tier, None when the store does not report it.
    """

    def __init__(self, name: str, tier: str | None) -> None:
        where = f"the cold tier {tier}" if tier else "a cold tier"
        wait = standard_wait(tier)
        takes = f"; standard retrieval takes {wait}" if wait else ""
        super().__init__(
            f"{name} is in {where} that cannot be read at once; yolo-assets restore asks the store for it{takes}",
            transient=False,
        )
        self.tier = tier


Pace = Callable[[int], None]
"""Waits until so many bytes may be sent."""


@dataclass(frozen=True)
class PacedBytes:
    """Bytes that are to be sent no faster than ``pace`` allows: the store asks it before each piece goes out."""

    data: memoryview
    pace: Pace

    def __len__(self) -> int:
        return len(self.data)


Payload = bytes | memoryview | PacedBytes
"""What is written to a store. A view is not copied and must stay unchanged until the call returns."""


def unpaced(data: Payload) -> bytes | memoryview:
    """The bytes of a payload, without their pace."""
    return data.data if isinstance(data, PacedBytes) else data


@dataclass(frozen=True)
class ObjectInfo:
    """What a store reports about an object.

    Attributes:
        key: relative to the store's root.
        size: bytes.
        etag: opaque; changes whenever the bytes change; without quotes. A folder's also changes when the same bytes
            are written again, S3's is a hash of the bytes and does not. Either is good for a compare-and-swap, which
            asks "is it still what I read?": bytes that went away and came back are what was read.
        modified_at: the store's clock.
        version_id: where the store keeps versions.
        storage_class: the store's name for the tier it lies in, where the store reports it.
        checksum_crc32: CRC-32 of the whole object, eight hexadecimal digits, where the store keeps and reports one:
            never in a listing, and after a write only by some stores; a HEAD tells.
        deleted: a delete marker, which only ``ObjectLock.versions`` and ``hidden`` return: no bytes, but it hides the
            versions under it.
    """

    key: str
    size: int
    etag: str
    modified_at: datetime
    version_id: str | None = None
    storage_class: str | None = None
    checksum_crc32: str | None = None
    deleted: bool = False


@dataclass(frozen=True)
class UploadedPart:
    """One part of a multipart upload, as the store lists it.

    Attributes:
        number: from 1.
        size: bytes.
        etag: the part's MD5 in hexadecimal for plain S3; opaque elsewhere, in a folder the digest that the caller gave.
        checksum_crc32: eight hexadecimal digits, where the store keeps one: to be handed back to ``complete_upload``.
    """

    number: int
    size: int
    etag: str
    checksum_crc32: str | None = None


_MD5 = re.compile(r"[0-9a-f]{32}")


def multipart_etag(part_etags: Sequence[str]) -> str | None:
    """The etag that plain S3 gives an object made of parts; None when theirs are no MD5, or there are none."""
    if not part_etags or not all(map(_MD5.fullmatch, part_etags)):
        return None
    joined = hashlib.md5(b"".join(map(bytes.fromhex, part_etags)), usedforsecurity=False)
    return f"{joined.hexdigest()}-{len(part_etags)}"


class ObjectStream(Iterator[bytes]):
    """The chunks of one object, and which object they belong to."""

    def __init__(self, info: ObjectInfo, chunks: Iterator[bytes]) -> None:
        self.info = info
        self._chunks = chunks

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        return next(self._chunks)

    def close(self) -> None:
        """Give up the rest, with the file or connection behind it."""
        if isinstance(self._chunks, GeneratorType | ObjectStream):
            self._chunks.close()


RetentionMode = Literal["compliance", "governance"]


@dataclass(frozen=True)
class Retention:
    """Until when a version can be neither deleted nor changed.

    Attributes:
        until: aware. Stores keep whole seconds; what is asked of them is rounded up.
        mode: ``compliance``: no one can shorten it, not even the owner of the account; ``governance``: those who have
            the right to bypass it can.
    """

    until: datetime
    mode: RetentionMode

    def __post_init__(self) -> None:
        if self.until.tzinfo is None:
            raise BadInputError(f"the retention until {self.until.isoformat()} has no zone; give UTC")

    def covers(self, other: Retention) -> bool:
        """Whether this one lasts at least as long as ``other`` and is at least as strict."""
        return self.until >= other.until and (self.mode == "compliance" or other.mode == "governance")

    def joined(self, other: Retention) -> Retention:
        """The weakest retention that covers both."""
        strict = "compliance" in (self.mode, other.mode)
        return Retention(max(self.until, other.until), "compliance" if strict else "governance")


@runtime_checkable
class ObjectLock(Protocol):
    """What a store with versions and locks offers besides ``ObjectStore``: see ``ObjectStore.object_lock``.

    A version id may be None: then the newest version is meant. Every method may raise ``StoreUnavailableError``, those
    of retention and hold also ``NoObjectLockError`` (the bucket has no lock) and ``ObjectNotFoundError``.
    """

    def get_retention(self, key: str, version_id: str | None) -> Retention | None:
        """The retention of one version, None when it has none."""
        ...

    def set_retention(self, key: str, version_id: str | None, retention: Retention) -> None:
        """Ask for a retention. The store refuses to shorten one, with ``StoreUnavailableError``, not transient."""
        ...

    def get_legal_hold(self, key: str, version_id: str | None) -> bool:
        """Whether one version is held."""
        ...

    def set_legal_hold(self, key: str, version_id: str | None, on: bool) -> None:
        """Hold one version without an end, or release it; its retention stays as it is."""
        ...

    def versions(self, key: str) -> list[ObjectInfo]:
        """Every version and delete marker of one key, newest first; empty when there never was one.

        Each has a version id, ``null`` for what was written before the bucket kept versions.
        """
        ...

    def hidden(self, prefix: str) -> Iterator[ObjectInfo]:
        """The delete markers that hide a key with ``prefix`` from readers and listings, in key order.

        Reads the name of every version.
        """
        ...


@runtime_checkable
class ObjectStore(Protocol):
    """Bytes under keys. Keys are relative, ``/``-separated, never start with ``/`` and hold no ``..`` or empty part.

    The full rule is ``storage.keys``; a key that breaks it raises ``BadInputError`` in every method. Objects that
    others stored under such a key are not listed.

    Every method may raise ``StoreUnavailableError``. Implementations are safe to use from several threads. A store from
    ``open_store`` retries by itself, see ``storage.retrying``: callers never do.
    """

    @property
    def url(self) -> str:
        """The root as a person wrote it, for messages."""
        ...

    @property
    def object_lock(self) -> ObjectLock | None:
        """The store's versions and locks; None for a kind of store that has none, such as a folder.

        Whether the bucket was made with object lock shows with the first request: ``NoObjectLockError``.
        """
        ...

    def get(self, key: str, *, version_id: str | None = None) -> bytes:
        """The whole object. Raises ``ObjectNotFoundError``."""
        ...

    def get_with_info(self, key: str) -> tuple[bytes, ObjectInfo]:
        """Bytes and the etag that belongs to just these bytes. Raises ``ObjectNotFoundError``."""
        ...

    def get_range(self, key: str, start: int, length: int, *, version_id: str | None = None) -> bytes:
        """``length`` bytes from ``start`` in one request; fewer at the end. Raises ``ObjectNotFoundError``."""
        ...

    def stream(
        self,
        key: str,
        *,
        version_id: str | None = None,
        chunk_size: int = 1 << 20,
        start: int = 0,
        etag: str | None = None,
    ) -> ObjectStream:
        """The object in chunks, bounded memory.

        Args:
            key: which object.
            version_id: which version of it; None: the newest.
            chunk_size: the most bytes of a chunk.
            start: the first byte.
            etag: refuse any other object than the one with this etag.

        Raises:
            ObjectNotFoundError: no such object; by this call, not by the first chunk.
            ObjectChangedError: it has another etag.
        """
        ...

    def head(self, key: str, *, version_id: str | None = None) -> ObjectInfo | None:
        """Information, or None when there is no such object."""
        ...

    def list(self, prefix: str, *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        """Objects whose key starts with ``prefix``, in key order. Unfinished uploads are never listed."""
        ...

    def put(self, key: str, data: Payload) -> ObjectInfo:
        """Write, replacing what was there. Readers see the old or the new bytes, never a mix."""
        ...

    def put_if_absent(self, key: str, data: Payload, *, md5: str | None = None) -> ObjectInfo:
        """Write unless the key is taken. Raises ``AlreadyExistsError``.

        Args:
            key: where.
            data: the bytes.
            md5: of the bytes, hexadecimal, when the caller has it: computing it again takes as long as sending.
        """
        ...

    def compare_and_swap(self, key: str, data: Payload, etag: str | None) -> ObjectInfo:
        """Replace the object whose etag is ``etag``; None means it must not exist. Raises ``CasConflictError``."""
        ...

    def delete(self, key: str) -> None:
        """Remove; a missing key is no error. Never called on an archive root."""
        ...

    def create_upload(self, key: str) -> str:
        """Begin a multipart upload and return its id, which survives the process."""
        ...

    def upload_part(
        self, key: str, upload_id: str, number: int, data: Payload, *, digest: str | None = None
    ) -> UploadedPart:
        """Send part ``number`` (from 1; all but the last at least 5 MiB). Raises ``UploadGoneError``.

        ``data`` is as for ``put_if_absent``. Bytes that were damaged on the way are refused.

        Args:
            key: as given to ``create_upload``.
            upload_id: from ``create_upload``.
            number: of the part.
            data: the bytes.
            digest: a hash that stands for the bytes, hexadecimal, when the caller has one: a folder takes it for the
                part's etag and computes none.
        """
        ...

    def list_parts(self, key: str, upload_id: str) -> list[UploadedPart]:
        """The parts the store holds, by number. Raises ``UploadGoneError``."""
        ...

    def complete_upload(
        self, key: str, upload_id: str, parts: Sequence[UploadedPart], crc32: int | None = None
    ) -> ObjectInfo:
        """Join the parts under ``key`` unless the key is taken.

        Args:
            key: as given to ``create_upload``.
            upload_id: from ``create_upload``.
            parts: all parts, 1 to n without a gap; all but the last of one size.
            crc32: of the whole object, if known: a store that keeps such checksums refuses to join to anything else.
                Others do not look at it.

        Raises:
            AlreadyExistsError: the key is taken (also when an earlier Complete of ours succeeded unseen).
            UploadGoneError: the upload is unknown, the store does not hold the parts as listed, or they do not have
                that CRC-32 together: start it again.
            BadInputError: the parts have gaps or uneven sizes.
        """
        ...

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Forget an upload; an unknown one is no error."""
        ...

    def restore_state(self, key: str, version_id: str | None) -> RestoreState:
        """Whether an object can be read now, by one request. Always ``available`` in a store without cold tiers.

        Raises:
            ObjectNotFoundError: no such object or version.
        """
        ...

    def request_restore(
        self, key: str, version_id: str | None, *, days: int, retrieval: Retrieval = "standard"
    ) -> RestoreState:
        """Ask for an object in a cold tier; does nothing for one that can be read or is on its way.

        Args:
            key: which object.
            version_id: which version of it; None: the newest.
            days: the readable copy stays so long; for one that is restored already, counted again from now.
            retrieval: how fast, and how dear.

        Returns:
            The state after the request.

        Raises:
            UsageError: ``days`` is under 1, or no such retrieval.
            BadInputError: the tier it lies in has no such retrieval.
            ObjectNotFoundError: no such object or version.
        """
        ...
