"""What a pack holds: the frames that answer the question, as they were archived, and nothing that was left out."""

from __future__ import annotations

import base64
import csv
import io
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from yolo_assets.archive.archive import Archive
from yolo_assets.catalog.publish import publish
from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.evidence import manifest as names
from yolo_assets.evidence.collect import TooManyFramesError
from yolo_assets.evidence.make import NothingFoundError, Request, make_pack
from yolo_assets.evidence.verify import verify_pack
from yolo_assets.models.promotion import ReleaseRequest
from yolo_assets.models.registry import Registry
from yolo_assets.storage import ObjectStore, open_store
from yolo_assets.storage.base import ColdObjectError, StoreUnavailableError
from yolo_assets.storage.faults import FaultyStore, StoreCall, StoreFault, fail
from yolo_assets.vision.pictures import decode_image
from yolo_assets_tests.evidence.evidence_world import (
    BOX,
    HEIGHT,
    HOUR,
    NOW,
    START,
    STEM,
    WIDTH,
    Plant,
    detection,
    files_of,
    picture,
    query,
    record_line,
)
from yolo_assets_tests.models.release_support import promoter_of
from yolo_assets_tests.support.signed import content, sealed
from yolo_assets_tests.support.tiny_model import tiny_bundle_files


def assert_sound(plant: Plant, folder: Path, *more: Signer) -> None:
    done = verify_pack(folder, TrustedKeys.of(plant.office, plant.signer, *more))
    assert [(check.name, check.verdict) for check in done.checks if check.verdict != "ok"] == [], done.checks


def findings(folder: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (folder / names.FINDINGS).read_bytes().splitlines()]


def shown(folder: Path) -> list[str]:
    return [line["frame"]["member"] if line["frame"] else "" for line in findings(folder)]


def test_a_pack_holds_the_archived_bytes_the_proof_and_the_report(sound: tuple[Plant, Path]) -> None:
    plant, folder = sound
    assert_sound(plant, folder)
    files = files_of(folder)
    stems = ("20260102_030000_000.jpg", "20260102_030003_000.jpg")
    assert {path for path in files if path.startswith("frames/")} == {f"frames/{STEM}/{name}" for name in stems}
    assert files[f"frames/{STEM}/{stems[1]}"] == picture(3)
    name = ArchiveName("cam1", HOUR)
    assert files[f"receipts/{STEM}.receipt.json"] == plant.archive.get(name.receipt_key)
    assert files[f"indexes/{STEM}.index.parquet"] == plant.archive.get(name.index_key)
    lines = files[f"records/{STEM}/records.ndjson"].splitlines()
    assert len(lines) == 6
    first = findings(folder)[1]["records"][0]
    assert first["verbatim"].encode() == lines[3] == lines[first["line"] - 1]
    assert first["record"] == orjson.loads(lines[3].replace(b":00:00Z", b":00:00.000Z"))  # as it is understood
    assert set(files) >= {"report.html", "report.pdf", "VERIFY.txt", "SHA256SUMS", f"keys/{plant.office.key_id}.pub"}


def test_the_drawn_copy_has_the_box_of_the_record_the_original_none(sound: tuple[Plant, Path]) -> None:
    _, folder = sound
    name = f"{STEM}/20260102_030000_000.jpg"
    first, second = (decode_image((folder / kind / name).read_bytes(), name) for kind in ("frames", "annotated"))
    original, drawn = first.astype(int), second.astype(int)
    assert drawn.shape == original.shape == (HEIGHT, WIDTH, 3)
    colourful = np.ptp(drawn, axis=2) > 60
    assert not (np.ptp(original, axis=2) > 60).any()
    x1, y1, x2, y2 = map(int, BOX)
    for edge in (colourful[y2 - 1 : y2 + 2, x1:x2].any(0), colourful[y1:y2, x2 - 1 : x2 + 2].any(1)):
        assert edge.mean() > 0.9  # the lower and the right edge, which no label covers
    assert not colourful[y2 + 4 :].any() and not colourful[:, : x1 - 4].any()
    assert np.abs(drawn - original)[y1 + 25 : y2 - 5, x1 + 5 : x2 - 5].max() < 30  # inside, the picture is what it was


