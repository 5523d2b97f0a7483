"""Packs the members of a plan in one pass: each file is read once and feeds every hash and the upload parts.

Memory is bounded by the upload parts on their way, whatever the hour holds; nothing is staged on disk. The hashes that
cover the whole run in threads of their own, beside reading and member hashes.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from yolo_assets.archive.packing.buffers import PartBuffers
from yolo_assets.archive.packing.format import BLOCK, Framer, end_member, is_stored, open_unchanged, padding, tar_header
from yolo_assets.archive.packing.hashes import Hashes
from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.spool import PlanMember
from yolo_assets.contracts.times import Hour
from yolo_assets.spool.files import native_name

_READ = 1 << 20
_SLAB = 1 << 20


class MemberChangedError(UserError):
    """A planned file is gone, no regular file any more, or not what it was when the plan was made."""

    def __init__(self, name: str, what: str) -> None:
        super().__init__(f"{name} {what}")
        self.name = name
        self.what = what


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


@dataclass(frozen=True)
class PackedPart:
    """One upload part.

    Attributes:
        number: from 1.
        data: its bytes, until ``release``.
        md5: of the part, hexadecimal.
        last: whether the archive ends with it.
        release: gives the memory back for a later part; call it when the bytes were sent. Parts that are kept instead
            cost memory of their own.
    """

    number: int
    data: memoryview
    md5: str
    last: bool
    release: Callable[[], None]


@dataclass
class Packing:
    """One pass over the members of a plan; iterate ``parts`` to the end, then read the rest.

    Attributes:
        rows: the index, in archive order.
        size: bytes of the archive.
        total: bytes of the members.
        sha256: of the archive, hexadecimal.
        md5: of the archive, hexadecimal.
        crc32: of the archive, eight hexadecimal digits.
        part_md5: of every part, in order.
    """

    folder: Path
    camera_id: str
    hour: Hour
    members: Sequence[PlanMember]
    part_size: int
    buffers: PartBuffers = field(default_factory=PartBuffers)
    rows: list[IndexRow] = field(default_factory=list)
    size: int = 0
    total: int = 0
    sha256: str = ""
    md5: str = ""
    crc32: str = ""
    part_md5: list[str] = field(default_factory=list)

    def parts(self) -> Iterator[PackedPart]:
        """The archive, part by part, every part but the last ``part_size`` bytes long.

        Raises:
            MemberChangedError: a file is not what the plan says; nothing of this pass may be kept.
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
                yield part
        finally:
            hashes.close()

    def _finish(self, filled: _Filled, *, last: bool) -> PackedPart:
        md5 = filled.md5()
        self.part_md5.append(md5)
        data = memoryview(filled.data)[: filled.used]

        def release() -> None:
            data.release()
            self.buffers.give(filled.data)

        return PackedPart(len(self.part_md5), data, md5, last, release)

    def _fill(self, hashes: Hashes) -> Iterator[_Filled]:
        """Buffers of ``part_size``, filled; their hashing may still be under way."""
        room = min(self.part_size, _most(self.members))
        data, used, hashed = self.buffers.take(room), 0, 0
        first = True
        for piece in self._stream():
            view = memoryview(piece)
            self.size += len(view)
            while view:
                take = min(len(view), self.part_size - used)
                data[used : used + take] = view[:take]
                used += take
                view = view[take:]
                if used - hashed >= _SLAB:
                    hashes.update(memoryview(data)[hashed:used], first=first)
                    hashed = used
                if used == self.part_size:
                    hashes.update(memoryview(data)[hashed:used], first=first)
                    yield _Filled(data, used, hashes.end_part(first=first))
                    data, used, hashed, first = self.buffers.take(room), 0, 0, False
        if used:
            hashes.update(memoryview(data)[hashed:used], first=first)
            yield _Filled(data, used, hashes.end_part(first=first))

    def _stream(self) -> Iterator[bytes | memoryview]:
        mtime = int(self.hour.start.timestamp())
        prefix = f"{self.camera_id}/{self.hour}"
        scratch = memoryview(bytearray(_READ))
        offset = 0
        for member in self.members:
            name = native_name(member.name)
            framer = Framer(stored=is_stored(name))
            digest = hashlib.sha256()
            length = 0
            for piece in framer.feed(tar_header(prefix, name, member.size, mtime)):
                length += len(piece)
                yield piece
            for chunk in self._read(name, member, scratch):
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

    def _read(self, name: str, member: PlanMember, scratch: memoryview) -> Iterator[memoryview]:
        """The file's bytes, exactly ``member.size`` of them, from a file that did not change meanwhile.

        Each piece lies in ``scratch`` and is gone with the next.
        """
        try:
            descriptor, before = open_unchanged(self.folder / name)
        except OSError as error:
            raise MemberChangedError(member.name, f"cannot be read: {error.strerror or error}") from None
        try:
            if (before.st_size, before.st_mtime_ns) != (member.size, member.mtime_ns):
                raise MemberChangedError(member.name, "changed after the plan was made")
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


def _most(members: Sequence[PlanMember]) -> int:
    """Bytes that the archive cannot exceed: a header, padding and framing for each member, and the end."""
    return sum(member.size + member.size // 4096 + 8 * BLOCK for member in members) + 8 * BLOCK


@dataclass
class _Filled:
    data: mmap.mmap
    used: int
    md5: Callable[[], str]
