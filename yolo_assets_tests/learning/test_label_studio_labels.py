"""Label Studio exports: what a task may hold, and which tasks are reviewed."""

from __future__ import annotations

import math
from typing import Any

import pytest

from yolo_assets_tests.learning.label_inbox import FILES, Inbox, coco, said

XYXY = (16, 12, 48, 36)


@pytest.fixture
def inbox(tmp_path) -> Inbox:
    return Inbox(tmp_path)


def region(**more: Any) -> dict[str, Any]:
    value = {"x": 10, "y": 10, "width": 20, "height": 20, "rotation": 0, "rectanglelabels": ["crack"]}
    row = {"id": "r", "type": "rectanglelabels", "original_width": 160, "original_height": 120, "image_rotation": 0}
    return row | {"value": value | more.pop("value", {})} | more


def task(number: int, *result: Any, **more: Any) -> dict[str, Any]:
    annotation = {"id": number, "result": list(result), "was_cancelled": False} | more.pop("annotation", {})
    return (
        {"id": 100 + number, "data": {"image": f"/data/upload/3/1a2b3c4d-{FILES[number]}"}}
        | {"annotations": [annotation]}
        | more
    )


def test_one_odd_value_never_stops_another_task(tmp_path):
    from yolo_assets_tests.learning.test_coco_labels import ODD, paths, spoil

    good = [task(0, region()), task(1, region()), task(2, region())]
    for path in paths(good):
        inbox = Inbox(tmp_path / "-".join(map(str, path)))
        for number, odd in enumerate(ODD):
            spoilt = spoil(good, path, odd)
            report = inbox.bring(spoilt, name=f"{number}.json")
            assert "Error" not in said(report), said(report)
            if odd != "\ud800":
                assert report.images >= 2, (path, odd, said(report))


@pytest.mark.parametrize("turn", [0, 360, 1e-9, -1e-9, None, "0.0"])
def test_a_box_that_is_not_turned_is_upright(inbox, turn):
    inbox.bring([task(0, region(value={"rotation": turn}))])
    assert inbox.boxes() == {"0": [("crack", XYXY)]}


@pytest.mark.parametrize("degrees", [90, 30, 270, -45, 200.5])
def test_a_turned_box_is_the_upright_box_around_that_of_the_converter(inbox, degrees):
    value = {"x": 40, "y": 40, "width": 20, "height": 10, "rotation": degrees}
    inbox.bring([task(0, region(value=value))])
    x, y, w, h = 64.0, 48.0, 32.0, 12.0
    # Label Studio turns clockwise about the top left corner.
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    corners = [(x + a * cos - b * sin, y + a * sin + b * cos) for a in (0, w) for b in (0, h)]
    xs, ys = [p[0] for p in corners], [p[1] for p in corners]
    ((_, found),) = inbox.boxes()["0"]
    assert found == pytest.approx((min(xs), min(ys), max(xs), max(ys)), abs=0.011)


@pytest.mark.parametrize("turn", [90, 180, "270", 45])
def test_an_image_that_was_turned_in_the_tool_is_named(inbox, turn):
    assert "turned by" in said(inbox.bring([task(0, region(image_rotation=turn)), task(1, region())]))
    assert list(inbox.boxes()) == ["1"]


@pytest.mark.parametrize(
    "beside",
    [
        {"type": "relation", "from_id": "r", "to_id": "q"},
        {"type": "number", "id": "n", "value": {"number": 3}},
        {"type": "taxonomy", "id": "t", "value": {"taxonomy": [["a", "b"]]}},
        {"type": "choices", "id": "r", "value": {"x": 10, "y": 10, "width": 20, "height": 20, "choices": ["bad"]}},
        {"type": "textarea", "id": "r", "value": {"text": ["note"]}},
        {"type": "datetime", "id": "d", "value": {"datetime": "2024"}},
        {"type": "new kind", "id": "z", "value": {"stars": 5}},
    ],
)
def test_answers_beside_good_boxes_are_no_matter(inbox, beside):
    report = inbox.bring([task(0, region(), beside), task(1, beside)])
    assert inbox.boxes() == {"0": [("crack", XYXY)]}
    assert (report.images, report.backgrounds, report.unreviewed) == (1, 0, 1)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("polygonlabels", {"points": [[1, 1], [2, 2], [3, 1]], "polygonlabels": ["crack"]}),
        ("ellipselabels", {"x": 1, "y": 1, "radiusX": 2, "radiusY": 2, "ellipselabels": ["crack"]}),
        ("brushlabels", {"format": "rle", "rle": [1], "brushlabels": ["crack"]}),
        ("keypointlabels", {"x": 1, "y": 1, "width": 1, "keypointlabels": ["crack"]}),
    ],
)
def test_objects_that_are_no_rectangles_hold_back_their_image(inbox, kind, value):
    other = {"id": "p", "type": kind, "value": value}
    assert "draw rectangles" in said(inbox.bring([task(0, region(), other), task(1, region())]))
    assert list(inbox.boxes()) == ["1"]


