"""Packs the members of a plan in one pass: each file is read once and feeds every hash and the upload parts.

Memory is bounded by the upload parts in flight, whatever the hour holds; nothing is staged on disk. The hashes that
cover the whole run in threads of their own, in parallel with reading and member hashes.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from yolo_assets.archive.packing.format import (
    BLOCK,
    CODEC,
    Framer,
    crc32,
    end_member,
    is_stored,
    open_unchanged,
    padding,
    tar_header,
)
from yolo_assets.archive.packing.signatures import LONGEST
from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.spool import PlanMember
from yolo_assets.contracts.times import Hour
from yolo_assets.spool.files import native_name

_READ = 1 << 20
_SLAB = 1 << 20
KEEP_BUFFERS = 144 << 20
"""Bytes of unused memory that are kept at most: one hour of the size that goes in one put, or all parts on the way."""
_LEAST_BUFFER = 1 << 20


class MemberChangedError(UserError):
    """A planned file is gone, no regular file any more, or not what it was when the plan was made."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} {reason}")
        self.name = name
        self.reason = reason


@dataclass(frozen=True)
class IndexRow:
    """Where one member lies in an archive.

    Attributes:
        name: portable name of the file (``spool.files.portable_name``).
        offset: first byte of its gzip member in the archive.
        length: bytes of that gzip member.
        size: bytes of the file.
        sha256: of the file, 32 bytes.
    """

    name: str
    offset: int
    length: int
    size: int
    sha256: bytes


class PartBuffers:
    """Memory for upload parts, used again from part to part and from hour to hour. Safe to share between threads.

    Fresh memory costs a page fault every 4 KiB, which together take longer than hashing it.

    One that is never given back is freed with its last reference, as any memory.
    """

    def __init__(self) -> None:
        """With no memory yet."""
        self._lock = threading.Lock()
        self._free: list[mmap.mmap] = []

    def take(self, size: int) -> mmap.mmap:
        """Memory for ``size`` bytes or more; what is in it is left over from before."""
        room = max(_LEAST_BUFFER, 1 << (size - 1).bit_length())
        with self._lock:
            for place, buffer in enumerate(self._free):
                if len(buffer) == room:
                    return self._free.pop(place)
            self._shrink(KEEP_BUFFERS - room)
        return _fresh(room)

    def give(self, buffer: mmap.mmap) -> None:
        """Take memory back. It must not be read any more."""
        with self._lock:
            self._free.append(buffer)
            self._shrink(KEEP_BUFFERS)

    def _shrink(self, most: int) -> None:
        while self._free and sum(map(len, self._free)) > most:
            # A view that is still around keeps the memory; it goes with the view then.
            with contextlib.suppress(BufferError):
                self._free[0].close()
            del self._free[0]


def _fresh(size: int) -> mmap.mmap:
    buffer = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without huge pages
            buffer.madvise(mmap.MADV_HUGEPAGE)
    return buffer


@dataclass(frozen=True)
class PackedPart:
    """One upload part.

    Attributes:
        number: from 1.
        data: its bytes, until ``release``.
        digest: SHA-256 of the archive from its beginning to the end of this part, hexadecimal. It names the part's
            bytes and costs nothing: the whole's hash passes here anyway.
        last: whether the archive ends with it.
        release: gives the memory back for a later part; call it when the bytes were sent. Parts that are kept instead
            cost memory of their own.
    """

    number: int
    data: memoryview
    digest: str
    last: bool
    release: Callable[[], None]

    def md5(self) -> str:
        """Of the part, hexadecimal, computed now: for comparing with what a store has already."""
        return hashlib.md5(self.data, usedforsecurity=False).hexdigest()


