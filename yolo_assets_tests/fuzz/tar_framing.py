"""Archives: Python's tarfile reads every header that we write, and damaged members are noticed."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tarfile
from collections.abc import Iterator

from yolo_assets.archive.packing.format import END_OF_ARCHIVE, Framer, content, end_member, padding, tar_header
from yolo_assets.contracts.errors import IntegrityError
from yolo_assets_tests.fuzz.law import refused_or

FOLDER = "cam1/20241015_14"


def seeds() -> Iterator[bytes]:
    """Time, flags, length of the name, the name, the content."""
    for name in (b"20241015_140001_000.jpg", "焊缝裂纹.json".encode(), b"latin1_\xe9.jpg", b"x" * 120, b"-x"):
        for flags, moment in ((0, 1728993600), (1, -7020), (7, 1 << 40)):
            yield struct.pack("<qBB", moment, flags, len(name)) + name + b"a picture" * 4


def check(data: bytes) -> None:
    """What is packed comes out; a changed byte is noticed or changes nothing."""
    if len(data) < 10:
        return
    mtime, flags, length = struct.unpack_from("<qBB", data)
    raw, body = data[10 : 10 + length], data[10 + length :]
    if not raw or b"/" in raw or b"\0" in raw or raw in (b".", b".."):
        return  # no file is called so
    name = os.fsdecode(raw)
    header = tar_header(FOLDER, name, len(body), mtime)
    entry = header + body + padding(len(body))
    with tarfile.open(fileobj=io.BytesIO(entry + END_OF_ARCHIVE), errors="surrogateescape") as tar:
        (member,) = tar.getmembers()
        file = tar.extractfile(member)
        assert file is not None and file.read() == body
    assert os.fsencode(member.name) == os.fsencode(f"{FOLDER}/{name}"), (member.name, name)
    assert (member.size, member.mode, member.uid, member.isreg()) == (len(body), 0o644, 0, True)
    assert member.mtime == min(max(mtime, 0), 0o77777777777)

    framer = Framer(stored=bool(flags & 1))
    packed = b"".join(bytes(piece) for piece in (*framer.feed(entry), *framer.finish()))
    assert gzip.decompress(packed + end_member()) == entry + END_OF_ARCHIVE
    step = 1 + (flags >> 1)
    pieces = [packed[at : at + step] for at in range(0, len(packed), step)]
    assert b"".join(content(pieces, FOLDER, name, len(body), mtime)) == body
    at = mtime % len(packed)
    changed = packed[:at] + bytes([packed[at] ^ (flags or 1)]) + packed[at + 1 :]
    found = refused_or(lambda: b"".join(content([changed], FOLDER, name, len(body), mtime)))
    assert found in (None, body), "a damaged member was given out"
    try:
        cut = b"".join(content([packed[:at]], FOLDER, name, len(body), mtime))
    except IntegrityError:
        return
    raise AssertionError(f"a cut member was given out: {cut!r}")
