"""Packing: the same members always give the same bytes, and every tool reads them."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import mmap
import os
import struct
import subprocess
import tarfile
import tempfile
import tracemalloc
import zlib
from pathlib import Path

import pytest
from backports import zstd
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from yolo_assets.archive.packing.format import JPEG_CODEC, content, tar_header
from yolo_assets.archive.packing.index import ROW_GROUP, index_bytes, parse_index
from yolo_assets.archive.packing.pack import KEEP_BUFFERS, IndexRow, MemberChangedError, Packing, PartBuffers
from yolo_assets.contracts.errors import IntegrityError
from yolo_assets.contracts.spool import PlanMember
from yolo_assets.contracts.times import Hour
from yolo_assets.spool.files import native_name, portable_name

HOUR = Hour.from_key("20260102_03")
FOLDER = f"cam1/{HOUR}"
MTIME = int(HOUR.start.timestamp())
GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"

raw_names = st.one_of(
    st.binary(min_size=1, max_size=40),
    st.text(min_size=1, max_size=120).map(lambda t: t.encode("utf-8", "ignore")),
    st.text("abc._", min_size=90, max_size=200).map(str.encode),
    st.sampled_from([b"a.jpg", b"b.JPEG", b"records.ndjson", b".sealed"]),
).filter(lambda b: b and len(b) <= 255 and b"/" not in b and b"\0" not in b and b not in (b".", b".."))
members = st.dictionaries(raw_names, st.binary(max_size=3000), max_size=8)


def planned(folder: Path) -> list[PlanMember]:
    names = sorted(os.listdir(folder), key=os.fsencode)
    found = [(name, os.lstat(folder / name)) for name in names]
    return [PlanMember(name=portable_name(n), size=s.st_size, mtime_ns=s.st_mtime_ns) for n, s in found]


def pack(folder: Path, part_size: int = 1 << 20) -> tuple[bytes, Packing]:
    packing = Packing(folder, "cam1", HOUR, planned(folder), part_size)
    data = b""
    for part in packing.parts():
        data += part.data
        part.release()
    return data, packing


def write(folder: Path, files: dict[bytes, bytes]) -> None:
    for name, data in files.items():
        (folder / os.fsdecode(name)).write_bytes(data)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=members, part_size=st.integers(700, 5000))
@example(files={b"\xff" * 130: b"x", b"\xff.jpg": b"y", "ü.jpg".encode(): b"z" * 600}, part_size=1000)
def test_the_same_files_give_the_same_bytes_and_every_tool_reads_them(
    files: dict[bytes, bytes], part_size: int
) -> None:
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        one, other = Path(first), Path(second)
        write(one, files)
        write(other, dict(reversed(files.items())))
        data, packing = pack(one)
        again, same = pack(other, part_size)
        assert data == again
        assert packing.rows == same.rows
        assert packing.sha256 == same.sha256 == hashlib.sha256(data).hexdigest()
        assert packing.md5 == same.md5 == hashlib.md5(data).hexdigest()
        assert packing.crc32 == same.crc32 == f"{zlib.crc32(data):08x}"
        assert packing.size == len(data)
        digests = [part.digest for part in Packing(other, "cam1", HOUR, planned(other), part_size).parts()]
        ends = [*range(part_size, len(data), part_size), len(data)]
        assert digests == [hashlib.sha256(data[:end]).hexdigest() for end in ends]

        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            read = {entry.name: tar.extractfile(entry) for entry in tar}
            found = {name: stream.read() for name, stream in read.items() if stream is not None}
        assert found == {f"{FOLDER}/{os.fsdecode(name)}": content for name, content in files.items()}

        for row in packing.rows:
            name = native_name(row.name)
            piece = data[row.offset : row.offset + row.length]
            got = b"".join(content([piece], FOLDER, name, row.size, MTIME))
            assert got == files[os.fsencode(name)]
            assert hashlib.sha256(got).digest() == row.sha256


@pytest.mark.parametrize(
    "files",
    [
        {},
        {b"20260102_030405_678.jpg": os.urandom(200_000), b"records.ndjson": b'{"a":1}\n' * 5000, b".sealed": b"{}"},
        {("ä" * 60).encode(): b"long and not ASCII", b"x" * 255: b"longest", b"-n": b"dash", b"a\nb": b"newline"},
        {b"\xfe\xff.jpg": b"not UTF-8", b"\xff" * 150: b"long and not UTF-8", b"back\\slash": b"\\"},
    ],
    ids=["empty", "usual", "odd", "not-utf8"],
)
def test_gnu_tar_and_gzip_read_it(files: dict[bytes, bytes], tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    write(folder, files)
    data, _ = pack(folder)
    path = tmp_path / "a.tar.gz"
    path.write_bytes(data)
    subprocess.run(["gzip", "-t", path], check=True, timeout=60)
    done = subprocess.run(["tar", "xzf", path, "-C", out], check=True, capture_output=True, timeout=60)
    assert done.stderr == b""
    written = out / FOLDER
    found = {os.fsencode(e.name): Path(e.path).read_bytes() for e in os.scandir(written)} if files else {}
    assert found == files
    for name in files:
        status = (written / os.fsdecode(name)).stat()
        assert (status.st_mode & 0o777, int(status.st_mtime)) == (0o644, MTIME)


def test_jpegs_are_stored_and_text_is_deflated(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(bytes(100_000))
    (tmp_path / "a.ndjson").write_bytes(bytes(100_000))
    _, packing = pack(tmp_path)
    jpeg, text = packing.rows
    assert jpeg.length > 100_000
    assert text.length < 1000


def picture(kind: str, size: int = 64) -> bytes:
    """A picture with noise in it, as PIL writes it."""
    stream = io.BytesIO()
    Image.frombytes("RGB", (size, size), os.urandom(3 * size * size)).save(stream, kind)
    return stream.getvalue()


COMPRESSED = {
    "png": picture("PNG"),
    "webp": picture("WEBP"),
    "gif": picture("GIF"),
    "jp2": picture("JPEG2000"),
    "zip": b"PK\x03\x04" + bytes(5000),
    "gz": gzip.compress(bytes(50_000)) + bytes(5000),
    "bz2": bz2.compress(bytes(50_000)) + bytes(5000),
    "xz": lzma.compress(bytes(50_000)) + bytes(5000),
    "zst": zstd.compress(bytes(50_000)) + bytes(5000),
    "mp4": b"\0\0\0\x20ftypisom" + bytes(5000),
    "mkv": b"\x1a\x45\xdf\xa3" + bytes(5000),
}
PLAIN = {
    "bmp": b"BM" + bytes(5000),
    "tiff": b"II*\0" + bytes(5000),
    "json": b'{"a": 1}' * 500,
    "txt": b"PK, they said" * 500,
    "wav": b"RIFF\0\0\0\0WAVE" + bytes(5000),
    "bin": b"BZ" * 4000,
}


@pytest.mark.parametrize("ending", [*COMPRESSED, *PLAIN])
def test_compressed_files_are_stored_by_how_they_begin(ending: str, tmp_path: Path) -> None:
    data = {**COMPRESSED, **PLAIN}[ending]
    for name in (f"a.{ending}", "no_ending", "b.JSON"):
        (tmp_path / name).write_bytes(data)
    _, packing = pack(tmp_path)
    stored = [row.length > row.size for row in packing.rows]
    assert stored == [ending in COMPRESSED] * 3


def test_a_plan_of_the_version_before_is_packed_as_it_was(tmp_path: Path) -> None:
    for ending, data in COMPRESSED.items():
        (tmp_path / f"a.{ending}").write_bytes(data)
    (tmp_path / "a.jpg").write_bytes(picture("JPEG"))
    packing = Packing(tmp_path, "cam1", HOUR, planned(tmp_path), 1 << 20, codec=JPEG_CODEC)
    data = b"".join(bytes(part.data) for part in packing.parts())
    expected = b""
    for name in sorted(os.listdir(tmp_path)):
        body = (tmp_path / name).read_bytes()
        entry = tar_header(FOLDER, name, len(body), MTIME) + body + bytes(-len(body) % 512)
        expected += stored_member(entry) if name == "a.jpg" else deflated_member(entry)
    assert data[: len(expected)] == expected


def deflated_member(entry: bytes) -> bytes:
    """A gzip member as versions without ``signatures`` wrote it, by zlib alone."""
    deflate = zlib.compressobj(6, zlib.DEFLATED, -15, 8)
    body = deflate.compress(entry) + deflate.flush()
    return GZIP_HEADER + body + struct.pack("<II", zlib.crc32(entry), len(entry))


def stored_member(entry: bytes) -> bytes:
    """The same for a stored file whose header, content and padding came in three pieces."""
    size = int(entry[124:135], 8)
    pieces = [entry[:512], entry[512 : 512 + size], entry[512 + size :]]
    body = b"".join(struct.pack("<BHH", 0, len(p), len(p) ^ 0xFFFF) + p for p in pieces if p)
    return GZIP_HEADER + body + b"\x01\x00\x00\xff\xff" + struct.pack("<II", zlib.crc32(entry), len(entry))


@pytest.mark.parametrize(
    ("mtime", "listed"),
    [
        (-7020, 0),
        (-(10**12), 0),
        (0, 0),
        (2**31, 2**31),
        (8**11 - 1, 8**11 - 1),
        (8**11, 8**11 - 1),
        (10**15, 8**11 - 1),
    ],
)
def test_no_header_holds_a_time_that_tar_reads_wrong(mtime: int, listed: int, tmp_path: Path) -> None:
    data = tar_header(FOLDER, "a.jpg", 0, mtime) + bytes(1024)
    (tmp_path / "a.tar").write_bytes(data)
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert [entry.mtime for entry in tar] == [listed]
    done = subprocess.run(["tar", "tvf", tmp_path / "a.tar"], capture_output=True, timeout=60, check=True)
    assert done.stderr == b""


def test_a_size_beyond_the_old_field_has_a_pax_header() -> None:
    header = tar_header(FOLDER, "huge.bin", 9 << 30, MTIME)
    entry = tarfile.TarFile(fileobj=io.BytesIO(header + bytes(1024))).next()
    assert entry is not None
    assert (entry.size, entry.name) == (9 << 30, f"{FOLDER}/huge.bin")


@pytest.mark.parametrize("change", ["grow", "shrink", "touch", "delete", "link", "fifo"])
def test_a_file_that_is_not_as_planned_stops_the_packing(change: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"a" * 1000)
    (tmp_path / "b.jpg").write_bytes(b"b" * 1000)
    members = planned(tmp_path)
    path = tmp_path / "b.jpg"
    if change == "grow":
        path.write_bytes(b"b" * 1001)
    elif change == "shrink":
        path.write_bytes(b"b" * 999)
    elif change == "touch":
        os.utime(path, ns=(1, 1))
    else:
        path.unlink()
    if change == "link":
        path.symlink_to(tmp_path / "a.jpg")
    elif change == "fifo":
        os.mkfifo(path)
    with pytest.raises(MemberChangedError) as caught:
        for _ in Packing(tmp_path, "cam1", HOUR, members, 1 << 20).parts():
            pass
    assert caught.value.name == "b.jpg"


def test_a_file_that_changes_while_it_is_read_stops_the_packing(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"a" * (4 << 20))
    packing = Packing(tmp_path, "cam1", HOUR, planned(tmp_path), 1 << 20)
    parts = packing.parts()
    next(parts)
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"b")
    with pytest.raises(MemberChangedError, match="changed while it was read"):
        list(parts)


class Counted(PartBuffers):
    """Counts memory that is new."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[int] = set()

    def take(self, size: int) -> mmap.mmap:
        buffer = super().take(size)
        self.seen.add(id(buffer))
        return buffer


