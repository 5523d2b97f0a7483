"""Getting files back: only what is selected; damage is reported, the rest restored, and a stopped run continues."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.archiving import archive_hour
from yolo_assets.archive.audit.verification import verify_archives
from yolo_assets.archive.listing import archived_hours, archives_between
from yolo_assets.archive.packing.pack import IndexRow
from yolo_assets.archive.restore.filter import FrameFilter
from yolo_assets.archive.restore.hints import no_camera, no_frame, no_hour
from yolo_assets.archive.restore.placing import OutFolder
from yolo_assets.archive.restore.plan import plan_restore
from yolo_assets.archive.restore.writing import carry_out, check_room, restore
from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.names import ArchiveName, frame_name
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.spool.writer import SpoolWriter
from yolo_assets.storage import open_store
from yolo_assets_tests.support.one_round import run_archiver
from yolo_assets_tests.support.records import frame_record

Contents = Callable[[Path], dict[str, bytes]]
FillHour = Callable[..., SpoolHour]
HOUR = Hour.from_key("20260102_03")
NAME = ArchiveName("cam1", HOUR)
DAY = timedelta(days=1)


def write(spool: Path, camera: str, at: datetime, batch: str, class_name: str, confidence: float) -> None:
    found = {"bbox": [0, 0, 1, 1], "class": class_name, "confidence": confidence, "timestamp": at.isoformat()}
    record = {"detections": [found], "model_version": "m", "device_id": "d", "batch_id": batch}
    with SpoolWriter(spool, camera, "box1") as writer:
        writer.write(at, frame_record(record), f"{camera} {at}".encode())
        writer.seal(Hour.of(at))


@pytest.fixture
def plant(tmp_path: Path, signer: Signer, trusted: TrustedKeys, store_url: str) -> Archive:
    """Three cameras, one of whose ids begins like another's, in four hours over two days; a folder and S3."""
    spool, archive = tmp_path / "spool", Archive(open_store(store_url), trusted)
    for number, camera in enumerate(("cam", "cam_1", "cam_2026")):
        for hours in (0, 1, 20, 21):
            at = HOUR.start + timedelta(hours=hours, minutes=10 + number)
            write(spool, camera, at, f"B{hours % 2}", "crack" if number else "dent", 0.5 + number / 10)
    assert {result.status for result in run_archiver(spool, archive, signer)} == {"archived"}
    return archive


def restored(out: Path) -> set[tuple[str, str]]:
    """Camera and hour of every frame that is there."""
    return {(path.parts[-3], path.parts[-2]) for path in out.rglob("*.jpg")}


def test_listing_and_restoring_by_camera_time_and_batch(plant: Archive, signer: Signer, tmp_path: Path) -> None:
    end = HOUR.start + 2 * DAY
    everything = list(archives_between(plant))
    assert everything == sorted(everything, key=lambda one: (one.hour, one.camera_id)) and len(everything) == 12
    long_ago, far_on = HOUR.start - 9000 * DAY, HOUR.start + 9000 * DAY
    for start, until in ((HOUR.start, end), (long_ago, far_on), (None, far_on), (long_ago, None)):
        assert list(archives_between(plant, start, until)) == everything
    later = [one for one in everything if one.hour.date == "2026-01-03"]
    assert len(later) == 3
    assert list(archives_between(plant, HOUR.start + timedelta(hours=20, minutes=59), None)) == [
        one for one in everything if one.hour >= HOUR.next(20)
    ]
    for camera in ("cam", "cam_1", "cam_2026"):
        own = [one for one in everything if one.camera_id == camera]
        assert list(archives_between(plant, None, None, camera_id=camera)) == own
        assert list(archives_between(plant, HOUR.start, HOUR.end, camera_id=camera)) == own[:1]
        assert archived_hours(plant, camera) == [one.hour for one in own]

    done = restore(plant, None, HOUR.start, end, tmp_path / "b", batch="B1", frames_only=True)
    hours = {HOUR.next(1).key, HOUR.next(21).key}
    assert restored(tmp_path / "b") == {(camera, key) for camera in ("cam", "cam_1", "cam_2026") for key in hours}
    assert (done.files, done.archives) == (6, 6)
    restore(plant, "cam_1", HOUR.start, end, tmp_path / "c", class_name="crack", min_confidence=0.6)
    assert {camera for camera, _ in restored(tmp_path / "c")} == {"cam_1"}
    assert not restore(plant, "cam_1", HOUR.start, end, tmp_path / "d", min_confidence=0.7).files
    assert not (tmp_path / "d").exists()


