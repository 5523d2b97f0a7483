"""Round trips of the three formats, and what is wrong with labels that are wrong."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import cv2
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.learning.formats import coco, label_studio, yolo
from yolo_assets.learning.formats.base import RawBox, RawImage
from yolo_assets.learning.formats.recognise import parse
from yolo_assets.learning.judging import validate
from yolo_assets.learning.known_images import KnownImages
from yolo_assets.learning.records import AcceptedLabels, ArchiveRef, BatchItem, BatchManifest

CLASSES = ("crack", "porosity", "spatter")
WIDTH, HEIGHT = 321, 247


def item(number: int, width: int = WIDTH, height: int = HEIGHT) -> BatchItem:
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    return BatchItem(
        file=f"cam1_f{number}_{digest[:12]}.jpg",
        image_path=f"cam1/20260301_10/f{number}.jpg",
        camera_id="cam1",
        captured_at=datetime(2026, 3, 1, 10, number, tzinfo=UTC),
        reason="random",
        source=ArchiveRef(archive_key="archives/a.tar.gz", member=f"f{number}.jpg"),
        sha256=digest,
        width=width,
        height=height,
    )


ITEMS = tuple(item(number) for number in range(4))
KNOWN = KnownImages([BatchManifest(batch="batch-1", class_names=CLASSES, items=ITEMS)])


@st.composite
def boxes(draw):
    """On the grid of a hundredth of a pixel that accepted labels have, at least a pixel wide and high."""
    x1, x2 = sorted(draw(st.tuples(st.integers(0, WIDTH * 100), st.integers(0, WIDTH * 100))))
    y1, y2 = sorted(draw(st.tuples(st.integers(0, HEIGHT * 100), st.integers(0, HEIGHT * 100))))
    x1, y1 = min(x1, WIDTH * 100 - 101), min(y1, HEIGHT * 100 - 101)
    xyxy = (x1 / 100, y1 / 100, max(x2, x1 + 101) / 100, max(y2, y1 + 101) / 100)
    return RawBox(xyxy, draw(st.sampled_from(CLASSES)))


answers = st.lists(st.lists(boxes(), max_size=4), min_size=1, max_size=4)


def write(form: str, images: list[RawImage]) -> bytes:
    if form == "coco":
        return coco.write(images, CLASSES)
    return label_studio.write(images) if form == "label_studio" else yolo.write(images, CLASSES)


def accept(data: bytes, classes=CLASSES) -> AcceptedLabels:
    return validate(parse("export", data), KNOWN, classes, source_file="export", source_sha256="0" * 64)


def raw(number: int, boxes: list[RawBox], **more) -> RawImage:
    one = ITEMS[number]
    return RawImage(name=one.file, image_path=one.image_path, width=WIDTH, height=HEIGHT, boxes=boxes, **more)


@pytest.mark.parametrize("form", ["coco", "label_studio", "yolo"])
@settings(max_examples=60, deadline=None)
@given(answers)
def test_what_is_exported_is_what_is_imported(form, answer):
    labels = accept(write(form, [raw(number, found) for number, found in enumerate(answer)]))
    assert labels.format == form
    assert not labels.rejected
    assert [image.image_path for image in labels.images] == [one.image_path for one in ITEMS[: len(answer)]]
    for image, found in zip(labels.images, answer, strict=True):
        assert [(box.bbox, box.class_name) for box in image.boxes] == [(b.xyxy, b.class_name) for b in found]


@pytest.mark.parametrize("form", ["coco", "label_studio"])
def test_the_annotator_is_kept(form):
    labels = accept(write(form, [raw(0, [], annotator="ada@plant")]))
    assert labels.images[0].annotator == "ada@plant"


def test_formats_agree_with_each_other():
    images = [raw(0, [RawBox((10.25, 20.5, 90.75, 110.0), "spatter")]), raw(1, [])]
    parsed = [accept(write(form, images)) for form in ("coco", "label_studio", "yolo")]
    contents = [[image.model_copy(update={"annotator": None}) for image in labels.images] for labels in parsed]
    assert contents[0] == contents[1] == contents[2]


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        (RawBox((10, 10, 40, 40), "rust"), "unknown class 'rust'"),
        (RawBox((10, 10, WIDTH + 9.0, 40), "crack"), "9.0 px outside"),
        (RawBox((-5, 10, 20, 40), "crack"), "5.0 px outside"),
        (RawBox((10, 10, 10.2, 40), "crack"), "less than 1 px"),
    ],
)
def test_one_bad_box_holds_back_its_image_and_no_other(box, reason):
    good = RawBox((50, 50, 80, 80), "crack")
    labels = accept(coco.write([raw(0, [good, box]), raw(1, [good])], [*CLASSES, "rust"]))
    assert [image.image_path for image in labels.images] == [ITEMS[1].image_path]
    assert len(labels.rejected) == 1
    assert reason in labels.rejected[0].reason
    assert labels.rejected[0].image == ITEMS[0].file


def test_rounding_beyond_the_edge_is_clipped():
    labels = accept(coco.write([raw(0, [RawBox((-1.0, 0.0, WIDTH + 1.0, 20.0), "crack")])], CLASSES))
    assert labels.images[0].boxes[0].bbox == (0, 0, WIDTH, 20)


def test_unknown_image_other_size_and_doubles_are_reported():
    stranger = RawImage(name="holiday.jpg", width=10, height=10)
    shrunk = RawImage(name=ITEMS[0].file, width=WIDTH // 2, height=HEIGHT // 2)
    labels = accept(coco.write([stranger, shrunk, raw(1, []), raw(1, [])], CLASSES))
    reasons = {rejected.image: rejected.reason for rejected in labels.rejected}
    assert "unknown image" in reasons["holiday.jpg"]
    assert "160x123" in reasons[ITEMS[0].file]
    assert "twice" in reasons[ITEMS[1].file]


@pytest.mark.parametrize(
    "name", ["images/{}", "/data/local-files/?d=annotation/b/images/{}", "/data/upload/3/1a2b3c4d-{}"]
)
def test_images_are_found_by_the_names_that_tools_give_them(name):
    document = [
        {"data": {"image": name.format(ITEMS[2].file)}, "annotations": [{"result": [], "was_cancelled": False}]},
        {"data": {"image": "later.jpg"}, "annotations": []},
        {"data": {"image": "skipped.jpg"}, "annotations": [{"result": [], "was_cancelled": True}]},
    ]
    labels = accept(orjson.dumps(document))
    assert [image.image_path for image in labels.images] == [ITEMS[2].image_path]
    assert labels.unreviewed == 2


def test_yolo_rows_that_cannot_be_read_are_named_by_line():
    stem = ITEMS[0].file.removesuffix(".jpg")
    good = yolo.write([raw(0, [])], CLASSES)
    assert accept(good).images[0].boxes == ()
    bad = _zip(
        {"data.yaml": b"names: [crack]", f"labels/{stem}.txt": b"0 .5 .5 .1 .1\n7 .5 .5 .1 .1\nfoo\n0 nan 0 0 0\n"}
    )
    reasons = [rejected.reason for rejected in accept(bad).rejected]
    assert [reason.split(" ")[1] for reason in reasons] == ["2", "3", "4"]


def test_a_yolo_zip_with_its_own_images_needs_no_batch():
    picture = cv2.imencode(".jpg", np.full((60, 80, 3), 90, np.uint8))[1].tobytes()
    image = RawImage("x.jpg", width=80, height=60, boxes=[RawBox((8, 6, 40, 30), "crack")], data=picture)
    labels = accept(yolo.write([image], CLASSES))
    (found,) = labels.images
    assert found.sha256 == hashlib.sha256(picture).hexdigest()
    assert (found.width, found.height, found.source) == (80, 60, None)
    assert found.boxes[0].bbox == (8, 6, 40, 30)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xff\xd8\xff", "neither JSON nor a zip"),
        (b"{}", "an unknown kind"),
        (b'{"images": [], "annotations": []}', "no list 'categories'"),
        (b'[{"image": "x"}]', "not a Label Studio export"),
        (b"PK\x03\x04broken", "not a readable zip"),
    ],
)
def test_files_of_no_format_are_refused_with_advice(data, words):
    with pytest.raises(BadInputError, match=words):
        parse("upload.bin", data)


def test_a_zip_must_name_its_classes_and_hold_labels():
    with pytest.raises(BadInputError, match="does not name its classes"):
        parse("a.zip", _zip({"labels/x.txt": b""}))
    with pytest.raises(BadInputError, match="holds no label file"):
        parse("a.zip", _zip({"classes.txt": b"crack\n"}))


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=3),
        lambda c: (
            st.lists(c, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "images",
                        "annotations",
                        "categories",
                        "id",
                        "file_name",
                        "bbox",
                        "image_id",
                        "data",
                        "image",
                        "result",
                        "value",
                        "type",
                    ]
                ),
                c,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_no_json_document_can_crash_the_import(document):
    try:
        data = orjson.dumps(document)
        accept(data)
    except (BadInputError, orjson.JSONEncodeError):
        pass


def _zip(files: dict[str, bytes]) -> bytes:
    import io
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()