class HashedParts:
    """Bytes that are made once, in order, as upload parts with all their hashes. What makes them is a subclass.

    Iterate ``parts`` to the end, then read the rest.

    Attributes:
        part_size: bytes of every part but the last.
        buffers: memory for the parts.
        size: bytes of the whole.
        sha256: of the whole, hexadecimal.
        md5: of the whole, hexadecimal.
        crc32: of the whole, eight hexadecimal digits.
        part_count: parts so far.
    """

    part_size: int
    buffers: PartBuffers
    size: int
    sha256: str
    md5: str
    crc32: str
    part_count: int

    def parts(self) -> Iterator[PackedPart]:
        """The whole, part by part, every part but the last ``part_size`` bytes long.

        Raises:
            UserError: as making the bytes does; nothing of this pass may be kept.
        """
        hashes = Hashes()
        try:
            waiting: _Filled | None = None
            for filled in self._fill(hashes):
                if waiting is not None:
                    yield self._finish(waiting, last=False)
                waiting = filled
            if waiting is not None:
                part = self._finish(waiting, last=True)
                self.sha256, self.md5, self.crc32 = hashes.digests()
                self._check()
                yield part
        finally:
            hashes.close()

    def _finish(self, filled: _Filled, *, last: bool) -> PackedPart:
        digest = filled.digest()
        self.part_count += 1
        data = memoryview(filled.data)[: filled.used]

        def release() -> None:
            data.release()
            self.buffers.give(filled.data)

        return PackedPart(self.part_count, data, digest, last, release)

    def _fill(self, hashes: Hashes) -> Iterator[_Filled]:
        """Buffers of ``part_size``, filled; their hashing may still be under way."""
        room = min(self.part_size, self._most())
        data, used, hashed = self.buffers.take(room), 0, 0
        for piece in self._stream():
            view = memoryview(piece)
            self.size += len(view)
            while view:
                take = min(len(view), self.part_size - used)
                data[used : used + take] = view[:take]
                used += take
                view = view[take:]
                if used - hashed >= _SLAB:
                    hashes.update(memoryview(data)[hashed:used])
                    hashed = used
                if used == self.part_size:
                    hashes.update(memoryview(data)[hashed:used])
                    yield _Filled(data, used, hashes.end_part())
                    data, used, hashed = self.buffers.take(room), 0, 0
        if used:
            hashes.update(memoryview(data)[hashed:used])
            yield _Filled(data, used, hashes.end_part())

    def _stream(self) -> Iterator[bytes | memoryview]:
        """The bytes, in pieces; one that is a view may be gone with the next."""
        raise NotImplementedError

    def _most(self) -> int:
        """Bytes that the whole cannot exceed."""
        raise NotImplementedError

    def _check(self) -> None:
        """Called when everything is hashed, before the last part is handed out; may raise to keep it back."""


