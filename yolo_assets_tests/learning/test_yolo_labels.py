"""YOLO zips as many tools lay them out: which picture a label is about, which class an id is, and other rows."""

from __future__ import annotations

from functools import cache
from pathlib import PurePosixPath

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.learning.formats.pictures_in_zip import label_path, pair
from yolo_assets.learning.formats.recognise import parse
from yolo_assets_tests.learning.label_inbox import FILES, FOREIGN, Inbox, said, zipped

STEMS = [file.removesuffix(".jpg") for file in FILES]
NAMES = "names: [crack, dent]\n"
ROW = "0 0.5 0.5 0.25 0.5\n"
XYXY = (60, 30, 100, 90)


@pytest.fixture
def inbox(tmp_path) -> Inbox:
    return Inbox(tmp_path)


@cache
def picture(grey: int, ending: str = ".jpg") -> bytes:
    """A picture of 160x120 of one grey, different for each."""
    return cv2.imencode(ending, np.full((120, 160, 3), grey, np.uint8))[1].tobytes()


LAYOUTS = [
    ("images/{n}.jpg", "labels/{n}.txt"),
    ("images/train/{n}.jpg", "labels/train/{n}.txt"),
    ("train/images/{n}.jpg", "train/labels/{n}.txt"),
    ("valid/images/{n}.jpg", "valid/labels/{n}.txt"),
    ("data/obj_train_data/{n}.jpg", "data/obj_train_data/{n}.txt"),
    ("{n}.jpg", "{n}.txt"),
    ("export/Images/a b/{n}.jpg", "export/labels/a b/{n}.txt"),
    ("pictures/{n}.jpg", "labels/{n}.txt"),
    ("images/line 1/images/{n}.jpg", "images/line 1/labels/{n}.txt"),
    ("images\\{n}.jpg", "labels\\{n}.txt"),
]


@pytest.mark.parametrize(("pictures", "labels"), LAYOUTS)
def test_pictures_and_labels_meet_in_every_layout(inbox, pictures, labels):
    files: dict[str, bytes | str] = {"data.yaml": NAMES}
    for n, row in (("a", ROW), ("b", "1 0.5 0.5 0.5 0.5\n")):
        files[pictures.format(n=n)] = picture(50 if n == "a" else 200)
        files[labels.format(n=n)] = row
    report = inbox.bring(zipped(files))
    assert (report.images, report.boxes, report.problems) == (2, 2, [])
    assert sorted(found[0][0] for found in inbox.boxes().values()) == ["crack", "dent"]


def test_the_rule_for_paths_is_that_of_ultralytics():
    from ultralytics.data.utils import img2label_paths

    for pictures, _ in LAYOUTS[:7]:
        path = f"root/{pictures.format(n='x.y')}"
        if "Images" not in path:  # we take other letters as well
            assert label_path(path) == img2label_paths([path])[0]


def test_a_label_never_goes_to_a_picture_of_another_folder(inbox):
    files = {"data.yaml": NAMES, "images/line2/1.jpg": picture(9), "labels/line1/1.txt": ROW}
    report = inbox.bring(zipped(files))
    assert (report.images, report.unreviewed) == (0, 1)
    assert "unknown image" in said(report)


@pytest.mark.parametrize(
    "files",
    [
        {"images/line1/1.jpg": picture(9), "images/line2/1.jpg": picture(99), "labels/1.txt": ROW},
        {"images/1.jpg": picture(9), "images/1.png": picture(99, ".png"), "labels/1.txt": ROW},
        {"pictures/1.jpg": picture(9), "labels/1.txt": ROW, "txt/1.txt": "1 0.5 0.5 0.1 0.1"},
    ],
)
def test_where_two_could_be_meant_nothing_is_taken(inbox, files):
    report = inbox.bring(zipped({"data.yaml": NAMES, **files}))
    assert (report.images, report.boxes) == (0, 0)
    assert report.problems


