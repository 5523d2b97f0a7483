"""An hour's tables are the same wherever its records are: spool, archive, both, late, half reclaimed."""

from __future__ import annotations

import dataclasses
import io
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest

import yolo_assets.tables.build as module
from yolo_assets.archive.archive import Archive
from yolo_assets.archive.archiving import archive_hour
from yolo_assets.archive.reclaim import reclaim_hour
from yolo_assets.contracts.errors import SignatureError
from yolo_assets.contracts.names import ArchiveName, detections_key, frames_key, quarantine_key, spool_hour
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.storage import open_store
from yolo_assets.storage.faults import FaultyStore, fail
from yolo_assets.tables.build import NoRecordsError, build_hour, report_of
from yolo_assets.tables.scan import read_detections, read_frames, read_quarantine
from yolo_assets_tests.tables.detection_records import CAMERA, NOON, detection_json, frame_json

JPEG = b"\xff\xd8not really a picture\xff\xd9"


class Plant:
    """A spool, an archive and a store in folders."""

    def __init__(self, folder: Path) -> None:
        self.spool = folder / "spool"
        self.archive = open_store((folder / "archive").as_uri())
        self.store = open_store((folder / "store").as_uri())
        self.signer = Signer.load_or_create(folder / "archiver")
        self.trusted = TrustedKeys.of(self.signer)
        self.path = spool_hour(self.spool, CAMERA, NOON)

    def write(self, name: str, *records) -> None:
        """Records as NDJSON, or the one record of a per-frame file; bytes go in as they are. And their images."""
        self.path.mkdir(parents=True, exist_ok=True)
        lines = [r if isinstance(r, bytes) else orjson.dumps(r) for r in records]
        (self.path / name).write_bytes(b"\n".join(lines))
        for r in records:
            if not isinstance(r, bytes):
                (self.path / r["image_path"].rsplit("/", 1)[-1]).write_bytes(JPEG)

    def build(self, trusted=None):
        return build_hour(CAMERA, NOON, self.spool, Archive(self.archive, trusted or self.trusted), self.store)

    def archive_now(self) -> None:
        archive_hour(SpoolHour.of(self.spool, CAMERA, NOON), Archive(self.archive, self.trusted), self.signer)

    def reclaim(self) -> int:
        hour = SpoolHour.of(self.spool, CAMERA, NOON)
        now = NOON.end + timedelta(days=1)
        return reclaim_hour(hour, Archive(self.archive, self.trusted), hot_hours=0, now=now).files

    def table(self, key: str) -> pl.DataFrame:
        return pl.read_parquet(io.BytesIO(self.store.get(key)))


@pytest.fixture
def plant(tmp_path):
    return Plant(tmp_path)


GOOD = [frame_json(second) for second in range(5)]
BAD_BOX = frame_json(10, detections=[detection_json(10), detection_json(10, bbox=[0, 0, 9999, 1])])


def test_the_same_bytes_from_spool_and_from_archive(plant):
    plant.write("records.ndjson", *GOOD, BAD_BOX, b'{"torn": ')
    first = plant.build()
    assert (first.source, first.frames, first.detections, first.quarantined) == ("spool", 6, 6, 2)
    assert set(first.keys) == {f(NOON, CAMERA) for f in (detections_key, frames_key, quarantine_key)}
    assert plant.table(quarantine_key(NOON, CAMERA))["kind"].to_list() == ["detection", "record"]

    plant.archive_now()
    both = plant.build()
    assert (both.source, both.sha256) == ("spool", first.sha256), "what is archived and still here is read here"
    assert plant.reclaim() > 0
    cold = plant.build()
    assert (cold.source, cold.sha256) == ("archive", first.sha256)
    assert plant.build() == cold


def test_late_frames_join_what_is_archived_already(plant):
    plant.write("records.ndjson", *GOOD)
    plant.archive_now()
    plant.reclaim()
    late = frame_json(1800)
    plant.write("late.json", late)
    report = plant.build()
    assert (report.source, report.frames) == ("spool and archive", 6)
    plant.archive_now()
    still_here = plant.build()
    assert (still_here.source, still_here.sha256) == ("spool and archive", report.sha256)
    plant.reclaim()
    again = plant.build()
    assert (again.source, again.sha256) == ("archive", report.sha256)


def test_a_repaired_record_leaves_quarantine(plant):
    plant.write("a.json", b"{}")
    plant.write("b.json", GOOD[1])
    assert plant.build().quarantined == 1
    plant.write("a.json", GOOD[0])
    report = plant.build()
    assert (report.frames, report.quarantined) == (2, 0)
    assert plant.store.head(quarantine_key(NOON, CAMERA)) is None