def test_a_region_whose_type_is_no_text_is_told(inbox):
    other = {"id": "p", "type": [10, 10], "value": {"x": 1, "y": 1}}
    assert "is of type [10, 10]" in said(inbox.bring([task(0, region(), other), task(1, region())]))
    assert list(inbox.boxes()) == ["1"]


def test_a_rectangle_and_its_labels_may_stand_apart(inbox):
    shape = region(type="rectangle", value={"rectanglelabels": None})
    label = region(type="labels", value={"rectanglelabels": None, "labels": ["dent"]})
    report = inbox.bring([task(0, shape, label), task(1, shape), task(2, label, shape, dict(shape, id="s"))])
    assert inbox.boxes() == {"0": [("dent", XYXY)]}
    assert said(report).count("names no class") == 2


def test_a_foreign_task_refuses_no_file(inbox):
    report = inbox.bring([{"id": 1, "data": {"text": "hello"}}, {"data": 3}, 5, task(0, region())])
    assert list(inbox.boxes()) == ["0"]
    assert "task 1" in said(report)


@pytest.mark.parametrize(
    "image",
    [
        "/data/upload/1/1a2b3c4d-{}",
        "/data/local-files/?d=annotation%2Fbatch-1%2Fimages%2F{}",
        "s3://bucket/annotation/batch-1/images/{}",
        "https://x/y/{}?X-Amz-Signature=1%2F2",
        "C:\\exports\\{}",
        "%63am01{}",
        "{}",
    ],
)
def test_images_are_found_however_their_address_is_written(inbox, image):
    name = FILES[0].removeprefix("cam01") if image.startswith("%") else FILES[0]
    assert inbox.bring([task(0, region(), data={"image": image.format(name)})]).problems == []
    assert list(inbox.boxes()) == ["0"]


def test_the_picture_may_stand_under_any_key(inbox):
    report = inbox.bring([task(0, region(), data={"photo": f"/data/upload/1/{FILES[0]}", "line": "3", "n": 1})])
    assert report.problems == []


def test_only_submitted_tasks_are_reviewed(inbox):
    skipped = task(1, annotation={"was_cancelled": True})
    untouched = {"id": 3, "data": {"image": FILES[2]}, "annotations": [], "predictions": [{"result": [region()]}]}
    report = inbox.bring([task(0), skipped, untouched, dict(untouched, annotations=None)])
    assert (report.images, report.backgrounds, report.unreviewed, report.problems) == (1, 1, 3, [])


def test_an_answer_older_than_the_labels_changes_nothing(inbox):
    inbox.bring(coco([{"bbox": [1, 1, 9, 9]}, {"bbox": [20, 20, 9, 9]}]), name="a")
    old = task(0, region(), annotation={"updated_at": "2024-10-15T15:00:00Z"})
    report = inbox.bring([old], name="b")
    assert len(inbox.boxes()["0"]) == 2
    assert report.problems == []
    assert report.notes == ["images whose labels were changed since, elsewhere, and stay as they are: 1"]
    new = task(0, region(), annotation={"updated_at": "2090-01-01T00:00:00Z"})
    report = inbox.bring([new], name="c")
    assert (report.images, report.notes) == (
        1,
        ["images that were labelled before and get other labels: 1; boxes that go: 1"],
    )
    assert len(inbox.boxes()["0"]) == 1


def test_the_answer_that_counts_is_the_latest_by_the_clock(inbox):
    late = {"id": 2, "result": [region(value={"rectanglelabels": ["dent"]})], "updated_at": "2024-01-01T09:00:00-05:00"}
    early = {"id": 1, "result": [region()], "updated_at": "2024-01-01T13:00:00Z"}
    inbox.bring([task(0, annotations=[late, early])], name="a")
    assert inbox.boxes() == {"0": [("dent", XYXY)]}


def test_a_starred_answer_counts_and_a_refused_one_does_not(inbox):
    starred = {"id": 1, "result": [region()], "ground_truth": True, "updated_at": "2024-01-01T00:00:00Z"}
    later = {"id": 2, "result": [], "updated_at": "2024-02-01T00:00:00Z"}
    refused = {"id": 3, "result": [], "reviews": [{"accepted": True}, {"accepted": False}]}
    report = inbox.bring([task(0, annotations=[starred, later]), task(1, annotations=[refused])])
    assert inbox.boxes() == {"0": [("crack", XYXY)]}
    assert (report.images, report.unreviewed) == (1, 1)
