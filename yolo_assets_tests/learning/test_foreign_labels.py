"""Label files as other people's tools write them, each with the answer that a user must get.

The files lie in ``yolo_assets_tests/foreign/labels``; most speak of one batch of eight frames of 160x120 with a crack
each, of which the line's model was sure.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from yolo_assets.contracts.names import LABELS_INBOX
from yolo_assets.learning.label_history import LabelHistory, accepted
from yolo_assets.learning.labels import FileReport, import_inbox
from yolo_assets.learning.records import LabelledImage
from yolo_assets.storage import ObjectStore, open_store

FOREIGN = Path(__file__).parents[1] / "foreign" / "labels"
CLASSES = ("crack", "dent")


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    """A store root that handed out the batch of the foreign files."""
    shutil.copytree(FOREIGN / "annotation", tmp_path / "store" / "annotation")
    return open_store((tmp_path / "store").as_uri())


def bring(store: ObjectStore, *files: str, classes: tuple[str, ...] | None = CLASSES) -> dict[str, FileReport]:
    """Put files into the inbox and import it. Reports by file name."""
    for file in files:
        store.put(f"{LABELS_INBOX}{Path(file).name}", (FOREIGN / file).read_bytes())
    return {Path(report.file).name: report for report in import_inbox(store, classes).files}


def counted(store: ObjectStore) -> dict[str, LabelledImage]:
    """The labels that count now, by the second of the frame: 0 to 7."""
    counting = LabelHistory(accepted(store)).counting().values()
    return {one.image.image_path.removesuffix("_000.jpg")[-1]: one.image for one in counting}


def boxes(store: ObjectStore) -> dict[str, list[tuple[str, tuple[float, ...]]]]:
    return {name: [(box.class_name, box.bbox) for box in image.boxes] for name, image in counted(store).items()}


@dataclass(frozen=True)
class Case:
    """What a file must give: accepted images and boxes, images that wait for a person, and words in its problems."""

    file: str
    images: int
    boxes: int
    waiting: int = 0
    problems: tuple[str, ...] = ()
    classes: tuple[str, ...] | None = CLASSES


CASES = (
    Case("coco_round1_good.json", 8, 8),
    Case("coco_string_image_ids.json", 8, 8),
    Case("coco_bom.json", 8, 8),
    Case("coco_nan.json", 8, 8),
    Case("coco_rotated_box.json", 1, 1),
    Case("coco_iscrowd.json", 1, 1, problems=("iscrowd",)),
    Case("coco_half_reviewed.json", 4, 4, waiting=4, problems=("0.93",) * 4),
    Case("coco_class_added_later.json", 0, 0, problems=("unknown class 'scratch'",) * 2),
    Case("coco_cvat.zip", 2, 2),
    Case("yolo_same_name_in_two_folders.zip", 2, 2),
    Case("yolo_blank_line_in_classes.zip", 0, 0, problems=("line 2 is blank",), classes=None),
    Case("yolo_classes_latin1.zip", 0, 0, problems=("save it as UTF-8",)),
    Case("yolo_names_on_off.zip", 2, 2, classes=("on", "off")),
    Case("yolo_mac.zip", 1, 1),
    Case("yolo_roboflow.zip", 1, 1),
    Case("yolo_cvat11.zip", 2, 2),
    Case("label_studio_wrong_types.json", 1, 1, problems=("task 2", "task 3", "task 4")),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.file)
def test_a_foreign_file_gives_the_right_answer(store, case):
    report = bring(store, case.file, classes=case.classes)[case.file]
    assert (report.images, report.boxes, report.backgrounds) == (case.images, case.boxes, 0)
    assert report.unreviewed == case.waiting
    assert len(report.problems) == len(case.problems), report.problems
    for problem, words in zip(report.problems, case.problems, strict=True):
        assert words in f"{problem.image}: {problem.reason}"
        assert "\n" not in problem.reason and "Traceback" not in problem.reason


@pytest.mark.parametrize("case", CASES[1:], ids=lambda case: case.file)
def test_no_second_round_loses_a_label_of_the_first(store, case):
    bring(store, "coco_round1_good.json")
    before = boxes(store)
    assert sum(map(len, before.values())) == 8
    bring(store, case.file, classes=(*CLASSES, "on", "off"))
    assert all(len(found) >= len(before[name]) for name, found in boxes(store).items() if name in before)
    assert set(boxes(store)) >= set(before)


def test_a_turned_box_becomes_the_upright_box_around_it(store):
    bring(store, "coco_rotated_box.json")
    assert boxes(store)["0"] == [("crack", (75, 15, 85, 95))]


def test_each_picture_keeps_the_label_of_its_own_folder(store):
    bring(store, "yolo_same_name_in_two_folders.zip")
    found = {box.class_name: box.bbox for labels in accepted(store) for image in labels.images for box in image.boxes}
    assert found["crack"] == pytest.approx((8, 6, 24, 18))
    assert found["dent"] == pytest.approx((136, 102, 152, 114))


def test_on_and_off_are_names(store):
    bring(store, "yolo_names_on_off.zip", classes=None)
    assert [found[0][0] for _, found in sorted(boxes(store).items())] == ["on", "off"]


@pytest.mark.parametrize(
    ("inbox", "bad"), [("inbox_with_a_truncated_zip", "a_truncated.zip"), ("inbox_with_a_damaged_zip", "a_damaged.zip")]
)
def test_a_bad_zip_does_not_stop_the_file_after_it(store, inbox, bad):
    reports = bring(store, f"{inbox}/{bad}", f"{inbox}/b_good.json")
    assert (reports["b_good.json"].images, reports["b_good.json"].boxes) == (3, 3)
    assert reports["b_good.json"].problems == []
    (problem,) = reports[bad].problems
    assert "export it again" in problem.reason


def test_a_file_is_judged_anew_when_its_class_has_come(store):
    assert bring(store, "coco_class_added_later.json")["coco_class_added_later.json"].images == 0
    again = import_inbox(store, (*CLASSES, "scratch"))
    assert [(report.images, report.boxes, report.problems) for report in again.new] == [(2, 2, [])]
    assert import_inbox(store, (*CLASSES, "scratch")).new == []


def test_a_file_is_judged_anew_when_its_batch_has_come(tmp_path):
    store = open_store((tmp_path / "store").as_uri())
    early = bring(store, "coco_round1_good.json")["coco_round1_good.json"]
    assert early.images == 0
    assert len(early.problems) == 8
    shutil.copytree(FOREIGN / "annotation", tmp_path / "store" / "annotation")
    assert [(report.images, report.problems) for report in import_inbox(store, CLASSES).new] == [(8, [])]


def test_a_broken_batch_or_record_of_ours_stops_no_file(store):
    bring(store, "coco_round1_good.json")
    (key,) = [info.key for info in store.list("labels/accepted/")]
    store.put(key, b"{")
    store.put("annotation/batch-0/manifest.json", b"\x00")
    store.put("labels/accepted/read me.json", b"nobody's")
    reports = bring(store, "coco_bom.json")
    assert (reports["coco_bom.json"].images, reports["coco_round1_good.json"].images) == (8, 8)
    assert [name for name, report in reports.items() if report.problems] == ["manifest.json"]
    assert len(accepted(store)) == 2


def test_a_file_of_options_is_obeyed_and_named_when_it_is_wrong(store):
    half = "coco_half_reviewed.json"
    store.put(f"{LABELS_INBOX}{half}.import.yaml", b"reviewed: al\n")
    (problem,) = bring(store, half)[half].problems
    assert f"{half}.import.yaml" in problem.reason
    store.put(f"{LABELS_INBOX}{half}.import.yaml", b"by: Ada\nreviewed: all\n")
    report = bring(store, half)[half]
    assert (report.images, report.backgrounds, report.problems) == (8, 4, [])
    assert {image.annotator for image in counted(store).values()} == {"Ada"}
    store.put(f"{LABELS_INBOX}nothing.json.import.yaml", b"")
    assert "no file nothing.json" in bring(store)["nothing.json.import.yaml"].problems[0].reason


def test_a_file_of_nothing_but_backgrounds_is_asked_about(store):
    document = orjson.loads((FOREIGN / "coco_round1_good.json").read_bytes())
    manifest = orjson.loads(store.get("annotation/batch-1/manifest.json"))
    for item in manifest["items"]:
        item["predictions"] = []
    store.put("annotation/batch-1/manifest.json", orjson.dumps(manifest))
    store.put(f"{LABELS_INBOX}empty.json", orjson.dumps(document | {"annotations": []}))
    report = bring(store)["empty.json"]
    assert (report.images, report.unreviewed) == (0, 8)
    assert "as in all images of the file" in report.problems[0].reason


def test_labels_that_would_go_are_asked_about_and_told(store):
    bring(store, "coco_round1_good.json")
    document = orjson.loads((FOREIGN / "coco_round1_good.json").read_bytes())
    document["annotations"] = document["annotations"][:6]
    store.put(f"{LABELS_INBOX}later.json", orjson.dumps(document))
    report = bring(store)["later.json"]
    assert (report.images, report.unreviewed) == (6, 2)
    assert "boxes would go: it was labelled with 1, and the file has 0" in report.problems[0].reason
    assert sum(map(len, boxes(store).values())) == 8
    store.put(f"{LABELS_INBOX}later.json.import.yaml", b"reviewed: all")
    report = bring(store)["later.json"]
    assert report.images == 8
    assert report.notes == ["images that were labelled before and get other labels: 2; boxes that go: 2"]
    assert sum(map(len, boxes(store).values())) == 6


def test_a_background_counts_only_if_somebody_said_so(store):
    manifest = orjson.loads(store.get("annotation/batch-1/manifest.json"))
    for item in manifest["items"]:
        item["predictions"] = []
    store.put("annotation/batch-1/manifest.json", orjson.dumps(manifest))
    document = orjson.loads((FOREIGN / "coco_half_reviewed.json").read_bytes())
    document["images"][7]["reviewed"] = True
    store.put(f"{LABELS_INBOX}half.json", orjson.dumps(document))
    report = bring(store)["half.json"]
    assert (report.images, report.backgrounds, report.unreviewed) == (5, 1, 3)
    assert all("does not tell whether anybody looked at it" in str(problem) for problem in report.problems)
    store.put(f"{LABELS_INBOX}half.json.import.yaml", b"reviewed: all")
    report = bring(store)["half.json"]
    assert (report.images, report.backgrounds, report.problems) == (8, 4, [])