def test_frames_of_one_part_come_alone_and_a_receipt_names_the_parts(
    archive: Archive, signer: Signer, tmp_path: Path
) -> None:
    with SpoolWriter(tmp_path / "spool", "cam1", "box1") as writer:
        for second in range(6):
            part: Any = second // 2 if second % 2 else str(second // 2)  # programs write it as text or as a number
            found = {"detections": [], "model_version": "m", "device_id": "d", "part_id": part}
            at = HOUR.start + timedelta(seconds=second)
            writer.write(at, frame_record(found), b"\xff\xd8%d\xff\xd9" % second)
        writer.seal(HOUR)
    hour = SpoolHour.of(tmp_path / "spool", "cam1", HOUR)
    archive_hour(hour, archive, signer)
    (receipt,) = archive.receipts("cam1", HOUR)
    assert receipt.part_ids == ("0", "1", "2")
    done = restore(archive, None, HOUR.start, HOUR.end, tmp_path / "out", part_id="1", frames_only=True)
    assert done.files == 2
    plan = plan_restore(archive, FrameFilter(HOUR.start, HOUR.end, part_id="9"), tmp_path / "none")
    assert not plan.hours and "no frame with part 9" in (told := plan.contents.instead_of(plan.selection))
    assert "parts 0, 1, 2" in told


