"""Evidence of what other people's tools wrote: shown, or named; never left out in silence, never beside its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import orjson
import pytest

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.contracts.times import Hour, parse_time
from yolo_assets.evidence import manifest as names
from yolo_assets.evidence.manifest import PackManifest
from yolo_assets.evidence.verify import verify_pack
from yolo_assets.vision.pictures import decode_image
from yolo_assets_tests.cli.command_line import cli
from yolo_assets_tests.evidence.evidence_world import BOX, STEM, Plant, detection, files_of, forge, picture, record_line
from yolo_assets_tests.support.foreign import spool_case

DAY: dict[str, Any] = {"start": parse_time("2024-10-15T00:00:00Z"), "end": parse_time("2024-10-16T00:00:00Z")}
RED = np.array([0, 0, 255])
NAME = "20260102_030001_000"


def archived(case: str, folder: Path) -> Plant:
    """A plant that holds a foreign spool, hours that are none left alone."""
    plant = Plant(folder / "plant")
    plant.spool = spool_case(case, folder)
    for path in sorted(plant.spool.glob("*/*")):
        try:
            hour = Hour.from_key(path.name)
        except BadInputError:
            continue
        plant.take(path.parent.name, hour)
    return plant


def asked(plant: Plant, camera: str, **more: Any) -> tuple[PackManifest, Path]:
    """A pack of that day, sound by every check."""
    pack = plant.folder / f"pack-{camera}-{len(list(plant.folder.iterdir()))}"
    made = plant.make(pack, camera_id=camera, **(DAY | more))
    done = verify_pack(pack, TrustedKeys.of(plant.office, plant.signer))
    assert [check for check in done.checks if check.verdict != "ok"] == []
    return made, pack


def findings(pack: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (pack / names.FINDINGS).read_bytes().splitlines()]


def drawn(pack: Path, stem: str, name: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return decode_image((pack / "annotated" / stem / name).read_bytes(), name)


def page(pack: Path) -> str:
    return (pack / "report.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("case", "camera", "frames", "detections"),
    [
        ("seed_record", "camera_01", 2, 1),
        ("image_path_spellings", "cam01", 9, 9),
        ("json_with_bom", "cam01", 1, 1),
        ("json_with_bom", "cam02", 3, 3),
        ("png_beside_jpg", "cam01", 4, 4),
        ("long_class_name", "cam01", 2, 2),
        ("zero_byte_frame", "cam01", 6, 6),
        ("poison_timestamp", "good1", 1, 1),
        ("poison_timestamp", "poison", 2, 1),
        ("poison_captured_at", "poison", 2, 1),
        ("hour_99991231", "cam02", 1, 0),
    ],
)
def test_every_foreign_spool_gives_its_frames_and_records(
    case: str, camera: str, frames: int, detections: int, tmp_path: Path
) -> None:
    made, _ = asked(archived(case, tmp_path), camera)
    assert (made.counts.frames, made.counts.detections) == (frames, detections) and made.complete


@pytest.mark.parametrize("case", ["poison_timestamp", "poison_captured_at"])
def test_a_record_that_cannot_be_read_is_named_and_its_neighbour_is_there(case: str, tmp_path: Path) -> None:
    made, pack = asked(archived(case, tmp_path), "poison")
    (problem,) = made.problems
    assert problem.kind == "record_not_read" and (pack / problem.path).is_file() and "0001-01-01" in problem.reason
    assert problem.path in page(pack) and sum(hour.unread for hour in made.hours) == 1


def test_a_record_that_cannot_be_read_is_told_on_the_command_line(tmp_path: Path) -> None:
    plant = archived("poison_timestamp", tmp_path)
    question = ("--camera", "poison", "--from", "2024-10-15T14:00:00Z", "--to", "2024-10-15T15:00:00Z")
    done = cli("evidence", "make", *question, "--out", tmp_path / "pack", home=plant.folder)
    assert done.returncode == 0 and done.stdout.startswith("2 frames, 1 record")
    assert done.stderr.strip() == "1 record could not be read and count for nothing; the report names them"


def test_who_signs_packs_cannot_hide_a_record_that_could_not_be_read(tmp_path: Path) -> None:
    plant = archived("poison_timestamp", tmp_path)
    made, pack = asked(plant, "poison")
    (pack / made.problems[0].path).unlink()
    hours = [hour.model_dump(mode="json") | {"unread": 0} for hour in made.hours]
    forge(pack, plant.office, hours=hours, problems=[])
    first = verify_pack(pack, TrustedKeys.of(plant.office, plant.signer)).first_difference
    assert first is not None and first.name == "findings"


def test_frames_beside_their_hour_are_found_by_their_time_once(tmp_path: Path) -> None:
    plant = archived("hour_border", tmp_path)
    late = {"start": parse_time("2024-10-15T15:00:00Z"), "end": parse_time("2024-10-15T15:10:00Z")}
    made, pack = asked(plant, "late", **late)
    assert [line["frame"]["member"] for line in findings(pack)] == [
        "20241015_150000_100.jpg",
        "20241015_150001_100.jpg",
    ]
    assert (made.counts.frames, made.counts.records, made.counts.outside_hour) == (2, 2, 1) and made.complete
    assert "lie in the archive of a neighbouring hour; they are included" in page(pack)
    before, _ = asked(plant, "late", end=late["start"])
    assert (before.counts.frames, before.counts.outside_hour) == (1, 0)
    whole, _ = asked(plant, "late")
    assert whole.counts.frames == 3


def test_the_box_of_a_turned_picture_lies_on_the_defect(tmp_path: Path) -> None:
    made, pack = asked(archived("exif_rotated", tmp_path), "cam01")
    assert made.counts.other_size == 0 and "drawn in the upright picture" in page(pack)
    name = "20241015_140000_000.jpg"
    stem = "yolo_cam01_20241015_14"
    frame = decode_image((pack / "frames" / stem / name).read_bytes(), name).astype(int)
    red = np.argwhere(np.abs(frame - RED).max(axis=2) < 90)
    (top, left), (bottom, right) = red.min(axis=0), red.max(axis=0)
    boxed = np.abs(drawn(pack, stem, name).astype(int) - frame).max(axis=2) > 40
    boxed[: top + 4] = False  # the label stands above the box
    ys, xs = np.nonzero(boxed)
    assert frame.shape[:2] == (160, 120) and len(ys)
    assert abs(xs.min() - left) <= 4 and abs(xs.max() - right) <= 4 and abs(ys.max() - bottom) <= 4


def colourful(bgr: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.ptp(bgr.astype(int), axis=2) > 60


def test_boxes_of_another_picture_size_are_told_and_not_drawn(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    line = record_line(f"{NAME}.jpg", detection(), width=1920, height=1080)
    plant.foreign({f"{NAME}.jpg": picture(1), f"{NAME}.json": line})
    made = plant.make(tmp_path / "pack")
    assert made.counts.other_size == 1 and [problem.kind for problem in made.problems] == ["other_size"]
    assert not colourful(drawn(tmp_path / "pack", STEM, f"{NAME}.jpg")).any()
    assert "of a picture of another size" in page(tmp_path / "pack") and "40.0, 30.0" in page(tmp_path / "pack")


def encoded(ending: str) -> bytes:
    done, data = cv2.imencode(ending, decode_image(picture(3), "it"))
    assert done
    return data.tobytes()


@pytest.mark.parametrize("ending", [".png", ".PNG", ".webp", ".bmp", ".tif", ".tiff", ".JPG", ".jpeg"])
def test_a_frame_of_any_kind_is_shown_and_kept_untouched(ending: str, tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    data, name = encoded(ending.lower()), f"{NAME}{ending}"
    plant.foreign({name: data, f"{NAME}.json": record_line(name, detection())})
    made = plant.make(tmp_path / "pack", class_name="crack")
    assert (made.counts.frames, made.counts.not_drawable) == (1, 0) and made.problems == ()
    files = files_of(tmp_path / "pack")
    assert files[f"frames/{STEM}/{name}"] == data
    copy = names.annotated_path(STEM, name)
    shown = decode_image(files[copy], copy)
    x1, _, x2, y2 = map(int, BOX)
    assert files[copy][:2] == b"\xff\xd8" and colourful(shown)[y2 - 1 : y2 + 2, x1:x2].any(0).mean() > 0.9
    assert page(tmp_path / "pack").count("data:image/jpeg;base64,") == 1


@pytest.mark.parametrize(
    ("data", "word"),
    [(b"", "empty"), (picture(1)[:2000], "cut off"), (b"no picture", "not a picture"), (b"GIF89a" + bytes(40), "GIF")],
)
def test_what_is_no_picture_is_named_and_the_others_are_drawn(data: bytes, word: str, tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    other = "20260102_030002_000"
    files = {f"{NAME}.jpg": data, f"{NAME}.json": record_line(f"{NAME}.jpg", detection())}
    files |= {f"{other}.jpg": picture(2), f"{other}.json": record_line(f"{other}.jpg", detection())}
    plant.foreign(files)
    made = plant.make(tmp_path / "pack")
    assert (made.counts.frames, made.counts.not_drawable, made.counts.records) == (2, 1, 2)
    (problem,) = made.problems
    assert problem.kind == "no_picture" and problem.path == f"frames/{STEM}/{NAME}.jpg" and word in problem.reason
    assert problem.path in page(tmp_path / "pack")
    assert colourful(drawn(tmp_path / "pack", STEM, f"{other}.jpg")).any()


def test_a_picture_of_an_unknown_kind_that_a_record_names_is_in_the_pack(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    heic = b"\0\0\0\x18ftypheic" + bytes(100)
    files = {f"{NAME}.heic": heic, f"{NAME}.json": record_line(f"{NAME}.heic", detection()), "notes.txt": b"hello"}
    plant.foreign(files)
    made = plant.make(tmp_path / "pack")
    assert (made.counts.frames, made.counts.without_picture) == (1, 0)
    assert files_of(tmp_path / "pack")[f"frames/{STEM}/{NAME}.heic"] == heic
    assert {problem.kind: problem.path for problem in made.problems} == {
        "no_picture": f"frames/{STEM}/{NAME}.heic",
        "other_file": f"{STEM}/notes.txt",
    }
    text = page(tmp_path / "pack")
    assert f'href="frames/{STEM}/{NAME}.heic"' not in text  # what a browser might run is named, not linked
    assert verify_pack(tmp_path / "pack", TrustedKeys.of(plant.office, plant.signer)).first_difference is None


def test_a_class_name_of_any_length_is_shortened_in_print_alone(tmp_path: Path) -> None:
    plant = archived("long_class_name", tmp_path)
    made, pack = asked(plant, "cam01")
    longest = max(
        (item["class"] for line in findings(pack) for item in line["records"][0]["record"]["detections"]), key=len
    )
    assert len(longest) == 3000 and longest not in page(pack)
    assert f"{longest[:60]}… (3,000 characters, whole in findings.ndjson)" in page(pack)
    again, second = asked(plant, "cam01", class_name=longest)
    assert again.counts.frames == 1 and again.query.class_name == longest and longest not in page(second)
    assert made.counts.frames == 2


def test_what_is_so_by_design_stands_in_no_red_box(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    files: dict[str, bytes] = {}
    for second in range(4):
        stem = f"20260102_03000{second}_000"
        found = detection("crack" if second == 0 else "dent")
        files |= {f"{stem}.jpg": picture(second), f"{stem}.json": record_line(f"{stem}.jpg", found)}
    plant.foreign(files)
    made = plant.make(tmp_path / "pack", class_name="crack")
    text = page(tmp_path / "pack")
    assert made.hours[0].left_out == 3 and made.gaps == ()
    assert 'class="notice"' not in text and "What could not be shown" not in text
    assert 'class="remark"' in text and "3 record files of other frames of these hours are not needed" in text


def test_time_that_is_still_to_come_is_no_gap(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    plant.hour(frames=1)
    made = plant.make(tmp_path / "pack", end=parse_time("2036-01-01T00:00:00Z"))
    assert [gap.end for gap in made.gaps] == [made.made_at]


def test_a_manifest_is_json_that_any_tool_reads(tmp_path: Path) -> None:
    _, pack = asked(archived("seed_record", tmp_path), "camera_01")
    said = json.loads((pack / names.MANIFEST).read_text("utf-8"))
    assert said["schema_version"] == 2 and said["language"] == "en" and said["counts"]["frames"] == 2