@dataclass
class Packing(HashedParts):
    """One pass over the members of a plan; iterate ``parts`` to the end, then read the rest.

    Attributes:
        codec: how the members are packed, one of ``format.CODECS``.
        rows: the index, in archive order.
        size: bytes of the archive.
        total: bytes of the members.
        sha256: of the archive, hexadecimal.
        md5: of the archive, hexadecimal.
        crc32: of the archive, eight hexadecimal digits.
        part_count: parts so far.
    """

    folder: Path
    camera_id: str
    hour: Hour
    members: Sequence[PlanMember]
    part_size: int
    buffers: PartBuffers = field(default_factory=PartBuffers)
    codec: str = CODEC
    rows: list[IndexRow] = field(default_factory=list[IndexRow])
    size: int = 0
    total: int = 0
    sha256: str = ""
    md5: str = ""
    crc32: str = ""
    part_count: int = 0

    def _stream(self) -> Iterator[bytes | memoryview]:
        mtime = int(self.hour.start.timestamp())
        prefix = f"{self.camera_id}/{self.hour}"
        scratch = memoryview(bytearray(_READ))
        offset = 0
        for member in self.members:
            name = native_name(member.name)
            chunks = self._read(name, member, scratch)
            framer = Framer(stored=is_stored(name, bytes(next(chunks)), self.codec))
            digest = hashlib.sha256()
            length = 0
            for piece in framer.feed(tar_header(prefix, name, member.size, mtime)):
                length += len(piece)
                yield piece
            for chunk in chunks:
                digest.update(chunk)
                for piece in framer.feed(chunk):
                    length += len(piece)
                    yield piece
            if fill := padding(member.size):
                for piece in framer.feed(fill):
                    length += len(piece)
                    yield piece
            for piece in framer.finish():
                length += len(piece)
                yield piece
            self.rows.append(IndexRow(member.name, offset, length, member.size, digest.digest()))
            self.total += member.size
            offset += length
        yield end_member()

    def _most(self) -> int:
        """A header, padding and framing for each member, and the end."""
        return sum(member.size + member.size // 4096 + 8 * BLOCK for member in self.members) + 8 * BLOCK

    def _read(self, name: str, member: PlanMember, scratch: memoryview) -> Iterator[memoryview]:
        """How the file begins, then its bytes, exactly ``member.size`` of them; it must not change meanwhile.

        Each piece lies in ``scratch`` and is gone with the next.
        """
        try:
            descriptor, before = open_unchanged(self.folder / name)
        except OSError as error:
            raise MemberChangedError(member.name, f"cannot be read: {error.strerror or error}") from None
        try:
            if (before.st_size, before.st_mtime_ns) != (member.size, member.mtime_ns):
                raise MemberChangedError(member.name, "changed after the plan was made")
            begin = min(member.size, LONGEST)
            head = os.pread(descriptor, begin, 0)
            if len(head) != begin:
                raise MemberChangedError(member.name, "became shorter while it was read")
            yield memoryview(head)
            left = member.size
            while left:
                count = os.readv(descriptor, [scratch[: min(left, _READ)]])
                if not count:
                    raise MemberChangedError(member.name, "became shorter while it was read")
                left -= count
                yield scratch[:count]
            after = os.fstat(descriptor)
            if (after.st_size, after.st_mtime_ns) != (member.size, member.mtime_ns):
                raise MemberChangedError(member.name, "changed while it was read")
        except OSError as error:
            raise MemberChangedError(member.name, f"cannot be read: {error.strerror or error}") from None
        finally:
            os.close(descriptor)


@dataclass
class _Filled:
    data: mmap.mmap
    used: int
    digest: Callable[[], str]


class Hashes:
    """SHA-256, MD5 and CRC-32 of the whole, fed in order by a thread each for SHA-256 and MD5.

    hashlib releases the interpreter lock, so they run in parallel. The CRC, thirty times as fast, rides with SHA-256.
    No part is hashed by itself: an hour in a hundred parts costs what one in a single part does.
    """

    def __init__(self) -> None:
        """Begin."""
        self._sha256 = hashlib.sha256()
        self._crc = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._lanes = [ThreadPoolExecutor(1, thread_name_prefix="hash") for _ in range(2)]

    def update(self, data: memoryview) -> None:
        """Hash the next bytes, some time soon: they must stay as they are until ``end_part``'s function returned."""
        sha_lane, md5_lane = self._lanes
        sha_lane.submit(self._update_sha, data)
        md5_lane.submit(self._md5.update, data)

    def end_part(self) -> Callable[[], str]:
        """A function that waits until all lanes are here and gives the SHA-256 so far."""
        sha_lane, md5_lane = self._lanes
        so_far: Future[str] = sha_lane.submit(self._sha256.hexdigest)
        md5_done = md5_lane.submit(bool)

        def collect() -> str:
            md5_done.result()
            return so_far.result()

        return collect

    def digests(self) -> tuple[str, str, str]:
        """SHA-256, MD5 and CRC-32 (eight digits) of everything, in hexadecimal; after the last part was collected."""
        return self._sha256.hexdigest(), self._md5.hexdigest(), f"{self._crc:08x}"

    def close(self) -> None:
        """End the threads."""
        for lane in self._lanes:
            lane.shutdown(wait=True, cancel_futures=True)

    def _update_sha(self, data: memoryview) -> None:
        self._sha256.update(data)
        self._crc = crc32(data, self._crc)
