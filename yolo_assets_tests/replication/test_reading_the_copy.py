"""Reads go on from the second place while the first is away, and after the archive has moved there."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from yolo_assets.archive.archive import Archive
from yolo_assets.cli.main import main
from yolo_assets.contracts.errors import IntegrityError
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.filesystem.archive_files import ArchiveFileSystem
from yolo_assets.storage import ObjectNotFoundError, StoreUnavailableError, open_store
from yolo_assets.storage.fallback import CopyReads, FallbackStore
from yolo_assets.storage.faults import FaultyStore, Outage, fail, refused
from yolo_assets_tests.support.two_places import TwoPlaces

HOURS = ("20260102_03", "20260102_04")


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TwoPlaces:
    """Two hours that lie in both places."""
    places = TwoPlaces(tmp_path)
    for hour in HOURS:
        places.record(hour)
    places.archive()
    places.replicate()
    for name, value in {**places.env, "YOLO_ASSETS_ARCHIVE_COPY": places.second}.items():
        monkeypatch.setenv(name, value)
    return places


def run_command(arguments: list[str]) -> int:
    """The command in this process; its exit code."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "argv", ["yolo-assets", *arguments])
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def frames(places: TwoPlaces, archive: Archive) -> dict[str, bytes]:
    return {
        row.name: part.read(row)
        for name in archive.names()
        for part in [archive.part(archive.receipt(name))]
        for row in part.index()
    }


def test_reads_go_on_while_the_first_place_is_away(places: TwoPlaces) -> None:
    expected = frames(places, Archive(open_store(places.first), places.trusted))
    outage, now, said, reads = Outage(), [0.0], list[str](), CopyReads()
    first = FaultyStore(open_store(places.first), outage)
    both = FallbackStore(first, open_store(places.second), say=said.append, reads=reads, clock=lambda: now[0])
    outage.begin()
    assert frames(places, Archive(both, places.trusted)) == expected
    assert reads.count > len(expected) and len(said) == 1 and places.second in said[0]
    assert len(first.calls) <= 2, "it is not asked again at each read"
    outage.end()
    now[0] += 60
    before = reads.count
    assert frames(places, Archive(both, places.trusted)) == expected and reads.count == before


def test_one_lost_object_comes_from_the_copy(places: TwoPlaces) -> None:
    expected = frames(places, Archive(open_store(places.first), places.trusted))
    name = ArchiveName.parse(f"yolo_cam1_{HOURS[0]}")
    store = open_store(places.first)
    for key in (name.archive_key, name.index_key):
        store.delete(key)
    both = FallbackStore(store, open_store(places.second), reads=(reads := CopyReads()))
    assert frames(places, Archive(both, places.trusted)) == expected and reads.count >= 2
    with pytest.raises(ObjectNotFoundError, match="there is no object"):
        both.get("receipts/nothing")


def test_a_stream_that_breaks_off_goes_on_in_the_copy(places: TwoPlaces) -> None:
    name = ArchiveName.parse(f"yolo_cam1_{HOURS[0]}")
    data = open_store(places.first).get(name.archive_key)
    first = FaultyStore(open_store(places.first), fail("stream", cut_after=1000), fail("list", cut_after=1))
    both = FallbackStore(first, open_store(places.second), reads=CopyReads())
    assert b"".join(both.stream(name.archive_key, chunk_size=600)) == data
    both = FallbackStore(first, open_store(places.second), reads=CopyReads())
    assert [info.key for info in both.list("receipts/")] == [
        info.key for info in open_store(places.second).list("receipts/")
    ]


def test_writes_never_go_to_the_copy(places: TwoPlaces) -> None:
    second = FaultyStore(open_store(places.second))
    both = FallbackStore(FaultyStore(open_store(places.first), fail("put", times=None, error=refused)), second)
    with pytest.raises(StoreUnavailableError):
        both.put("k", b"data")
    assert second.calls == []