@given(st.lists(st.tuples(st.sampled_from(["", "a", "b", "a/b"]), st.sampled_from("xyz")), unique=True))
def test_in_any_tree_a_label_gets_its_own_picture(places):
    def path(top: str, ending: str, folder: str, name: str) -> str:
        return str(PurePosixPath(top, folder, f"{name}{ending}"))

    pictures = [path("images", ".jpg", *place) for place in places]
    labels = [path("labels", ".txt", *place) for place in places]
    pairs = pair(labels, pictures)
    assert pairs.picture == dict(zip(labels, pictures, strict=True))
    assert not pairs.uncertain and not pairs.alone
    fewer = pair(labels[1:], pictures)
    assert fewer.picture == dict(list(zip(labels, pictures, strict=True))[1:])
    assert fewer.alone == pictures[:1]


@pytest.mark.parametrize(
    "noise",
    [
        {"__MACOSX/._data.yaml": b"\x00\x05\x16\x07", "__MACOSX/labels/._x.txt": b"\x00", ".DS_Store": b"\x00"},
        {"Thumbs.db": b"x", "labels/desktop.ini": b"x", "README.roboflow.txt": b"x", "README.md": b"x"},
        {"LICENSE.txt": b"Apache", "LICENCE": b"x", "notes.json": b"{}", "CHANGELOG.txt": b"x"},
        {".github/workflows/ci.yml": b"names: {a: [", "hyp.yaml": b"lr0: 0.1", "docker-compose.yml": b"a: &x\n"},
        {"train.txt": b"data/x.jpg\n", "valid.txt": b"", "obj.data": b"classes = 2", "val.txt": b"./images/x.png\n"},
        {"labels/classes.txt": b"crack\ndent\n", "obj.names": b"crack\r\ndent\r\n", "labels.cache": b"\x80"},
    ],
)
def test_what_tools_and_systems_add_is_no_problem(inbox, noise):
    report = inbox.bring(zipped({"data.yaml": NAMES, f"labels/{STEMS[0]}.txt": ROW, **noise}))
    assert (report.images, report.boxes, report.problems) == (1, 1, [])


def test_a_text_that_is_no_label_is_named_once(inbox):
    report = inbox.bring(zipped({"data.yaml": NAMES, f"labels/{STEMS[0]}.txt": ROW, "labels/how to.txt": "a\nb\nc"}))
    assert report.images == 1
    assert "is not a label file" in said(report)


@pytest.mark.parametrize(
    ("names", "third"),
    [
        ("crack\ndent\nscratch\n", "scratch"),
        ("crack\r\ndent\r\nscratch", "scratch"),
        ("crack\r\r\ndent\r\r\nscratch\r\r\n", "scratch"),
        ("\ufeffcrack\ndent\n划痕\n\n\n", "划痕"),
        ("crack\ndent\x85more\n edge crack ", "edge crack"),
    ],
)
def test_lists_of_classes_go_by_line(inbox, names, third):
    report = inbox.bring(zipped({"classes.txt": names, f"labels/{STEMS[0]}.txt": "2 .5 .5 .25 .5"}), classes=None)
    assert report.problems == []
    assert inbox.boxes() == {"0": [(third, XYXY)]}


@pytest.mark.parametrize("names", ["\ncrack\ndent\n", "crack\n \ndent\n", "crack\n\t\n\ndent"])
def test_a_blank_line_between_classes_is_refused(inbox, names):
    report = inbox.bring(zipped({"obj.names": names, f"labels/{STEMS[0]}.txt": "1 .5 .5 .1 .1"}), classes=None)
    assert report.images == 0
    assert "is blank" in said(report)


@pytest.mark.parametrize(
    ("yaml", "name"),
    [
        ("names: [on, off]", "off"),
        ("names: [a, 012]", "012"),
        ("names:\n- a\n- 1e3", "1e3"),
        ("names: {0: a, 1: no}", "no"),
        ("names:\n  1: 22:00\n  0: a", "22:00"),
        ("names: [a, ~]", "~"),
        ("names: [a, 2024-01-01]", "2024-01-01"),
        ("names: [a, 'true']", "true"),
        ("names: [a, 0x1F]", "0x1F"),
        ("names: [a, 划痕]\nnc: 2\ntrain: ../train/images", "划痕"),
        ('names: ["a", "\\u5212"]', "划"),
    ],
)
def test_names_are_taken_as_they_are_written(inbox, yaml, name):
    report = inbox.bring(zipped({"data.yaml": yaml, f"labels/{STEMS[0]}.txt": "1 .5 .5 .25 .5"}), classes=None)
    assert report.problems == []
    assert inbox.boxes() == {"0": [(name, XYXY)]}