def test_the_same_question_gives_the_same_bytes(plant: Plant) -> None:
    plant.hour()
    publish(plant.store, Archive(plant.archive, plant.trusted))
    for name in ("one", "two"):
        plant.make(plant.folder / name, store=True)
    one, two = files_of(plant.folder / "one"), files_of(plant.folder / "two")
    assert one == two and "catalog/archives.csv" in one


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        ({}, [0, 1, 2, 3, 4, 5]),
        ({"start": START + timedelta(seconds=2), "end": START + timedelta(seconds=4)}, [2, 3]),
        ({"class_name": "crack"}, [0, 3]),
        ({"class_name": "crack", "min_confidence": 0.6}, [3]),
        ({"min_confidence": 0.7}, [4, 5]),
        ({"batch": "B1", "class_name": "dent", "min_confidence": 0.6}, [2, 4, 5]),
        ({"camera_id": None, "batch": "B1"}, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_every_condition_must_hold(sound: tuple[Plant, Path], tmp_path: Path, asked: Any, seconds: list[int]) -> None:
    plant, _ = sound
    made = plant.make(tmp_path / "pack", **asked)
    assert shown(tmp_path / "pack") == [f"20260102_03000{second}_000.jpg" for second in seconds]
    assert made.counts.frames == len(seconds)
    assert_sound(plant, tmp_path / "pack")


@pytest.mark.parametrize("asked", [{"class_name": "rust"}, {"camera_id": "cam9"}, {"batch": "B9"}])
def test_an_empty_answer_is_one_line_and_leaves_nothing(
    sound: tuple[Plant, Path], tmp_path: Path, asked: dict[str, Any]
) -> None:
    with pytest.raises(NothingFoundError, match="nothing that is archived answers"):
        sound[0].make(tmp_path / "pack", **asked)
    assert list(tmp_path.iterdir()) == []


def test_more_frames_than_allowed_is_no_pack(sound: tuple[Plant, Path], tmp_path: Path) -> None:
    with pytest.raises(TooManyFramesError, match="more than 5 frames match"):
        sound[0].make(tmp_path / "pack", max_frames=5)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_not_touched(sound: tuple[Plant, Path], tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(BadInputError, match="nothing is ever added to a pack"):
        sound[0].make(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    (tmp_path / "empty").mkdir()
    sound[0].make(tmp_path / "empty", class_name="crack")
    assert_sound(sound[0], tmp_path / "empty")


def test_a_crash_leaves_nothing_that_looks_like_a_pack(
    sound: tuple[Plant, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yolo_assets.evidence.make.seal", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        sound[0].make(tmp_path / "pack")
    assert list(tmp_path.iterdir()) == []


def test_late_frames_in_part_2_are_found_with_their_own_receipt(plant: Plant) -> None:
    plant.hour(frames=2)
    late = "20260102_030030_000"
    plant.foreign({f"{late}.jpg": picture(9), f"{late}.late.ndjson": record_line(f"{late}.jpg", detection()) + b"\n"})
    plant.make(plant.folder / "pack", class_name="crack")
    assert shown(plant.folder / "pack") == ["20260102_030000_000.jpg", f"{late}.jpg"]
    assert findings(plant.folder / "pack")[1]["frame"]["archive"] == f"{STEM}_p2"
    assert_sound(plant, plant.folder / "pack")


def test_a_per_frame_file_wins_over_lines_and_others_are_left_out(plant: Plant) -> None:
    first, second, third = (f"20260102_03000{number}_000" for number in range(3))
    lines = [record_line(f"{stem}.jpg", detection("crack")) for stem in (first, second)]
    files = {f"{stem}.jpg": picture(number) for number, stem in enumerate((first, second, third))}
    files |= {"all.ndjson": b"\n".join(lines), f"{second}.json": record_line(f"{second}.jpg", detection("dent"))}
    plant.foreign(files | {f"{third}.json": record_line(f"{third}.jpg", detection("dent"))})
    made = plant.make(plant.folder / "pack", class_name="crack")
    assert shown(plant.folder / "pack") == [f"{first}.jpg"]
    records = {path.rpartition("/")[2] for path in files_of(plant.folder / "pack") if path.startswith("records/")}
    assert records == {"all.ndjson", f"{second}.json"}  # the latter is why the line about its frame does not count
    assert made.hours[0].left_out == 1
    assert_sound(plant, plant.folder / "pack")


def test_odd_names_no_times_no_sizes_and_bytes_that_are_no_picture(plant: Plant) -> None:
    odd = {"Üñ <b>&1.jpg": picture(1), "IMG.JPG": picture(2), "img.jpg": b"\xff\xd8 no picture", "-rf.jpg": picture(3)}
    records = {"r.ndjson": b"\n".join(record_line(name, detection(box=(-5, -5, 1e12, 50))) for name in odd)}
    plant.foreign(odd | records | {"bad.json": b"{half"})
    made = plant.make(plant.folder / "pack", class_name="crack")
    assert sorted(shown(plant.folder / "pack")) == sorted(odd)
    files = files_of(plant.folder / "pack")
    for line in findings(plant.folder / "pack"):
        assert files[line["frame"]["path"]] == odd[line["frame"]["member"]] and line["captured_at"] is None
    assert (made.counts.frames, made.counts.not_drawable) == (4, 1)
    assert_sound(plant, plant.folder / "pack")


def test_a_frame_without_a_record_answers_a_question_about_time_alone(plant: Plant) -> None:
    plant.foreign({"20260102_030001_000.jpg": picture(1)})
    made = plant.make(plant.folder / "pack")
    assert (made.counts.frames, made.counts.records) == (1, 0)
    assert_sound(plant, plant.folder / "pack")


def test_a_record_whose_picture_was_not_kept_is_reported(plant: Plant) -> None:
    gone = "20260102_030007_000.jpg"
    plant.foreign(
        {"20260102_030001_000.jpg": picture(1), "r.ndjson": record_line(gone, detection(), image_saved=False)}
    )
    made = plant.make(plant.folder / "pack", class_name="crack")
    assert (made.counts.frames, made.counts.without_picture) == (0, 1)
    assert "the picture was not kept" in (plant.folder / "pack" / "report.html").read_text().lower()
    assert_sound(plant, plant.folder / "pack")


def test_a_part_is_found_over_cameras_and_stands_in_the_report(plant: Plant) -> None:
    plant.hour("cam1", 2, part_id="SN-7")
    plant.hour("cam2", 2, part_id="SN-8")
    plant.hour("cam3", 2)
    publish(plant.store, Archive(plant.archive, plant.trusted))
    for name, camera in (("SN-7", "cam1"), ("SN-8", "cam2")):
        plant.make(plant.folder / name, camera_id=None, part_id=name)
        assert {line["camera_id"] for line in findings(plant.folder / name)} == {camera}
        assert name in (plant.folder / name / names.REPORT_HTML).read_text()
        assert_sound(plant, plant.folder / name)


def test_a_batch_is_found_over_cameras_with_and_without_a_catalog(plant: Plant) -> None:
    plant.hour("cam1", 2)
    plant.hour("cam2", 2)
    plant.hour("cam3", 2, batch="B2")
    asked = {"camera_id": None, "batch": "B1"}
    plant.make(plant.folder / "without", **asked)
    publish(plant.store, Archive(plant.archive, plant.trusted))
    plant.hour("cam4", 2)  # archived after the catalog was made: it is not in it
    counted = FaultyStore(plant.archive)
    with_catalog = make_pack(
        Archive(counted, plant.trusted),
        plant.store,
        plant.office,
        Request(query(**asked), "A. Berg"),
        plant.folder / "with",
        now=NOW,
    )
    assert {line["camera_id"] for line in findings(plant.folder / "without")} == {"cam1", "cam2"}
    assert {line["camera_id"] for line in findings(plant.folder / "with")} == {"cam1", "cam2", "cam4"}
    assert not any("cam3" in key for key in counted.keys("get", "get_range"))
    assert with_catalog.catalog.startswith("2 of 3 archives are in the catalog")
    rows = list(csv.DictReader(io.StringIO((plant.folder / "with" / names.CATALOG_CSV).read_text())))
    assert [row["camera_id"] for row in rows] == ["cam1", "cam2"]
    assert_sound(plant, plant.folder / "with")


def cold_archive(plant: Plant) -> ObjectStore:
    """One archive lies in a cold tier: its bytes cannot be read, receipts and index can."""

    def cold(call: StoreCall) -> StoreFault | None:
        in_cold_tier = call.operation == "get_range" and "camera=cam1" in call.key and "_04" in call.key
        return StoreFault(ColdObjectError(call.key, "GLACIER")) if in_cold_tier else None

    return FaultyStore(plant.archive, cold)


def lost_archive(plant: Plant) -> ObjectStore:
    path = next((plant.folder / "archive").rglob("*_04.tar.gz"))
    path.chmod(0o644)
    path.unlink()
    return plant.archive


def damaged_archive(plant: Plant) -> ObjectStore:
    path = next((plant.folder / "archive").rglob("*_04.tar.gz"))
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[data.find(b"\xff\xd8\xff") + 300] ^= 1
    path.write_bytes(data)
    return plant.archive


def strange_receipt(plant: Plant) -> ObjectStore:
    path = next((plant.folder / "archive").rglob("*_04.receipt.json"))
    path.chmod(0o644)
    envelope = orjson.loads(path.read_bytes())
    payload = base64.b64decode(envelope["payload"]).replace(b'"cam1"', b'"cam2"')
    path.write_bytes(orjson.dumps({**envelope, "payload": base64.b64encode(payload).decode()}))
    return plant.archive


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (cold_archive, "cold tier"),
        (lost_archive, "yolo_cam1_20260102_04.tar.gz"),
        (damaged_archive, "damaged"),
        (strange_receipt, "receipt"),
    ],
    ids=["cold", "missing", "damaged", "receipt"],
)
def test_an_unavailable_hour_is_named_and_the_rest_is_evidence(
    plant: Plant, spoil: Callable[[Plant], ObjectStore], word: str
) -> None:
    plant.hour(frames=2)
    plant.hour(frames=2, start=START + timedelta(hours=1))
    archive = Archive(spoil(plant), plant.trusted)

    def make(**asked: Any) -> Any:
        request = Request(query(end=HOUR.next(2).end, **asked), "A. Berg")
        return make_pack(archive, None, plant.office, request, plant.folder / "pack", now=NOW)

    made = make()
    assert not made.complete and [hour.state for hour in made.hours] == ["searched", "unavailable"]
    assert word in (made.hours[1].reason or "")
    assert [(gap.start, gap.end) for gap in made.gaps] == [(HOUR.next(2).start, HOUR.next(2).end)]
    page = (plant.folder / "pack" / "report.html").read_text()
    assert "This pack is incomplete" in page and "no archive of this camera" in page
    assert not any("_04" in path for path in files_of(plant.folder / "pack") if not path.startswith("receipts/"))
    assert_sound(plant, plant.folder / "pack")
    shutil.rmtree(plant.folder / "pack")
    with pytest.raises(NothingFoundError, match=word):
        make(start=HOUR.end)
    assert not (plant.folder / "pack").exists()


def in_two_parts(plant: Plant) -> None:
    """Two frames and one that came late, and an hour after them."""
    plant.hour(frames=2)
    plant.foreign({"20260102_033000_000.jpg": picture(7)})
    plant.hour(frames=1, start=START + timedelta(hours=1))


def test_a_part_whose_receipt_is_lost_makes_the_pack_incomplete(plant: Plant) -> None:
    in_two_parts(plant)
    plant.archive.delete(f"receipts/date=2026-01-02/hour=03/{STEM}.receipt.json")
    made = plant.make(plant.folder / "pack", end=HOUR.next().end)
    assert not made.complete and [hour.state for hour in made.hours] == ["unavailable", "searched"]
    assert STEM in (made.hours[0].reason or "") and "lost or hidden" in (made.hours[0].reason or "")
    assert_sound(plant, plant.folder / "pack")
    plant.archive.delete(f"receipts/date=2026-01-02/hour=03/{STEM}_p2.receipt.json")
    for number, asked in enumerate(({}, {"camera_id": None, "batch": "B1"})):
        made = plant.make(plant.folder / f"pack{number}", end=HOUR.next().end, **asked)
        assert [hour.state for hour in made.hours] == ["unavailable", "searched"] and not made.gaps


@pytest.mark.s3
def test_a_receipt_under_a_delete_marker_is_still_evidence(make_bucket: Callable[..., Any], tmp_path: Path) -> None:
    bucket = make_bucket(versioned=True)
    plant = Plant(tmp_path, bucket.url)
    in_two_parts(plant)
    for hour, stem in (("03", STEM), ("04", f"{STEM[:-2]}04")):
        bucket.client.delete_object(
            Bucket=bucket.name, Key=f"root/receipts/date=2026-01-02/hour={hour}/{stem}.receipt.json"
        )
    made = plant.make(plant.folder / "pack", end=HOUR.next().end)
    assert made.complete and made.counts.frames == 4 and not made.gaps
    assert_sound(plant, plant.folder / "pack")


def test_a_store_that_does_not_answer_is_an_error(sound: tuple[Plant, Path], tmp_path: Path) -> None:
    plant, _ = sound
    down = Archive(FaultyStore(plant.archive, fail("get_range", times=None)), plant.trusted)
    with pytest.raises(StoreUnavailableError, match="does not answer"):
        make_pack(down, None, plant.office, Request(query(), "x"), tmp_path / "p", now=NOW)
    assert list(tmp_path.iterdir()) == []


def test_a_catalog_that_contradicts_a_receipt_stops_it(plant: Plant) -> None:
    plant.hour(frames=1)
    other = Signer.load_or_create(plant.folder / "keys" / "other")
    forged = open_store((plant.folder / "forged").as_uri())
    name = ArchiveName("cam1", HOUR)
    document = content(plant.archive.get(name.receipt_key))
    forged.put(name.receipt_key, sealed(other, {**document, "sha256": "0" * 64}, "receipt"))
    publish(plant.store, Archive(forged, TrustedKeys.of(other)))
    with pytest.raises(UserError, match="contradicts the signed receipt"):
        plant.make(plant.folder / "pack", store=True)
    assert not (plant.folder / "pack").exists()


def test_model_manifests_are_included_and_their_signature_checked(plant: Plant) -> None:
    promoter = Signer.load_or_create(plant.folder / "keys" / "promotion")
    registry = Registry(plant.store, TrustedKeys.of(promoter))
    registry.write_bundle(*tiny_bundle_files(name="line", version="1"))
    promoter_of(registry, promoter).promote(ReleaseRequest("line", "1", "stable", by="test", reason="first"))
    plant.hour(frames=1)
    made = plant.make(plant.folder / "pack", store=True)
    assert [(model.model_version, model.included) for model in made.models] == [("line/1", True)]
    done = verify_pack(plant.folder / "pack", TrustedKeys.of(plant.office, plant.signer, promoter))
    assert next(check.detail for check in done.checks if check.name == "models").startswith("1 manifest signed")
    assert_sound(plant, plant.folder / "pack")


@pytest.mark.s3
def test_evidence_out_of_a_real_object_store(make_bucket: Callable[..., Any], tmp_path: Path) -> None:
    bucket = make_bucket(versioned=True)
    plant = Plant(tmp_path, bucket.url)
    plant.hour(frames=3)
    name = ArchiveName("cam1", HOUR)
    for key in (name.receipt_key, name.index_key, name.archive_key):  # the originals are overwritten
        bucket.client.put_object(Bucket=bucket.name, Key=f"root/{key}", Body=b"{}")
    plant.make(tmp_path / "pack", class_name="crack")
    assert shown(tmp_path / "pack") == ["20260102_030000_000.jpg"]
    assert_sound(plant, tmp_path / "pack")
    assert open_store(plant.archive.url).get(name.receipt_key) == b"{}"