def test_commands_read_from_the_copy_and_say_so(
    places: TwoPlaces, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    span = ["--camera", "cam1", "--from", "2026-01-02T03:00Z", "--to", "2026-01-02T05:00Z"]
    assert run_command(["catalog", "rebuild"]) == 0
    (tmp_path / "archive").rename(tmp_path / "away")
    capfd.readouterr()
    assert run_command(["restore", *span, "--out", str(tmp_path / "out"), "--json"]) == 0
    told = capfd.readouterr()
    assert json.loads(told.out)["files"] > 6 and json.loads(told.out)["from_copy"] > 0
    assert "read from the copy" in told.err
    assert (
        run_command(["archive", "cat", "--camera", "cam1", "--at", "2026-01-02T04:30Z", "-o", str(tmp_path / "f")]) == 0
    )
    assert "read from the copy" in capfd.readouterr().err
    assert run_command(["archive", "ls", "--archive", str(tmp_path / "elsewhere")]) == 1, "a copy of another archive"
    assert run_command(["archive", "verify", "--both"]) == 1


def test_the_file_system_reads_from_the_copy(places: TwoPlaces, tmp_path: Path) -> None:
    files = ArchiveFileSystem(skip_instance_cache=True)
    paths = sorted(files.find("cam1"))
    expected = {path: files.cat_file(path) for path in paths}
    (tmp_path / "archive").rename(tmp_path / "away")
    files = ArchiveFileSystem(skip_instance_cache=True)
    assert len(paths) > 6 and {path: files.cat_file(path) for path in sorted(files.find("cam1"))} == expected


def test_both_are_compared(places: TwoPlaces, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(["archive", "verify", "--both", "--json"]) == 0
    shallow = json.loads(capfd.readouterr().out)
    assert shallow["same"] == 7 and shallow["by_checksum"] == 2, "two archives, by their statement"
    assert run_command(["archive", "verify", "--both", "--deep", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["by_checksum"] == 7
    name = ArchiveName.parse(f"yolo_cam1_{HOURS[0]}")
    store = open_store(places.second)
    data = store.get(name.index_key)
    store.put(name.index_key, data[:-1] + bytes([data[-1] ^ 1]))
    store.delete(ArchiveName.parse(f"yolo_cam1_{HOURS[1]}").receipt_key)
    assert run_command(["archive", "verify", "--both", "--deep"]) == 1
    told = capfd.readouterr()
    assert f"different: {name.index_key}" in told.out and "1 missing in the copy, 1 different" in told.err
    assert run_command(["archive", "verify", "--deep"]) == 2


def test_moving_house(places: TwoPlaces, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """The page: replicate, verify, switch; the archiver goes on at the new place and sends nothing twice."""
    assert run_command(["archive", "replicate", "--to", places.second]) == 0
    assert run_command(["archive", "verify", "--both"]) == 0
    monkeypatch.setenv("YOLO_ASSETS_ARCHIVE", places.second)
    monkeypatch.delenv("YOLO_ASSETS_ARCHIVE_COPY")
    shutil.rmtree(places.root / "archive")
    places.record("20260102_05")
    places.record(HOURS[0], seed=7)  # late frames of an hour that moved
    capfd.readouterr()
    assert run_command(["archive", "run", "--grace", "0", "--json"]) == 0
    rows = json.loads(capfd.readouterr().out)
    assert {(row["hour"], row["receipt"]["part"]) for row in rows if row["status"] == "archived"} == {
        ("20260102_05", 1),
        (HOURS[0], 2),
    }
    assert run_command(["catalog", "rebuild", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["archives"] == 4
    assert run_command(["archive", "verify", "--verify", "full"]) == 0
    assert run_command(["archive", "verify"]) == 0


@pytest.mark.parametrize("what", ["archive", "index"])
def test_what_is_damaged_comes_from_the_copy(places: TwoPlaces, what: str) -> None:
    """A bad disk answers, and answers wrongly; only the hash shows it."""
    expected = frames(places, Archive(open_store(places.first), places.trusted))
    name = ArchiveName.parse(f"yolo_cam1_{HOURS[0]}")
    key = name.archive_key if what == "archive" else name.index_key
    first, second = open_store(places.first), open_store(places.second)
    whole = first.get(key)
    damaged = whole[:600] + bytes(byte ^ 0xFF for byte in whole[600:900]) + whole[900:]
    first.put(key, damaged)
    said, reads = list[str](), CopyReads()
    both = Archive(FallbackStore(first, second, say=said.append, reads=reads), places.trusted)
    assert frames(places, both) == expected and reads.count >= 1
    assert len(said) == 1 and f"read from the copy {places.second}" in said[0]
    part = both.part(both.receipt(name))
    read = {row.name: b"".join(pieces) for row, pieces in part.read_many(part.index())}
    assert {name: data for name, data in read.items() if name.endswith(".jpg")}.items() <= expected.items()
    second.put(key, damaged)
    with pytest.raises(IntegrityError):
        frames(places, both)
    with pytest.raises(IntegrityError):
        frames(places, Archive(first, places.trusted))
