"""Truth lies outside the spool and comes back as labels through the import that people use."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import frame_name
from yolo_assets.contracts.times import Hour
from yolo_assets.learning.labels import parse
from yolo_assets.simulator.appearance import CLASS_NAMES
from yolo_assets.simulator.labeller import ANNOTATOR, label_batch
from yolo_assets.simulator.truth import FrameTruth, check_truth_dir, true_boxes, truth_file, truth_for, write_hour
from yolo_assets.simulator.weld_line import LineConfig, WeldLine

HOUR = Hour(datetime(2026, 1, 2, 3, tzinfo=UTC))
CAMERA = "lineA_cam01"
LINE = WeldLine(LineConfig(seed=7))


def frame(index: int) -> FrameTruth:
    moment = HOUR.start + timedelta(seconds=20 * index)
    return FrameTruth(
        image_path=f"{CAMERA}/{HOUR}/{frame_name(moment)}",
        camera_id=CAMERA,
        captured_at=moment,
        width=320,
        height=256,
        boxes=true_boxes(LINE.truth(CAMERA, moment)),
    )


@pytest.fixture
def frames(tmp_path: Path) -> list[FrameTruth]:
    made = [frame(index) for index in range(20)]
    write_hour(tmp_path, CAMERA, HOUR, made)
    return made


def test_truth_comes_back_as_it_was_written(tmp_path: Path, frames: list[FrameTruth]) -> None:
    wanted = [frames[7].image_path, frames[2].image_path]
    assert list(truth_for(tmp_path, wanted).items()) == [(frames[7].image_path, frames[7]), (wanted[1], frames[2])]
    line = orjson.loads(truth_file(tmp_path, CAMERA, HOUR).read_bytes().splitlines()[0])
    assert set(line) == {"image_path", "camera_id", "captured_at", "width", "height", "boxes"}
    assert line["captured_at"] == "2026-01-02T03:00:00.000Z"


def test_a_frame_without_truth_is_named(tmp_path: Path, frames: list[FrameTruth]) -> None:
    missing = f"{CAMERA}/{HOUR}/20260102_035959_999.jpg"
    with pytest.raises(BadInputError, match=missing):
        truth_for(tmp_path, [frames[0].image_path, missing])
    with pytest.raises(BadInputError, match="no truth for"):
        truth_for(tmp_path / "elsewhere", [frames[0].image_path])
    with pytest.raises(BadInputError, match="<camera>/<hour>/<frame>"):
        truth_for(tmp_path, ["frame.jpg"])


def test_a_broken_line_is_named(tmp_path: Path, frames: list[FrameTruth]) -> None:
    path = truth_file(tmp_path, CAMERA, HOUR)
    path.write_bytes(path.read_bytes() + b'{"image_path": "x"}\n')
    with pytest.raises(BadInputError, match="line 21 of"):
        truth_for(tmp_path, [frames[0].image_path])


@pytest.mark.parametrize("inside", ["", "lineA_cam01", "a/b", "../spool/a"])
def test_truth_inside_the_spool_is_refused(tmp_path: Path, inside: str) -> None:
    spool = tmp_path / "spool"
    with pytest.raises(BadInputError, match="outside"):
        check_truth_dir(spool / inside, spool)


def test_truth_around_the_spool_is_refused_and_next_to_it_is_fine(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="choose one next to it"):
        check_truth_dir(tmp_path, tmp_path / "spool")
    check_truth_dir(tmp_path / "truth", tmp_path / "spool")
    (tmp_path / "spool").mkdir()
    (tmp_path / "alias").symlink_to(tmp_path / "spool")
    with pytest.raises(BadInputError):
        check_truth_dir(tmp_path / "alias" / "truth", tmp_path / "spool")


def test_the_annotator_labels_every_frame_and_the_import_reads_it(tmp_path: Path, frames: list[FrameTruth]) -> None:
    items = [{"file": f"{index:02d}.jpg", "image_path": frame.image_path} for index, frame in enumerate(frames)]
    labels = label_batch({"batch": "b1", "items": items}, tmp_path)
    parsed = parse("labels.json", orjson.dumps(labels))
    assert parsed.format == "coco" and not parsed.orphans and len(parsed.images) == len(frames)
    assert any(not image.boxes for image in parsed.images), "backgrounds are labelled too"
    for image, frame_truth in zip(parsed.images, frames, strict=True):
        assert (image.image_path, image.annotator, image.width) == (frame_truth.image_path, ANNOTATOR, 320)
        assert not image.problems
        for read, true in zip(image.boxes, frame_truth.boxes, strict=True):
            assert read.class_name == true.class_name and read.class_name in CLASS_NAMES
            assert read.xyxy == pytest.approx(true.bbox, abs=1e-6)


def test_the_annotator_refuses_what_is_no_batch_or_not_its_own(tmp_path: Path, frames: list[FrameTruth]) -> None:
    with pytest.raises(BadInputError, match="manifest"):
        label_batch({"items": [{"file": "a.jpg"}]}, tmp_path)
    with pytest.raises(BadInputError, match="manifest"):
        label_batch({}, tmp_path)
    foreign = {"items": [{"file": "a.jpg", "image_path": "cam9/20260102_03/20260102_030000_000.jpg"}]}
    with pytest.raises(BadInputError, match="was not simulated"):
        label_batch(foreign, tmp_path)