@pytest.mark.parametrize(
    "yaml",
    [
        "names: [a, b]\nnames: [b, a]",
        "names: {0: a, 0: b}",
        "names: {0: a, 00: b}",
        "names: [a, [b]]",
        "names: [a, '']",
        "names: [a, {b: c}]",
        "names: a b",
        "names: {a: 0, b: 1}",
        "nc: 3\nnames: [a, b]",
        "names: [a, b",
        "names: [a]\n--- \nnames: [b]",
        "a: &a [x, x, x, x, x, x, x, x]\n"
        + "".join(f"{n}: &{n} [{', '.join([f'*{b}'] * 8)}]\n" for b, n in zip("abcdefghij", "bcdefghijk", strict=True))
        + "names: *k",
        "names: &a [*a]",
    ],
)
def test_a_list_of_names_that_leaves_anything_open_is_refused(inbox, yaml):
    report = inbox.bring(zipped({"data.yaml": yaml, f"labels/{STEMS[0]}.txt": ROW}), classes=None)
    assert report.images == 0
    assert "data.yaml" in said(report)


def test_two_lists_that_differ_are_refused(inbox):
    files = {"data.yaml": NAMES, "classes.txt": "dent\ncrack\n", f"labels/{STEMS[0]}.txt": ROW}
    assert "name different classes" in said(inbox.bring(zipped(files)))


@pytest.mark.parametrize(
    "row", ["0.0 .5 .5 .25 .5", "0.000000000000000000e+00 5e-1 5e-1 2.5e-1 5e-1", "0\t.5  .5 .25 .5\r"]
)
def test_numbers_may_be_written_as_numpy_does(inbox, row):
    assert inbox.bring(zipped({"data.yaml": NAMES, f"labels/{STEMS[0]}.txt": row})).problems == []
    assert inbox.boxes() == {"0": [("crack", XYXY)]}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("0 .5 .5 .1 .1 .97", "a sixth number"),
        ("0 .1 .1 .2 .1 .2 .2 .1 .2", "four corners"),
        ("0 .1 .1 .2 .1 .2 .2", "an outline of 3 points"),
        ("0 .1 .1 .2 .1 .2 .2 .1 .2 .1 .1", "an outline of 5 points"),
        ("0 .1 .1 .2 .1 .2 .2 .1 .2 .1", "has 10 numbers"),
        ("0 0,5 0,5 0,1 0,1", "is not 'class cx cy w h'"),
        ("0,.5,.5,.1,.1", "is not 'class cx cy w h'"),
        ("0 .5 .5 .1", "is not 'class cx cy w h'"),
        ("0.5 .5 .5 .1 .1", "not a whole number"),
        ("-1 .5 .5 .1 .1", "not a whole number"),
        ("0 nan .5 .1 .1", "finite"),
        ("0 ０.５ .5 .1 .1", "finite"),
        ("2 .5 .5 .1 .1", "has class 2"),
        ("0 80 60 40 30", "outside"),
    ],
)
def test_each_other_kind_of_row_has_its_own_sentence(inbox, row, words):
    files = {"data.yaml": NAMES, f"labels/{STEMS[0]}.txt": f"{ROW}{row}\n", f"labels/{STEMS[1]}.txt": ROW}
    report = inbox.bring(zipped(files))
    assert list(inbox.boxes()) == ["1"]
    assert words in said(report)


def test_one_label_that_is_no_text_names_itself(inbox):
    files = {"data.yaml": NAMES, f"labels/{STEMS[0]}.txt": b"\xff\xd8\x80", f"labels/{STEMS[1]}.txt": ROW}
    report = inbox.bring(zipped(files))
    assert list(inbox.boxes()) == ["1"]
    assert "save it as UTF-8" in said(report)