def test_a_receipt_of_too_many_parts_lists_none_and_the_records_are_asked(
    archive: Archive, signer: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yolo_assets.archive.commit.MOST_PARTS", 2)
    with SpoolWriter(tmp_path / "spool", "cam1", "box1") as writer:
        for second in range(4):
            found = {"detections": [], "model_version": "m", "device_id": "d", "part_id": f"SN-{second}"}
            writer.write(HOUR.start + timedelta(seconds=second), frame_record(found), b"\xff\xd8%d\xff\xd9" % second)
        writer.seal(HOUR)
    archive_hour(SpoolHour.of(tmp_path / "spool", "cam1", HOUR), archive, signer)
    (receipt,) = archive.receipts("cam1", HOUR)
    assert receipt.part_ids is None
    done = restore(archive, None, HOUR.start, HOUR.end, tmp_path / "out", part_id="SN-3", frames_only=True)
    assert done.files == 1


def test_the_closest_names_are_suggested(plant: Archive, signer: Signer) -> None:
    assert no_camera(plant, "cam9").endswith("there are archives of cam, cam_1, cam_2026")
    assert "the nearest are 20260102_04 before and 20260102_23 after" in no_hour(plant, "cam", HOUR.next(5))
    assert "the nearest are 20260103_00 before" in no_hour(plant, "cam", HOUR.next(22), HOUR.next(30))
    wrong = frame_name(HOUR.start)
    assert "among the 1 frames of hour 20260102_03; the closest are 20260102_031000_000.jpg" in no_frame(
        plant, "cam", HOUR, wrong
    )


@pytest.fixture
def hour(fill_hour: FillHour, archive: Archive, signer: Signer) -> SpoolHour:
    """Archived, its files still in the spool to compare with."""
    found = fill_hour()
    archive_hour(found, archive, signer)
    return found


def test_record_files_come_only_with_hours_that_match(
    hour: SpoolHour, archive: Archive, trusted: TrustedKeys, tmp_path: Path
) -> None:
    start = HOUR.start + timedelta(seconds=4)
    nothing: dict[str, dict[str, Any]] = {
        "confidence": {"class_name": "crack", "min_confidence": 0.95},
        "batch": {"batch": "B9"},
        "class": {"class_name": "scratch"},
    }
    for what, wanted in nothing.items():
        plan = plan_restore(archive, FrameFilter(HOUR.start, HOUR.end, "cam1", **wanted), tmp_path / "o")
        assert not plan.hours and not plan.problems, what
        told = plan.contents.instead_of(plan.selection)
        assert ("B1, B2" if what == "batch" else "crack up to 0.90, dent up to 0.80") in told
    # cracks are in seconds 0, 3, 6, 9: the hour matches and this stretch of it does not
    assert not restore(archive, "cam1", start, start + timedelta(seconds=2), tmp_path / "o", class_name="crack").files
    assert not restore(archive, "cam1", HOUR.start + timedelta(minutes=9), HOUR.end, tmp_path / "o").files
    assert not (tmp_path / "o").exists()
    some = restore(archive, "cam1", start, start + timedelta(seconds=2), tmp_path / "o")
    assert {path.suffix for path in (tmp_path / "o").rglob("*") if path.is_file()} == {".jpg", ".ndjson", ".log", ""}
    assert some.files == 2 + 3  # two frames, their records, drops, the seal


def test_a_plan_says_what_comes_and_what_is_there(
    hour: SpoolHour, archive: Archive, trusted: TrustedKeys, tmp_path: Path, contents: Contents
) -> None:
    out, wanted = tmp_path / "out", FrameFilter(HOUR.start, HOUR.end, "cam1")
    files = contents(hour.path)
    plan = plan_restore(archive, wanted, out)
    assert (plan.archives, plan.files, plan.bytes) == (1, len(files), sum(map(len, files.values())))
    assert plan.missing == plan.bytes and not out.exists()
    seen: list[tuple[str, int]] = []
    carry_out(archive, plan, out, report=lambda path, size: seen.append((path, size)))
    assert sorted(seen) == sorted((f"cam1/{HOUR}/{name}", len(data)) for name, data in files.items())
    gone = next(path for path in out.rglob("*.jpg"))
    gone.write_bytes(b"half")
    again = plan_restore(archive, wanted, out)
    assert (again.bytes, again.missing) == (plan.bytes, len(files[gone.name]))


def test_too_little_space_is_reported_before_a_byte_is_written(
    hour: SpoolHour, archive: Archive, trusted: TrustedKeys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_restore(archive, FrameFilter(HOUR.start, HOUR.end, "cam1"), tmp_path / "out")
    check_room(plan, tmp_path / "out")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, plan.bytes - 1))  # pyright: ignore
    with pytest.raises(UserError, match=rf"takes {plan.bytes} bytes .* has {plan.bytes - 1} free"):
        restore(archive, "cam1", HOUR.start, HOUR.end, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_part_costs_nothing_else(
    hour: SpoolHour, archive: Archive, signer: Signer, trusted: TrustedKeys, tmp_path: Path, contents: Contents
) -> None:
    before = contents(hour.path)
    late = hour.path / frame_name(HOUR.start + timedelta(minutes=30))
    late.write_bytes(b"late")
    run_archiver(tmp_path / "spool", archive, signer, grace_seconds=0)
    second = ArchiveName("cam1", HOUR, 2)
    kept = {key: archive.store.get(key) for key in (NAME.receipt_key, NAME.index_key, NAME.archive_key)}
    for key in kept:
        out = tmp_path / key.partition("/")[0]
        archive.store.put(key, b"{}")
        done = restore(archive, "cam1", HOUR.start, HOUR.end, out)
        assert not done.ok and any(NAME.stem in line for line in done.problems)
        assert contents(out / "cam1" / HOUR.key) == {late.name: b"late"}
        reports = list(verify_archives(archive, [NAME, second], "full"))
        assert [report.ok for report in reports] == [False, True]
        assert [found.problem is None for found in archive.read_receipts([NAME, second])] == [
            key != NAME.receipt_key,
            True,
        ]
        archive.store.put(key, kept[key])
        assert restore(archive, "cam1", HOUR.start, HOUR.end, out).ok
        assert contents(out / "cam1" / HOUR.key) == before | {late.name: b"late"}


def test_an_index_that_is_damaged_leaves_the_archive_to_be_compared_with_its_receipt(
    hour: SpoolHour, archive: Archive, trusted: TrustedKeys
) -> None:
    archive.store.put(NAME.index_key, b"no index")
    (report,) = verify_archives(archive, [NAME], "full")
    assert len(report.problems) == 1 and NAME.index_key in report.problems[0]
    assert report.bytes_read == archive.receipt(NAME).archive_size
    archive.store.put(NAME.archive_key, bytes(report.bytes_read))
    (report,) = verify_archives(archive, [NAME], "full")
    assert len(report.problems) == 3  # the index, SHA-256 and MD5


def test_files_keep_their_places_whatever_is_selected(
    hour: SpoolHour, archive: Archive, signer: Signer, trusted: TrustedKeys, tmp_path: Path
) -> None:
    name = "20260102_030001_000.jpg"
    first = (hour.path / name).read_bytes()
    (hour.path / name).write_bytes(b"second")
    run_archiver(tmp_path / "spool", archive, signer, grace_seconds=0)
    folder = tmp_path / "out" / "cam1" / HOUR.key
    choices: list[dict[str, Any]] = [{"min_confidence": 0.1}, {}, {"frames_only": True}]
    for wanted in choices:
        restore(archive, "cam1", HOUR.start, HOUR.end, tmp_path / "out", **wanted)
        assert ((folder / name).read_bytes(), (folder / "part2" / name).read_bytes()) == (first, b"second")


def test_names_that_differ_in_case_are_all_restored_on_a_disk_that_folds_them(
    hour: SpoolHour, archive: Archive, signer: Signer, trusted: TrustedKeys, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name in ("x.jpg", "X.jpg"):
        (hour.path / name).write_bytes(name.encode())
    run_archiver(tmp_path / "spool", archive, signer, grace_seconds=0)
    monkeypatch.setattr(OutFolder, "folds_case", lambda _: True)
    assert restore(archive, "cam1", HOUR.start, HOUR.end, tmp_path / "out").ok
    folder = tmp_path / "out" / "cam1" / HOUR.key
    assert {(folder / path).read_bytes() for path in ("X.jpg", "part2/x.jpg")} == {b"X.jpg", b"x.jpg"}


MOMENTS = st.integers(-7200, 7200).map(lambda seconds: HOUR.start + timedelta(seconds=seconds))


@given(st.lists(MOMENTS, max_size=20, unique=True), MOMENTS, st.integers(1, 7200), st.booleans())
def test_the_selection_follows_the_range(
    frames: list[datetime], start: datetime, seconds: int, frames_only: bool
) -> None:
    wanted = FrameFilter(start, start + timedelta(seconds=seconds), "cam1", frames_only=frames_only)
    for hour in {Hour.of(at) for at in frames}:
        own = {frame_name(at): at for at in frames if at in hour}
        rows = [IndexRow(name, number, 1, 1, b"") for number, name in enumerate([*own, "records.ndjson"])]
        (chosen,) = wanted.chosen([rows], hour, None)
        names = {row.name for row in chosen}
        inside = {name for name, at in own.items() if wanted.start <= at < wanted.end}
        assert names - {"records.ndjson"} == inside
        assert ("records.ndjson" in names) == (not frames_only and bool(inside or wanted.whole(hour)))


@pytest.mark.parametrize("wrong", [{"end": HOUR.start}, {"camera": "../x"}])
def test_a_selection_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    given: dict[str, Any] = {"start": HOUR.start, "end": HOUR.end, "camera": "cam1"} | wrong
    with pytest.raises(BadInputError):
        FrameFilter(**given)
