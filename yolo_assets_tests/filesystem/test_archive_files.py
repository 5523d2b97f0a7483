"""The archive as a file system: other people's programs read it in place, and never anything that was changed."""

from __future__ import annotations

import ast
import errno
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import fsspec
import pandas
import polars
import pytest

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.archiving import archive_hour
from yolo_assets.contracts.errors import IntegrityError, SignatureError
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour
from yolo_assets.filesystem.archive_files import ArchiveFileSystem
from yolo_assets.filesystem.sql import register_archive
from yolo_assets.filesystem.tree import ArchivedFile, ArchiveTree
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.spool.writer import SpoolWriter
from yolo_assets.storage import open_store
from yolo_assets.storage.base import ColdObjectError
from yolo_assets.storage.decorators import ForwardingStore
from yolo_assets_tests.support.records import frame_record

if TYPE_CHECKING:
    from yolo_assets_tests.conftest import S3Bucket

HOUR = Hour.from_key("20260302_03")
NAME = ArchiveName("cam1", HOUR)
FOLDER = f"cam1/{HOUR}"


def fill(spool: Path, signer: Signer, archive: Archive, frames: int = 12) -> SpoolHour:
    """An hour of a frame a second, as the agent leaves it, archived; its files are still there to compare with."""
    with SpoolWriter(spool, "cam1", "box1") as writer:
        for second in range(frames):
            at = HOUR.start + timedelta(seconds=second)
            found = {"bbox": [1, 2, 3, 4], "class": "crack", "confidence": 0.9, "timestamp": at.isoformat()}
            fields = {"detections": [found] if second % 3 == 0 else [], "model_version": "line/1", "device_id": "box1"}
            writer.write(at, frame_record({**fields, "captured_at": at}), bytes([second]) * 3000)
        writer.seal(HOUR)
    hour = SpoolHour.of(spool, "cam1", HOUR)
    archive_hour(hour, archive, signer)
    return hour


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return Signer.load_or_create(tmp_path / "keys" / "archiver")


@pytest.fixture
def archive(tmp_path: Path, signer: Signer) -> Archive:
    return Archive(open_store((tmp_path / "archive").as_uri()), TrustedKeys.of(signer))


@pytest.fixture
def options(tmp_path: Path, archive: Archive) -> dict[str, str]:
    return {"archive": archive.url, "key": str(tmp_path / "keys" / "archiver.pub")}


@pytest.fixture
def hour(tmp_path: Path, signer: Signer, archive: Archive) -> SpoolHour:
    return fill(tmp_path / "spool", signer, archive)


@pytest.fixture
def files(hour: SpoolHour, options: dict[str, str]) -> ArchiveFileSystem:
    return ArchiveFileSystem(**options, skip_instance_cache=True)


def on_disk(hour: SpoolHour) -> dict[str, bytes]:
    """What was archived of an hour, by path."""
    kept = [path for path in hour.path.iterdir() if not path.name.startswith((".uploaded", ".archiving"))]
    return {f"{FOLDER}/{path.name}": path.read_bytes() for path in kept}


def frame(second: int) -> str:
    return f"{FOLDER}/20260302_0300{second:02}_000.jpg"


def test_it_has_the_layout_and_the_bytes_of_the_spool(hour: SpoolHour, files: ArchiveFileSystem) -> None:
    there = on_disk(hour)
    assert files.ls("", detail=False) == ["cam1"]
    assert files.ls("yoloarchive://cam1/", detail=False) == [FOLDER]
    assert files.find("") == sorted(there) == sorted(files.ls(FOLDER, detail=False))
    assert files.cat(sorted(there)) == there == files.cat("cam1", recursive=True)
    assert {path: files.info(path)["size"] for path in there} == {path: len(data) for path, data in there.items()}
    assert files.info(frame(3))["archive"] == NAME.archive_key and files.isdir(FOLDER)
    assert files.modified(frame(3)) == HOUR.start + timedelta(seconds=3)
    assert files.glob("*/202603*/*_03000[0-4]_*.jpg") == [frame(second) for second in range(5)]
    assert files.glob("cam1/202604*/*") == files.glob(f"cam1/{HOUR}/none.jpg") == files.glob("cam9/*") == []
    assert files.cat_ranges([frame(1), frame(2)], 10, [12, -2990]) == [b"\1\1", b""]
    assert files.cat_file(f"cam1/at/{(HOUR.start + timedelta(seconds=5.5)).isoformat()}") == there[frame(5)]
    for missing in ("cam9", f"cam1/{Hour.from_key('20260302_04')}", f"{FOLDER}/x.jpg", "cam1/today", "../x"):
        assert not files.exists(missing)
        with pytest.raises((FileNotFoundError, IsADirectoryError)):
            files.cat_file(missing)


