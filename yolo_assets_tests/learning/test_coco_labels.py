"""COCO as many tools write it: ids, flags, turned boxes, outlines, zips. The right box, or a sentence."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from yolo_assets.learning.formats import values
from yolo_assets.learning.formats.recognise import parse
from yolo_assets.learning.judging import validate
from yolo_assets.learning.known_images import KnownImages
from yolo_assets.learning.records import BatchManifest
from yolo_assets_tests.learning.label_inbox import FILES, FOREIGN, Inbox, coco, said, zipped

BOX = {"bbox": [10, 20, 30, 40]}
XYXY = (10, 20, 40, 60)


@pytest.fixture
def inbox(tmp_path) -> Inbox:
    return Inbox(tmp_path)


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, "1"), ("1", 1), (1.0, 1), ("1.0", 1), ("a/1", "a/1"), (" 1", 1), (2**70, str(2**70)), (0, "0")],
)
def test_ids_are_alike_when_they_mean_the_same(inbox, one, other):
    document = coco([BOX])
    document["images"][0]["id"] = one
    document["annotations"][0]["image_id"] = other
    assert inbox.bring(document).problems == []
    assert inbox.boxes() == {"0": [("crack", XYXY)]}


@pytest.mark.parametrize("other", ["01", 1.5, "x", None, [1], {"id": 1}, True, math.nan, "", "１"])
def test_an_annotation_of_no_image_leaves_no_background_behind(inbox, other):
    document = coco([BOX], [], [])
    document["annotations"].append({"id": 9, "image_id": other, "category_id": 1, "bbox": [1, 1, 5, 5]})
    report = inbox.bring(document)
    assert (report.images, report.boxes, report.backgrounds, report.unreviewed) == (1, 1, 0, 2)
    assert "annotation 9" in said(report)


def test_a_lost_annotation_cannot_be_answered_away(inbox):
    document = coco([BOX], [])
    document["annotations"].append(dict(BOX, id=9, image_id=77, category_id=1))
    report = inbox.bring(document, options="reviewed: all\n")
    assert (report.images, report.backgrounds, report.unreviewed) == (1, 0, 1)


@pytest.mark.parametrize("rows", [[7], ["x"], [None], [[1, 2]]])
def test_rows_that_are_no_objects_are_named(inbox, rows):
    document = coco([BOX], [])
    document["annotations"] += rows
    document["images"] += rows
    document["categories"] += rows
    report = inbox.bring(document)
    assert (report.images, report.boxes, report.backgrounds) == (1, 1, 0)
    assert "annotation 2" in said(report) and "image 3" in said(report)


def test_two_images_of_one_id_are_both_refused_and_the_others_taken(inbox):
    document = coco([BOX], [BOX], [BOX])
    document["images"][1]["id"] = "1"
    report = inbox.bring(document)
    assert report.images == 1
    assert said(report).count("have the id 1") == 2
    assert list(inbox.boxes()) == ["2"]


@pytest.mark.parametrize("flag", [1, True, "1", 1.0, "true"])
@pytest.mark.parametrize("place", ["iscrowd", "ignore", "attributes.is_crowd"])
def test_a_region_that_is_no_single_object_holds_back_its_image(inbox, flag, place):
    key, _, inner = place.partition(".")
    row = dict(BOX, **{key: {inner: flag} if inner else flag})
    report = inbox.bring(coco([BOX, row], [BOX]))
    assert list(inbox.boxes()) == ["1"]
    assert "is not a single object" in said(report)


@pytest.mark.parametrize("flag", [0, False, "0", None, 0.0, "false"])
def test_a_flag_that_is_not_set_is_no_matter(inbox, flag):
    assert inbox.bring(coco([dict(BOX, iscrowd=flag, ignore=flag)])).problems == []


@pytest.mark.parametrize("flag", [2, "maybe", [1], -1])
def test_a_flag_that_cannot_be_read_is_named(inbox, flag):
    assert "neither 0 nor 1" in said(inbox.bring(coco([dict(BOX, iscrowd=flag)])))


@pytest.mark.parametrize("turn", [0, 360, -360, 720.0, 1e-9, None, "0", 359.9999999])
def test_whole_turns_leave_a_box_as_it_is(inbox, turn):
    inbox.bring(coco([dict(BOX, attributes={"rotation": turn})]))
    assert inbox.boxes() == {"0": [("crack", XYXY)]}


@pytest.mark.parametrize("turn", ["north", math.inf, [90], {"deg": 90}])
def test_a_turn_that_is_no_number_is_named(inbox, turn):
    assert "not a number of degrees" in said(inbox.bring(coco([dict(BOX, attributes={"rotation": turn})])))


@given(
    st.floats(20, 140), st.floats(20, 100), st.floats(2, 80), st.floats(2, 60), st.floats(-720, 720, allow_nan=False)
)
def test_a_turned_box_becomes_the_upright_box_around_it(cx, cy, w, h, degrees):
    assume(values.rotation(degrees) != 0)
    manifest = BatchManifest.from_json((FOREIGN / "annotation/batch-1/manifest.json").read_bytes())
    document = coco([{"bbox": [cx - w / 2, cy - h / 2, w, h], "attributes": {"rotation": degrees}}])
    labels = validate(
        parse("x", json.dumps(document).encode()),
        KnownImages([manifest]),
        None,
        source_file="x",
        source_sha256="0" * 64,
    )
    ((x1, y1, x2, y2),) = [box.bbox for image in labels.images for box in image.boxes]
    if values.rotation(degrees) == 0 and not (cx - w / 2 >= 0 and cx + w / 2 <= 160):
        return
    # The corners, by complex numbers: turning is multiplication.
    turn = np.exp(1j * math.radians(degrees))
    corners = np.array([complex(sx * w / 2, sy * h / 2) for sx in (-1, 1) for sy in (-1, 1)]) * turn + complex(cx, cy)
    wanted = (corners.real.min(), corners.imag.min(), corners.real.max(), corners.imag.max())
    clipped = np.clip(wanted, 0, (160, 120, 160, 120))
    assert (x1, y1, x2, y2) == pytest.approx(tuple(clipped), abs=0.011)


@pytest.mark.parametrize("number", ["10", "10.0", "1e1", 10.0])
def test_numbers_in_quotes_are_numbers(inbox, number):
    inbox.bring(coco([{"bbox": [number, "20", "30.0", 40]}]))
    assert inbox.boxes() == {"0": [("crack", XYXY)]}


@pytest.mark.parametrize(
    "box", [None, [], [1, 2, 3], [1, 2, "3px", 4], [1, 2, math.nan, 4], {"x": 1}, "1,2,3,4", [True] * 4]
)
def test_a_box_that_cannot_be_read_holds_back_its_image_alone(inbox, box):
    report = inbox.bring(coco([{"bbox": box}, BOX], [BOX]))
    assert list(inbox.boxes()) == ["1"]
    assert "no bbox of four finite numbers" in said(report)


def test_an_outline_without_a_box_gives_the_box_around_it(inbox):
    outline = [[10, 20, 40, 20, 40, 60], [12, 22, 30, 50, 20, 60]]
    inbox.bring(coco([{"segmentation": outline}], [{"bbox": [], "segmentation": outline}]))
    assert inbox.boxes() == {"0": [("crack", XYXY)], "1": [("crack", XYXY)]}


@pytest.mark.parametrize("mask", [{"counts": [0, 9], "size": [3, 3]}, {"counts": "abc", "size": [3, 3]}, [[1, 2]], [7]])
def test_a_mask_without_a_box_is_named(inbox, mask):
    assert "export boxes" in said(inbox.bring(coco([{"segmentation": mask}])))


def test_numbers_that_nobody_needs_may_be_anything(inbox):
    text = json.dumps(coco([dict(BOX, area=math.nan, id=math.inf)])).replace('"width": 160', '"width": -Infinity')
    assert inbox.bring(text.encode()).problems == []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-16-le"])
def test_text_is_read_by_its_mark(inbox, encoding):
    data = json.dumps(coco([BOX])).encode(encoding)
    report = inbox.bring(data)
    if encoding == "utf-16-le":  # no mark
        assert "save it as UTF-8" in said(report)
    else:
        assert report.problems == []


def test_names_of_any_script_are_names(inbox):
    categories = [{"id": 1, "name": "划痕"}, {"id": 2, "name": " edge crack "}, {"id": 3, "name": "N̄o"}]
    document = coco([BOX, dict(BOX, category_id=2)], [dict(BOX, category_id=3)], categories=categories)
    assert inbox.bring(document, classes=None).problems == []
    assert {name for found in inbox.boxes().values() for name, _ in found} == {"划痕", "edge crack", "N̄o"}


def test_a_category_without_one_name_is_no_class(inbox):
    categories = [{"id": 1, "name": "crack"}, {"id": "1", "name": "dent"}, {"id": 2, "name": 7}]
    report = inbox.bring(coco([BOX], [dict(BOX, category_id=2)], [dict(BOX, category_id=99)], categories=categories))
    assert report.images == 0
    assert said(report).count("names no class") == 3


def test_guesses_are_no_labels(inbox):
    report = inbox.bring(coco([dict(BOX, score=0.9)], [BOX]))
    assert list(inbox.boxes()) == ["1"]
    assert "a model's guess" in said(report)


def test_roboflow_keeps_the_name_in_extra_or_in_its_own(inbox):
    document = coco([BOX], [BOX])
    document["images"][0] |= {"file_name": "abc_jpg.rf.0f1e.jpg", "extra": {"name": FILES[0]}}
    document["images"][1] |= {"file_name": f"{FILES[1].removesuffix('.jpg')}_jpg.rf.AbC123.jpg"}
    assert inbox.bring(zipped({"train/_annotations.coco.json": json.dumps(document)})).problems == []
    assert list(inbox.boxes()) == ["0", "1"]


def test_a_zip_of_several_splits_is_read_as_one(inbox):
    train, valid = coco([BOX]), coco([], [BOX])
    del valid["images"][0]
    files = {"train/_annotations.coco.json": json.dumps(train), "valid/_annotations.coco.json": json.dumps(valid)}
    files |= {"README.dataset.txt": "# x", "train/.DS_Store": "x", "info.json": "{}"}
    report = inbox.bring(zipped(files))
    assert (report.images, report.boxes, report.problems) == (2, 2, [])


def test_one_broken_document_of_a_zip_names_itself(inbox):
    files = {"a.json": json.dumps(coco([BOX], [])), "b.json": '{"images": [], "anno'}
    report = inbox.bring(zipped(files))
    assert (report.images, report.backgrounds, report.unreviewed) == (1, 0, 1)
    assert "b.json" in said(report)


def test_boxes_and_yolo_labels_in_one_zip_are_refused(inbox):
    report = inbox.bring(zipped({"a.json": json.dumps(coco([BOX])), "labels/x.txt": "", "data.yaml": "names: [a]"}))
    assert "leave one of them" in said(report)


def test_an_image_that_is_named_twice_is_refused_both_times(inbox):
    document = coco([BOX], [])
    document["images"][1]["file_name"] = FILES[0]
    report = inbox.bring(document)
    assert (report.images, len(report.problems)) == (0, 2)


def test_a_size_that_lies_is_named_with_its_cause(inbox):
    document = coco([BOX], [BOX])
    document["images"][0] |= {"width": 120, "height": 160}
    document["images"][1] |= {"width": 80, "height": 60}
    report = inbox.bring(document)
    assert "label it upright" in said(report) and "80x60" in said(report)


def spoil(value: Any, path: list[Any], put: Any) -> Any:
    """A copy of a document with one value replaced."""
    found = copy.deepcopy(value)
    place = found
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = put
    return found


def paths(value: Any, before: tuple[Any, ...] = ()) -> list[list[Any]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [[*before, key] for key, _ in inner] + [p for key, v in inner for p in paths(v, (*before, key))]


GOOD = coco([BOX], [BOX], [BOX])
ODD = [None, True, 7, -1.5, math.nan, "x", "", [], {}, [[]], [{}], {"a": 1}, "\ud800", 10**400, "划痕", [1, 2]]


@pytest.mark.parametrize("path", paths(GOOD), ids=str)
def test_one_odd_value_never_makes_a_background_nor_a_traceback(tmp_path, path):
    inbox = Inbox(tmp_path)
    for number, odd in enumerate(ODD):
        report = inbox.bring(spoil(GOOD, path, odd), name=f"{number}.json")
        assert report.backgrounds == 0
        assert all(found == [("crack", XYXY)] or len(found) == 1 for found in inbox.boxes().values())
        assert "Error" not in said(report), said(report)