def test_memory_does_not_grow_with_the_hour(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(bytes(64 << 20))
    (tmp_path / "b.bin").write_bytes(bytes(16 << 20))
    buffers = Counted()
    for _ in range(2):  # nor with the number of hours
        packing = Packing(tmp_path, "cam1", HOUR, planned(tmp_path), 5 << 20, buffers)
        sent = 0
        tracemalloc.start()
        try:
            for part in packing.parts():
                sent += len(part.data)
                part.release()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert sent == packing.size
        assert peak < 3 << 20
    assert len(buffers.seen) <= 3


def test_parts_that_are_kept_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(os.urandom(5 << 20))
    packing = Packing(tmp_path, "cam1", HOUR, planned(tmp_path), 1 << 20)
    parts = list(packing.parts())
    assert len(parts) == packing.part_count == 6
    assert hashlib.sha256(b"".join(part.data for part in parts)).hexdigest() == packing.sha256


@given(sizes=st.lists(st.integers(1, 300 << 20), min_size=1, max_size=12), keep=st.sets(st.integers(0, 11)))
def test_unused_memory_is_bounded_and_no_buffer_is_shared(sizes: list[int], keep: set[int]) -> None:
    buffers = PartBuffers()
    lent: list[mmap.mmap] = []
    for number, size in enumerate(sizes):
        buffer = buffers.take(size)
        assert len(buffer) >= size
        assert all(buffer is not other for other in lent)
        if number in keep:
            lent.append(buffer)
        else:
            buffers.give(buffer)
        assert sum(map(len, buffers._free)) <= KEEP_BUFFERS


@given(data=st.binary(max_size=2000), position=st.integers(0, 10**6), cut=st.booleans())
@settings(max_examples=60, deadline=None)
def test_damage_to_a_member_never_goes_unseen(data: bytes, position: int, cut: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a.jpg").write_bytes(data)
        whole, packing = pack(Path(folder))
    row = packing.rows[0]
    member = bytearray(whole[row.offset : row.offset + row.length])
    position %= len(member)
    if cut:
        member = member[:position]
    elif position in (4, 5, 6, 7, 8, 9):
        return  # gzip's own time and system fields carry no content; the archive's hash covers them
    else:
        member[position] ^= 0x40
    try:
        got = b"".join(content([bytes(member)], FOLDER, "a.jpg", row.size, MTIME))
    except IntegrityError:
        return
    assert hashlib.sha256(got).digest() == row.sha256
    assert got == data


def test_the_index_keeps_its_rows_in_small_groups() -> None:
    import pyarrow.parquet as pq

    rows = [IndexRow(f"f{i:05d}.jpg", i * 10, 10, i, hashlib.sha256(b"%d" % i).digest()) for i in range(3000)]
    data = index_bytes(rows)
    assert parse_index(data, "index") == rows
    meta = pq.ParquetFile(io.BytesIO(data)).metadata
    assert max(meta.row_group(i).num_rows for i in range(meta.num_row_groups)) == ROW_GROUP
    assert len(data) < 3000 * 60
    with pytest.raises(IntegrityError):
        parse_index(gzip.compress(data), "index")