def test_a_label_with_a_byte_order_mark_is_read(inbox):
    files = {"data.yaml": NAMES.encode("utf-16"), f"labels/{STEMS[0]}.txt": ROW.encode("utf-8-sig")}
    assert inbox.bring(zipped(files)).problems == []


def test_a_picture_that_was_changed_keeps_its_labels_from_the_batch(inbox):
    original = (FOREIGN / "spool/cam01/20241015_14/20241015_140000_000.jpg").read_bytes()
    inbox.store.put(f"annotation/batch-1/images/{FILES[0]}", original)
    bgr = np.asarray(cv2.imdecode(np.frombuffer(original, np.uint8), cv2.IMREAD_COLOR), np.uint8)

    def bring(changed: np.ndarray, name: str) -> str:
        data = cv2.imencode(".png", changed)[1].tobytes()
        files = {"data.yaml": NAMES, f"images/{STEMS[0]}.png": data, f"labels/{STEMS[0]}.txt": ROW}
        return said(inbox.bring(zipped(files), name=name))

    assert "export without flipping" in bring(bgr[:, ::-1], "flipped.zip")
    assert "export without resizing" in bring(np.asarray(cv2.resize(bgr, (640, 640))), "resized.zip")
    assert "export without resizing" in bring(bgr[:60], "cut.zip")
    assert bring(bgr, "saved_again.zip") == ""


def test_frames_of_other_kinds_come_along(inbox):
    files: dict[str, bytes | str] = {"data.yaml": NAMES}
    for number, ending in enumerate((".png", ".webp", ".bmp", ".tif")):
        files[f"images/{number}{ending}"] = picture(40 + 40 * number, ending)
        files[f"labels/{number}.txt"] = ROW
    report = inbox.bring(zipped(files))
    assert (report.images, report.problems) == (4, [])


def test_a_picture_that_is_none_names_itself(inbox):
    files = {"data.yaml": NAMES, "images/a.jpg": b"", "images/b.jpg": picture(7)[:200], "images/c.jpg": picture(7)}
    report = inbox.bring(zipped(files | {f"labels/{n}.txt": ROW for n in "abc"}))
    assert (report.images, len(report.problems)) == (1, 2)


@pytest.mark.parametrize("data", [b"PK\x05\x06" + bytes(18), b"PK", b"PK\x03\x04" + bytes(100)])
def test_zips_of_nothing_are_one_sentence(inbox, data):
    assert len(inbox.bring(data).problems) == 1


def test_a_problem_is_one_line_whatever_the_names_hold(inbox):
    report = inbox.bring(zipped({"data.yaml": NAMES, "labels/a\nb\u202ec.txt": "x\ty\n0 .5"}), name="x\u2028y.zip")
    assert report.problems
    assert all(str(problem).isprintable() for problem in report.problems)


def test_a_path_with_line_breaks_is_named_in_one_line():
    files = {"data.yaml": NAMES, "labels/a\nb\u202e.txt": "no label\n", "images/a\nb\u202e.jpg": picture(7)}
    found = parse("x.zip", zipped(files))
    said = [*(problem for image in found.images for problem in image.problems), *(what for _, what in found.orphans)]
    assert said and not [text for text in said if "\n" in text or "\u202e" in text], said


def test_a_frame_of_the_batch_is_known_by_its_bytes_under_any_name(inbox):
    frame = (FOREIGN / "spool/cam01/20241015_14/20241015_140000_000.jpg").read_bytes()
    files = {"data.yaml": NAMES, "images/renamed.jpg": frame, "labels/renamed.txt": ""}
    report = inbox.bring(zipped(files))
    assert (report.images, report.unreviewed) == (0, 1)
    assert "the model saw crack with confidence 0.93" in said(report)
    inbox.bring(zipped(files | {"labels/renamed.txt": ROW}), name="boxed.zip")
    assert inbox.boxes() == {"0": [("crack", XYXY)]}