def test_only_hours_that_match_are_looked_into(files: ArchiveFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    def looked(*_: object) -> dict[str, ArchivedFile]:
        raise AssertionError("an index was read")

    with monkeypatch.context() as patch:
        patch.setattr(ArchiveTree, "files", looked)
        assert files.glob("cam1/202604*/*.jpg") == []
    assert len(files.glob("cam1/202603*/*.jpg")) == 12


def test_a_later_part_keeps_both_files_of_one_name(
    hour: SpoolHour, archive: Archive, signer: Signer, files: ArchiveFileSystem
) -> None:
    earlier = files.cat_file(frame(4))
    (hour.path / Path(frame(4)).name).write_bytes(b"another picture")
    (hour.path / "20260302_031000_000.jpg").write_bytes(b"late")
    archive_hour(hour, archive, signer)
    files.invalidate_cache()
    assert files.cat_file(frame(4)) == earlier
    assert files.cat_file(f"{FOLDER}/20260302_031000_000.jpg") == b"late"
    late = f"{FOLDER}/part2/{Path(frame(4)).name}"
    assert late in files.find("cam1") and files.ls(f"{FOLDER}/part2", detail=False) == [late]
    assert files.cat_file(late) == b"another picture"


class Requests(ForwardingStore):
    """Notes the key of each request for an object."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.keys: list[str] = []

    def _around(self, operation: str, key: str, request: Callable[[], Any]) -> Any:
        self.keys.append(key)
        return request()


def test_a_file_costs_three_requests_then_one(
    tmp_path: Path, signer: Signer, archive: Archive, options: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yolo_assets.archive.packing.index.ROW_GROUP", 4)  # as in an hour of thousands
    for module in ("commit", "part"):
        monkeypatch.setattr(f"yolo_assets.archive.{module}.SMALL_INDEX", 0)
    fill(tmp_path / "spool", signer, archive)
    store = Requests(archive.store)
    monkeypatch.setattr("yolo_assets.filesystem.archive_files.open_store", lambda *_, **__: store)
    files = ArchiveFileSystem(**options, skip_instance_cache=True)
    with files.open(frame(3)) as first:
        assert first.read(1) == b"\3"
    assert store.keys == [NAME.receipt_key, NAME.index_key, NAME.archive_key]
    files.cat_file(frame(5))
    assert store.keys[3:] == [NAME.index_key, NAME.archive_key], "the whole index, once"
    del store.keys[:]
    files.cat_file(frame(9))
    assert files.cat([frame(second) for second in range(12)])[frame(7)] == b"\7" * 3000
    assert store.keys == [NAME.archive_key] * 2, "neighbours come together"


def test_a_changed_byte_is_one_clear_error(files: ArchiveFileSystem, archive: Archive, tmp_path: Path) -> None:
    stored = tmp_path / "archive" / NAME.archive_key
    row = archive.part(archive.receipt(NAME)).find(Path(frame(6)).name)
    assert row is not None
    data = bytearray(stored.read_bytes())
    data[row.offset + row.length // 2] ^= 1
    stored.chmod(0o644)
    stored.write_bytes(data)
    for read in (files.cat_file, lambda path: files.open(path).read(), lambda path: files.cat([path])):
        with pytest.raises(IntegrityError, match=Path(frame(6)).name):
            read(frame(6))
    whole, changed = files.cat_ranges([frame(5), frame(6)], None, None)
    assert whole == b"\5" * 3000 and isinstance(changed, IntegrityError)
    with pytest.raises(duckdb.Error, match=Path(frame(6)).name):
        connection = duckdb.connect()
        register_archive(connection, files)
        connection.sql(f"SELECT frame_bytes('{frame(6)}')").fetchall()


def test_nothing_can_be_written(files: ArchiveFileSystem, hour: SpoolHour) -> None:
    writes: list[Callable[[], object]] = [
        lambda: files.open(frame(1), "wb"),
        lambda: files.pipe_file(frame(1), b"x"),
        lambda: files.rm(frame(1)),
        lambda: files.mkdir("cam2"),
        lambda: files.copy(frame(1), frame(2)),
    ]
    for write in writes:
        with pytest.raises(OSError) as raised:
            write()
        assert raised.value.errno == errno.EROFS
    assert files.cat_file(frame(1)) == on_disk(hour)[frame(1)]


def test_a_cold_archive_and_an_unknown_key_say_what_to_do(
    files: ArchiveFileSystem, options: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cold(part: object, start: int, length: int) -> bytes:
        raise ColdObjectError(NAME.archive_key, "DEEP_ARCHIVE")

    monkeypatch.setattr("yolo_assets.archive.part.ArchivedPart._range", cold)
    with pytest.raises(ColdObjectError, match="yolo-assets restore asks the store for it"):
        files.cat_file(frame(1))
    Signer.load_or_create(tmp_path / "other" / "archiver")
    stranger = ArchiveFileSystem(archive=options["archive"], key=str(tmp_path / "other" / "archiver.pub"))
    with pytest.raises(SignatureError):
        stranger.cat_file(frame(1))
    monkeypatch.setenv("YOLO_ASSETS_HOME", str(tmp_path / "nowhere"))
    with pytest.raises(SignatureError, match="key="):
        ArchiveFileSystem(archive=options["archive"]).ls("")


def test_it_reads_the_copy_where_the_archive_is_away(
    hour: SpoolHour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "archive").rename(tmp_path / "copy")
    monkeypatch.setenv("YOLO_ASSETS_HOME", str(tmp_path))
    monkeypatch.setenv("YOLO_ASSETS_ARCHIVE_COPY", str(tmp_path / "copy"))
    assert ArchiveFileSystem(skip_instance_cache=True).cat_file(frame(3)) == b"\3" * 3000


def test_pandas_and_polars_read_records_by_url(files: ArchiveFileSystem, options: dict[str, str]) -> None:
    url = f"yoloarchive://{FOLDER}/records.ndjson"
    assert isinstance(fsspec.filesystem("yoloarchive", **options), ArchiveFileSystem), "by its entry point"
    read = pandas.read_json(url, lines=True, storage_options=options)
    with fsspec.open(url, **options) as records:
        also = polars.read_ndjson(records)
    assert list(read["image_path"]) == also["image_path"].to_list() == [frame(second) for second in range(12)]


def test_sql_joins_detections_with_the_bytes_of_frames(files: ArchiveFileSystem) -> None:
    connection = duckdb.connect()
    register_archive(connection, files)
    detections = polars.DataFrame(
        {"image_path": [frame(3), frame(6), f"{FOLDER}/20260302_035959_000.jpg", None], "class": ["crack"] * 4}
    )
    connection.register("detections", detections.to_arrow())
    rows = connection.sql(
        "SELECT image_path, frame_bytes(image_path) AS bytes FROM detections WHERE \"class\" = 'crack'"
    ).fetchall()
    assert rows == [*((frame(n), bytes([n]) * 3000) for n in (3, 6)), (rows[2][0], None), (None, None)]
    blobs = connection.sql(f"SELECT filename, content FROM read_blob('yoloarchive://{FOLDER}/*_03001?_000.jpg')")
    assert sorted(blobs.fetchall()) == [
        (f"yoloarchive://{frame(second)}", bytes([second]) * 3000) for second in (10, 11)
    ]


WORKERS = """
import multiprocessing, operator, sys
from concurrent.futures import ProcessPoolExecutor
from yolo_assets.filesystem.archive_files import ArchiveFileSystem
from yolo_assets.filesystem.frames import ArchivedFrames

start, archive, key, *paths = sys.argv[1:]
frames = ArchivedFrames(ArchiveFileSystem(archive=archive, key=key), paths)
here = frames[3]  # opened before the worker starts
with ProcessPoolExecutor(1, multiprocessing.get_context(start)) as pool:
    one = pool.submit(operator.itemgetter(7), frames).result()
    batch = pool.submit(operator.methodcaller("__getitems__", [9, 2, 9]), frames).result()
print([(path, data[:1].hex(), len(data)) for path, data in (here, one, *batch)])
"""


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_read_it_however_they_start(start: str, hour: SpoolHour, options: dict[str, str]) -> None:
    """In a program of its own: one that has run threads, as pytest by now, is not to be forked."""
    paths = [frame(second) for second in range(12)]
    command = [sys.executable, "-c", WORKERS, start, options["archive"], options["key"], *paths]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    expected = [(frame(second), f"{second:02x}", 3000) for second in (3, 7, 9, 2, 9)]
    assert ast.literal_eval(done.stdout) == expected


@pytest.mark.s3
def test_it_reads_a_bucket(
    make_bucket: Callable[..., S3Bucket], tmp_path: Path, signer: Signer, options: dict[str, str]
) -> None:
    bucket = make_bucket()
    hour = fill(tmp_path / "spool", signer, Archive(open_store(bucket.url), TrustedKeys.of(signer)))
    files = ArchiveFileSystem(archive=bucket.url, key=options["key"])
    assert files.cat(files.glob("cam1/*/*.jpg")) == {
        path: data for path, data in on_disk(hour).items() if path.endswith(".jpg")
    }
