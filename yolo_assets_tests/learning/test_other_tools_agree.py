"""Other people's packages write label files that we read as they meant, and read ours as we meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import supervision as sv
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from yolo_assets.learning.formats import coco, yolo
from yolo_assets.learning.formats.base import RawBox, RawImage
from yolo_assets.learning.formats.recognise import parse
from yolo_assets.learning.judging import validate
from yolo_assets.learning.known_images import KnownImages
from yolo_assets.learning.records import AcceptedLabels
from yolo_assets_tests.learning.label_inbox import zipped

WIDTH, HEIGHT = 160, 120
NAMES = ["crack", "划痕", "edge crack"]


@st.composite
def boxes(draw: st.DrawFn) -> tuple[tuple[int, int, int, int], int]:
    x1, y1 = draw(st.integers(0, WIDTH - 3)), draw(st.integers(0, HEIGHT - 3))
    x2, y2 = draw(st.integers(x1 + 2, WIDTH)), draw(st.integers(y1 + 2, HEIGHT))
    return (x1, y1, x2, y2), draw(st.integers(0, len(NAMES) - 1))


projects = st.lists(st.lists(boxes(), min_size=1, max_size=4, unique=True), min_size=1, max_size=3)
Project = list[list[tuple[tuple[int, int, int, int], int]]]


def picture(number: int) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), 20 + 60 * number, np.uint8)


def dataset(project: Project, folder: Path) -> sv.DetectionDataset:
    """The project as supervision holds it."""
    annotations: dict[str, sv.Detections] = {}
    (folder / "in").mkdir()
    for number, found in enumerate(project):
        path = folder / "in" / f"f{number}.png"
        cv2.imwrite(str(path), picture(number))
        xyxy, ids = np.array([b for b, _ in found], np.float32), np.array([c for _, c in found])
        annotations[str(path)] = sv.Detections(xyxy=xyxy, class_id=ids)
    return sv.DetectionDataset(classes=NAMES, images=list(annotations), annotations=annotations)


def meant(project: Project) -> list[set[tuple[str, tuple[int, ...]]]]:
    return [{(NAMES[c], b) for b, c in found} for found in project]


def read(data: bytes) -> AcceptedLabels:
    return validate(parse("export", data), KnownImages([]), None, source_file="x", source_sha256="0" * 64)


def found_in(labels: AcceptedLabels) -> list[set[tuple[str, tuple[int, ...]]]]:
    assert not labels.rejected, labels.rejected
    return [{(box.class_name, tuple(round(v) for v in box.bbox)) for box in image.boxes} for image in labels.images]


def tree(folder: Path) -> dict[str, bytes | str]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@settings(max_examples=15)
@given(projects)
def test_what_supervision_writes_as_yolo_is_read_as_meant(tmp_path_factory, project):
    folder = tmp_path_factory.mktemp("yolo")
    out = folder / "out"
    dataset(project, folder).as_yolo(str(out / "images"), str(out / "labels"), str(out / "data.yaml"))
    assert sorted(map(sorted, found_in(read(zipped(tree(out)))))) == sorted(map(sorted, meant(project)))


@settings(max_examples=15)
@given(projects)
def test_what_supervision_writes_as_coco_is_read_as_meant(tmp_path_factory, project):
    folder = tmp_path_factory.mktemp("coco")
    out = folder / "out"
    dataset(project, folder).as_coco(str(out / "images"), str(out / "annotations.json"))
    assert sorted(map(sorted, found_in(read(zipped(tree(out)))))) == sorted(map(sorted, meant(project)))


def ours(project: Project) -> list[RawImage]:
    return [
        RawImage(
            name=f"f{number}.png",
            width=WIDTH,
            height=HEIGHT,
            boxes=[RawBox(tuple(map(float, b)), NAMES[c]) for b, c in found],  # type: ignore[arg-type]
            data=cv2.imencode(".png", picture(number))[1].tobytes(),
        )
        for number, found in enumerate(project)
    ]


@settings(max_examples=15)
@given(projects)
def test_pycocotools_reads_ours_and_we_read_what_it_holds(tmp_path_factory, project):
    path = tmp_path_factory.mktemp("coco") / "ours.json"
    path.write_bytes(coco.write(ours(project), NAMES))
    theirs = COCO(str(path))
    by_image: list[set[Any]] = []
    for image_id in theirs.getImgIds():
        rows = theirs.loadAnns(theirs.getAnnIds(imgIds=image_id))
        names = [theirs.loadCats(row["category_id"])[0]["name"] for row in rows]
        xywh = [row["bbox"] for row in rows]
        by_image.append(
            {(n, tuple(round(v) for v in (x, y, x + w, y + h))) for n, (x, y, w, h) in zip(names, xywh, strict=True)}
        )
    assert by_image == meant(project)
    # What pycocotools holds after loading, written by Python's own json, is the same to us.
    again = parse("again", json.dumps(theirs.dataset).encode())
    assert [{(b.class_name, b.xyxy) for b in image.boxes} for image in again.images] == meant(project)


@settings(max_examples=10)
@given(projects)
def test_ultralytics_sees_in_a_zip_what_we_see(tmp_path_factory, project):
    from ultralytics.data.utils import img2label_paths, verify_image_label

    folder = tmp_path_factory.mktemp("ultralytics")
    data = yolo.write(ours(project), NAMES)
    (folder / "ours.zip").write_bytes(data)
    import zipfile

    with zipfile.ZipFile(folder / "ours.zip") as archive:
        archive.extractall(folder)
    seen: list[list[Any]] = []
    for image in sorted((folder / "images").iterdir()):
        label = img2label_paths([str(image)])[0]
        _, rows, *_, messages = verify_image_label((str(image), label, "", False, len(NAMES), 0, 0, False))
        assert not messages
        size = np.array([WIDTH, HEIGHT, WIDTH, HEIGHT])
        corners = [
            (NAMES[int(c)], np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2]) * size) for c, x, y, w, h in rows
        ]
        seen.append(sorted((name, tuple(int(v) for v in np.rint(xyxy))) for name, xyxy in corners))
    mine = [sorted((b.class_name, tuple(round(v) for v in b.bbox)) for b in image.boxes) for image in read(data).images]
    assert sorted(seen) == sorted(mine)


@pytest.mark.parametrize(
    "row", ["0 .5 .5 .1 .1 .9", "0 .5 .5", "0,.5,.5,.1,.1", "5 .5 .5 .1 .1", "0 1.5 .5 .1 .1", "-1 .5 .5 .1 .1"]
)
def test_what_ultralytics_refuses_is_no_label_to_us(tmp_path, row):
    from ultralytics.data.utils import verify_image_label

    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    data = cv2.imencode(".png", picture(1))[1].tobytes()
    image, label = tmp_path / "images" / "a.png", tmp_path / "labels" / "a.txt"
    image.write_bytes(data)
    label.write_text(row)
    *_, corrupt, message = verify_image_label((str(image), str(label), "", False, len(NAMES), 0, 0, False))
    files = {"images/a.png": data, "labels/a.txt": row, "classes.txt": "\n".join(NAMES)}
    labels = read(zipped(files))
    assert corrupt and message
    assert not labels.images and labels.rejected
