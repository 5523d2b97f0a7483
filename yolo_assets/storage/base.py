"""The interface that every store offers, and the errors it raises. No implementation here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

from yolo_assets.contracts.errors import UserError


class ObjectNotFoundError(UserError):
    """No object under that key."""


class AlreadyExistsError(UserError):
    """A put-if-absent found an object under the key; the stored one is untouched."""


class CasConflictError(UserError):
    """A compare-and-swap lost: somebody moved the object since it was read."""

    may_pass = True


class StoreUnavailableError(UserError):
    """The store cannot be reached, or refuses us: network, credentials, bucket, folder, disk full.

    Attributes:
        transient: whether trying again can help without anybody doing something: a cut line, a busy server. Who
            retries, retries only these.
    """

    may_pass = True

    def __init__(self, message: str, *, transient: bool = True) -> None:
        super().__init__(message)
        self.transient = transient


class UploadGoneError(UserError):
    """A multipart upload that was to be resumed is unknown to the store: expired, aborted or completed."""

    may_pass = True


@dataclass(frozen=True)
class ObjectInfo:
    """What a store says about an object.

    Attributes:
        key: relative to the store's root.
        size: bytes.
        etag: opaque; changes whenever the bytes change; without quotes. A folder's also changes when the same bytes
            are written again, S3's is a hash of the bytes and does not. Either is good for a compare-and-swap, which
            asks "is it still what I read?": bytes that went away and came back are what was read.
        modified_at: the store's clock.
        version_id: where the store keeps versions.
        storage_class: the store's name for the tier it lies in, where the store says.
        checksum_crc32: CRC-32 of the whole object, eight hexadecimal digits, where the store keeps one and says so:
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
        etag: the part's MD5 in hexadecimal for plain S3 and for folders; opaque elsewhere.
        checksum_crc32: eight hexadecimal digits, where the store keeps one: to be handed back to ``complete_upload``.
    """

    number: int
    size: int
    etag: str
    checksum_crc32: str | None = None


@runtime_checkable
class ObjectStore(Protocol):
    """Bytes under keys. Keys are relative, ``/``-separated, never start with ``/`` and hold no ``..`` or empty part.

    The full rule is ``storage.keys``; a key that breaks it raises ``BadInputError`` in every method. Objects that
    others stored under such a key are not listed.

    Every method may raise ``StoreUnavailableError``. Implementations are safe to use from several threads. Retrying is
    the caller's: one layer retries, not three.
    """

    @property
    def url(self) -> str:
        """The root as a person wrote it, for messages."""
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

    def stream(self, key: str, *, version_id: str | None = None, chunk_size: int = 1 << 20) -> Iterator[bytes]:
        """The object in chunks, bounded memory. Raises ``ObjectNotFoundError``."""
        ...

    def head(self, key: str, *, version_id: str | None = None) -> ObjectInfo | None:
        """Information, or None when there is no such object."""
        ...

    def list(self, prefix: str, *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        """Objects whose key starts with ``prefix``, in key order. Unfinished uploads are never listed."""
        ...

    def put(self, key: str, data: bytes) -> ObjectInfo:
        """Write, replacing what was there. Readers see the old or the new bytes, never a mix."""
        ...

    def put_if_absent(self, key: str, data: bytes | memoryview, *, md5: str | None = None) -> ObjectInfo:
        """Write unless the key is taken. Raises ``AlreadyExistsError``.

        Args:
            key: where.
            data: the bytes; a view is not copied and must stay as it is until this returns.
            md5: of the bytes, hexadecimal, when the caller has it: computing it again takes as long as sending.
        """
        ...

    def compare_and_swap(self, key: str, data: bytes, etag: str | None) -> ObjectInfo:
        """Replace the object whose etag is ``etag``; None means it must not exist. Raises ``CasConflictError``."""
        ...

    def delete(self, key: str) -> None:
        """Remove; a missing key is no error. Never called on an archive root."""
        ...

    def create_upload(self, key: str) -> str:
        """Begin a multipart upload and return its id, which survives the process."""
        ...

    def upload_part(
        self, key: str, upload_id: str, number: int, data: bytes | memoryview, *, md5: str | None = None
    ) -> UploadedPart:
        """Send part ``number`` (from 1; all but the last at least 5 MiB). Raises ``UploadGoneError``.

        ``data`` and ``md5`` are as for ``put_if_absent``.
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