@pytest.mark.parametrize("late", [False, True])
def test_a_file_reclaimed_while_it_is_read_is_found_in_the_archive(plant, monkeypatch, late):
    plant.write("records.ndjson", *GOOD)
    plant.archive_now()
    if late:  # then the archive is read as well
        plant.write("late.json", frame_json(1800))
    build, reclaimed = module.build_tables, []

    def reclaim_first(*arguments):
        if not reclaimed:
            reclaimed.append(plant.reclaim())
        return build(*arguments)

    monkeypatch.setattr(module, "build_tables", reclaim_first)
    report = plant.build()
    assert reclaimed[0] > 0
    source = "spool and archive" if late else "archive"
    assert (report.frames, report.quarantined, report.source) == (5 + late, 0, source)


def test_an_hour_whole_in_the_spool_costs_one_listing_of_the_archive(plant):
    # Nothing in the first minutes: no object can come from the hour before, which would be asked for otherwise.
    plant.write("records.ndjson", *(frame_json(second) for second in range(600, 605)))
    plant.archive_now()
    asked = []

    class Counted:
        """Only ``list`` is there: anything else asked of the archive fails."""

        url = plant.archive.url

        def list(self, prefix):
            asked.append(prefix)
            return plant.archive.list(prefix)

    counted: Any = Counted()
    build = partial(build_hour, CAMERA, NOON, plant.spool, Archive(counted, plant.trusted), plant.store)
    assert build().frames == 5 and len(asked) == 1
    assert build(archived=[ArchiveName(CAMERA, NOON)]).source == "spool" and len(asked) == 1


def test_a_listing_that_is_out_of_date_loses_no_record(plant):
    """The run listed the archive, then another process archived the hour and deleted some or all of it."""
    plant.write("records.ndjson", *GOOD)
    archive = Archive(plant.archive, plant.trusted)
    build = partial(build_hour, CAMERA, NOON, plant.spool, archive, plant.store, archived=[])
    plant.archive_now()
    (plant.path / "records.ndjson").unlink()
    assert (plant.path / f"{GOOD[0]['image_path'].rsplit('/', 1)[-1]}").exists()
    assert build().frames == 5
    plant.reclaim()
    assert build().frames == 5


def test_killed_between_two_tables_a_rerun_completes_them(plant):
    plant.write("records.ndjson", *GOOD, b"{")
    whole = plant.build()
    for key in whole.keys:
        plant.store.delete(key)
    for survivors in range(3):
        store = plant.store
        plant.store = FaultyStore(store, fail("put", nth=survivors + 1, error=lambda _: KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            plant.build()
        plant.store = store
        assert plant.store.head(frames_key(NOON, CAMERA)) is None
    assert plant.build() == whole


def test_the_report_of_an_hour_is_found_again_in_the_store(plant):
    plant.write("records.ndjson", *GOOD, b"{")
    assert report_of(CAMERA, NOON, plant.store) is None
    built = plant.build()
    assert built.quarantined == 1
    assert report_of(CAMERA, NOON, plant.store) == dataclasses.replace(built, source="built before")
    plant.store.delete(frames_key(NOON, CAMERA))
    assert report_of(CAMERA, NOON, plant.store) is None, "frames are written last: the build was not finished"


def test_an_hour_without_files_anywhere_is_an_error(plant):
    with pytest.raises(NoRecordsError, match="neither in the spool"):
        plant.build()


def test_an_hour_of_images_without_records_has_empty_tables(plant):
    plant.path.mkdir(parents=True)
    (plant.path / "20260102_120001_000.jpg").write_bytes(JPEG)
    report = plant.build()
    assert (report.frames, report.detections, report.quarantined) == (0, 0, 0)
    assert plant.table(frames_key(NOON, CAMERA)).is_empty()


def test_an_untrusted_archive_writes_nothing(plant, tmp_path):
    plant.write("records.ndjson", *GOOD)
    plant.archive_now()
    plant.reclaim()
    stranger = TrustedKeys.of(Signer.load_or_create(tmp_path / "stranger"))
    with pytest.raises(SignatureError, match="not trusted"):
        plant.build(stranger)
    assert list(plant.store.list("")) == []


def test_tables_are_read_back_by_time_and_camera(plant):
    plant.write("records.ndjson", *GOOD, b"{")
    plant.build()
    plant.store.put("detections/date=2026-01-02/hour=12/notes.txt", b"not a table")
    start = NOON.start
    found = read_detections(plant.store, start + timedelta(seconds=1), start + timedelta(seconds=3))
    assert found["captured_at"].to_list() == [start + timedelta(seconds=1), start + timedelta(seconds=2)]
    assert read_frames(plant.store, start, NOON.end, [CAMERA]).height == 5
    assert read_frames(plant.store, start, NOON.end, ["other"]).is_empty()
    assert read_frames(plant.store, start, NOON.end, columns=["camera_id", "blur"]).columns == ["camera_id", "blur"]
    assert read_frames(plant.store, NOON.end, NOON.next(5).start).is_empty()
    assert read_frames(plant.store, NOON.next(-30).start, NOON.next(30).start).height == 5
    assert read_quarantine(plant.store, start, NOON.end).height == 1
    with pytest.raises(Exception, match="no column 'nope'"):
        read_frames(plant.store, start, NOON.end, columns=["nope"])
