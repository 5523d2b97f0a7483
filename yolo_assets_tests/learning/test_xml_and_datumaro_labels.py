"""CVAT XML, Pascal VOC and Datumaro JSON as tools write them, and other people's readers of the same files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import supervision as sv
from labelformat.formats import CVATObjectDetectionInput, PascalVOCObjectDetectionInput
from labelformat.model.object_detection import ObjectDetectionInput

from yolo_assets.learning.formats.recognise import parse
from yolo_assets_tests.learning.label_inbox import FILES, Inbox, said, zipped

XYXY = (10, 20, 40, 60)


@pytest.fixture
def inbox(tmp_path) -> Inbox:
    return Inbox(tmp_path)


def box(inner: str = "", **more: str) -> str:
    written = {"label": "crack", "xtl": "10", "ytl": "20", "xbr": "40", "ybr": "60", "source": "manual"} | more
    told = " ".join(f"{key}='{value}'" for key, value in written.items())
    return f"<box {told}>{inner}</box>"


def cvat(*images: str, meta: str = "") -> bytes:
    """A document with the first images of the batch, each with these shapes."""
    rows = "".join(f'<image id="{n}" name="{FILES[n]}">{shapes}</image>' for n, shapes in enumerate(images))
    return f"<annotations><version>1.1</version><meta>{meta}</meta>{rows}</annotations>".encode()


def voc(number: int, *objects: str, database: str = "Unknown", verified: str = "") -> bytes:
    head = f"<filename>{FILES[number]}</filename><source><database>{database}</database></source>"
    size = "<size><width>160</width><height>120</height><depth>3</depth></size>"
    return f"<annotation{verified}>{head}{size}{''.join(objects)}</annotation>".encode()


def voc_object(inner: str = "", **more: Any) -> str:
    corners = {"xmin": 10, "ymin": 20, "xmax": 40, "ymax": 60} | more
    sides = "".join(f"<{key}>{value}</{key}>" for key, value in corners.items())
    return f"<object><name>crack</name>{inner}<bndbox>{sides}</bndbox></object>"


def datumaro(*items: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    labels = [{"name": "crack", "parent": "", "attributes": []}, {"name": "dent", "parent": "", "attributes": []}]
    rows = [
        {"id": FILES[n].removesuffix(".jpg"), "annotations": found, "image": {"path": FILES[n], "size": [120, 160]}}
        for n, found in enumerate(items)
    ]
    return {"infos": {}, "categories": {"label": {"labels": labels}}, "items": rows} | more


BBOX = {"id": 1, "type": "bbox", "attributes": {}, "label_id": 0, "bbox": [10, 20, 30, 40]}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_xml_is_read_by_its_mark(inbox, encoding):
    inbox.bring(cvat(box()).decode().encode(encoding))
    assert inbox.boxes() == {"0": [("crack", XYXY)]}


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ('<polygon label="crack" points="1,1;2,2;3,1"/>', "is a polygon, not a box"),
        ('<mask label="crack" rle="1" left="0" top="0" width="1" height="1"/>', "is a mask, not a box"),
        (box(xtl="ten"), "no finite xtl"),
        (box(rotation="north"), "not a number of degrees"),
        (box('<attribute name="is_crowd">true</attribute>'), "is not a single object"),
        (box(label=" "), "names no class"),
    ],
)
def test_a_shape_of_cvat_that_is_no_box_holds_back_its_image(inbox, shape, words):
    report = inbox.bring(cvat(box() + shape, box()))
    assert words in said(report)
    assert list(inbox.boxes()) == ["1"]


def test_tags_of_cvat_mark_no_object_and_prove_no_look(inbox):
    report = inbox.bring(cvat(box() + '<tag label="bad"/>', '<tag label="good"/>'))
    assert (report.images, report.unreviewed) == (1, 1)


def test_a_turned_box_of_cvat_is_the_upright_box_around_it(inbox):
    inbox.bring(cvat(box(xtl="40", ytl="50", xbr="120", ybr="60", rotation="90.00")))
    assert inbox.boxes() == {"0": [("crack", (75, 15, 85, 95))]}


def test_a_project_of_cvat_names_who_worked_on_each_task(inbox):
    tasks = "".join(
        f"<task><id>{n}</id><assignee><username>{who}</username></assignee></task>"
        for n, who in ((7, "ada"), (8, "ben"))
    )
    data = cvat(box(), box(), meta=f"<project><tasks>{tasks}</tasks></project>")
    data = data.replace(b'id="0"', b'id="0" task_id="7"').replace(b'id="1"', b'id="1" task_id="8"')
    inbox.bring(data)
    assert [image.annotator for image in inbox.images().values()] == ["ada", "ben"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<annotations><track id='0' label='crack'/></annotations>", "export 'CVAT for images 1.1'"),
        (b"<View><Image/></View>", "XML of an unknown kind"),
        (b"<annotations><image", "not readable XML"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>', "not readable XML"),
        (b"<annotations><meta/></annotations>", "holds no image"),
    ],
)
def test_xml_that_is_no_label_file_is_refused_with_advice(inbox, data, words):
    assert words in said(inbox.bring(data))


def test_an_image_without_a_name_is_told_and_stops_no_other(inbox):
    report = inbox.bring(cvat(box()).replace(b"</annotations>", b"<image id='9'/></annotations>"))
    assert "image 9: has no name" in said(report)
    assert list(inbox.boxes()) == ["0"]


@pytest.mark.parametrize(
    ("inner", "corners", "words"),
    [
        ("", {"xmin": "left"}, "no bndbox of four finite numbers"),
        ("<robndbox/>", {"xmin": ""}, "draw upright rectangles"),
        ("<confidence>0.9</confidence>", {}, "a model's guess"),
        ("<attributes><attribute><name>is_crowd</name><value>1</value></attribute></attributes>", {}, "not a single"),
    ],
)
def test_an_object_of_voc_that_is_no_box_holds_back_its_image(inbox, inner, corners, words):
    files = {"Annotations/a.xml": voc(0, voc_object(inner, **corners)), "Annotations/b.xml": voc(1, voc_object())}
    assert words in said(inbox.bring(zipped(files)))
    assert list(inbox.boxes()) == ["1"]


def test_one_voc_file_needs_no_zip(inbox):
    inbox.bring(voc(2, voc_object(xmin=40, xmax=10)))
    assert inbox.boxes() == {"2": [("crack", XYXY)]}


@pytest.mark.parametrize(("database", "left"), [("Unknown", 10), ("The VOC2007 Database", 9), ("roboflow.com", 9)])
def test_voc_counts_pixels_as_its_writer_does(inbox, database, left):
    inbox.bring(voc(0, voc_object(), database=database))
    assert inbox.boxes()["0"][0][1] == (left, left + 10, 40, 60)


def test_voc_pictures_of_one_name_keep_their_own_labels(inbox):
    files: dict[str, bytes | str] = {}
    for grey, folder in ((40, "line1"), (200, "line2")):
        picture = cv2.imencode(".png", np.full((120, 160, 3), grey, np.uint8))[1].tobytes()
        files[f"JPEGImages/{folder}/0001.png"] = picture
        label = voc(0, voc_object(xmin=grey // 2)).replace(FILES[0].encode(), b"0001.png")
        files[f"Annotations/{folder}/0001.xml"] = label.replace(b"<xmax>40", b"<xmax>150")
    report = inbox.bring(zipped(files | {"labelmap.txt": "crack:1,2,3::", "ImageSets/Main/default.txt": "0001\n"}))
    assert (report.images, report.problems) == (2, [])
    assert sorted(boxes[0][1][0] for boxes in inbox.boxes().values()) == [20, 100]


def test_voc_that_is_verified_proves_a_background(inbox):
    files = {"a.xml": voc(0, verified=' verified="yes"'), "b.xml": voc(1), "c.xml": voc(2, voc_object())}
    report = inbox.bring(zipped(files))
    assert (report.images, report.backgrounds, report.unreviewed) == (2, 1, 1)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"type": "polygon", "label_id": 0, "points": [1, 1, 2, 2, 3, 1]}, "is a polygon, not a box"),
        (dict(BBOX, bbox=[1, 2, 3]), "no box of 4 finite numbers"),
        (dict(BBOX, label_id=7), "names no class"),
        (dict(BBOX, label_id=None), "names no class"),
        (dict(BBOX, attributes={"is_crowd": True}), "is not a single object"),
        (dict(BBOX, attributes={"score": 0.9}), "a model's guess"),
        (7, "is not an object but 7"),
    ],
)
def test_an_annotation_of_datumaro_that_is_no_box_is_told(inbox, row, words):
    report = inbox.bring(datumaro([BBOX, row], [BBOX, {"type": "label", "label_id": 1}]))
    assert words in said(report)
    assert inbox.boxes() == {"1": [("crack", XYXY)]}


@pytest.mark.parametrize(
    "row",
    [
        dict(BBOX, bbox=[40, 50, 80, 10], attributes={"rotation": 90.0}),
        {"type": "rotated_bbox", "label_id": 0, "points": [80, 55, 80, 10, 90]},
    ],
)
def test_a_turned_box_of_datumaro_is_the_upright_box_around_it(inbox, row):
    inbox.bring(datumaro([row]))
    assert inbox.boxes() == {"0": [("crack", (75, 15, 85, 95))]}


@pytest.mark.parametrize("items", [7, {"id": None}, {"id": "a", "annotations": 3}, {"image": {"path": 3}}])
def test_an_item_of_datumaro_that_is_none_stops_no_other(inbox, items):
    document = datumaro([BBOX])
    document["items"].append(items)
    report = inbox.bring(document)
    assert report.problems and "Error" not in said(report)
    assert list(inbox.boxes()) == ["0"]


def test_a_zip_with_two_kinds_is_refused(inbox):
    report = inbox.bring(zipped({"a.xml": cvat(box()), "b.json": json.dumps(datumaro([BBOX]))}))
    assert "Datumaro JSON and CVAT XML; leave one of them" in said(report)


def theirs(reader: ObjectDetectionInput) -> dict[str, list[tuple[str, tuple[float, ...]]]]:
    """What labelformat reads, by file name."""
    return {
        found.image.filename: [
            (one.category.name, (one.box.xmin, one.box.ymin, one.box.xmax, one.box.ymax)) for one in found.objects
        ]
        for found in reader.get_labels()
    }


def ours(name: str, data: bytes) -> dict[str, list[tuple[str | None, tuple[float, ...]]]]:
    return {image.name: [(one.class_name, one.xyxy) for one in image.boxes] for image in parse(name, data).images}


def test_labelformat_reads_in_upright_boxes_what_we_read(tmp_path):
    boxes = [box(xtl=f"{n}.25", xbr=f"{n + 30}.5") for n in range(4)]
    labels = "<task><labels><label><name>crack</name></label></labels></task>"
    data = cvat(boxes[0] + boxes[1], boxes[2], "", meta=labels).replace(
        b' name="cam01', b' width="160" height="120" name="cam01'
    )
    (tmp_path / "a.xml").write_bytes(data)
    assert theirs(CVATObjectDetectionInput(tmp_path / "a.xml")) == ours("a.xml", data)
    (tmp_path / "voc").mkdir()
    files = {f"{n}.xml": voc(n, *[voc_object(xmin=m, xmax=m + 30) for m in range(n)]) for n in range(4)}
    for name, content in files.items():
        (tmp_path / "voc" / name).write_bytes(content)
    assert theirs(PascalVOCObjectDetectionInput(tmp_path / "voc", "crack")) == ours("a.zip", zipped(files))


def test_what_supervision_writes_as_voc_is_read_as_meant(tmp_path: Path):
    meant: dict[str, list[tuple[str, tuple[float, ...]]]] = {}
    annotations: dict[str, sv.Detections] = {}
    (tmp_path / "in").mkdir()
    for number in range(3):
        path = tmp_path / "in" / f"f{number}.png"
        cv2.imwrite(str(path), np.full((120, 160, 3), 60 * number, np.uint8))
        xyxy = [(m * 7, m * 5, m * 7 + 20, 120) for m in range(number)]
        meant[path.name] = [("crack", one) for one in xyxy]
        annotations[str(path)] = sv.Detections(
            xyxy=np.array(xyxy, np.float32).reshape(-1, 4), class_id=np.zeros(number, int)
        )
    dataset = sv.DetectionDataset(classes=["crack"], images=list(annotations), annotations=annotations)
    out = tmp_path / "out"
    dataset.as_pascal_voc(str(out / "JPEGImages"), str(out / "Annotations"))
    files = {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}
    parsed = parse("voc.zip", zipped(files))
    assert all(image.data is not None for image in parsed.images)
    assert {i.name: [(b.class_name, b.xyxy) for b in i.boxes] for i in parsed.images} == meant
