"""Frames of every kind from a foreign spool to batch and training folder: each good one comes, each odd one is named.

PIL is the oracle for what a viewer shows, and stands for a tool that ignores EXIF; its colours tell whether a box lies
on the patch that it is about.
"""

from __future__ import annotations

import io
import shutil
import zipfile
from pathlib import Path, PurePosixPath

import orjson
import pytest
from PIL import Image

from yolo_assets.contracts.names import annotation_key
from yolo_assets.learning.dataset import build_dataset
from yolo_assets.learning.formats import coco, label_studio, yolo
from yolo_assets.learning.formats.base import RawBox, RawImage
from yolo_assets.learning.labels import import_inbox
from yolo_assets.learning.records import BatchManifest
from yolo_assets.learning.training_folder import image_path, materialise
from yolo_assets_tests.learning.foreign_line import CAMERA, HOUR, PATCH, ForeignLine
from yolo_assets_tests.learning.line_world import World
from yolo_assets_tests.support.picture_files import ORIENTED, no_pictures, odd_but_sound, saved, scene


@pytest.fixture
def line(tmp_path: Path) -> ForeignLine:
    return ForeignLine(World.make(tmp_path))


def is_red(picture: Image.Image, box: tuple[float, float, float, float]) -> bool:
    """Whether nearly all of a box is the red patch."""
    pixels = list(picture.crop(tuple(round(value) for value in box)).getdata())  # type: ignore[arg-type]
    return sum(r > 150 and g < 110 and b < 110 for r, g, b in pixels) > 0.9 * len(pixels) > 0


def test_every_good_frame_comes_and_each_odd_one_is_named(line: ForeignLine) -> None:
    for case, (ending, data) in (odd_but_sound() | no_pictures()).items():
        line.add(case, ending, data)
    line.process()
    made = line.batch()
    assert made.manifest is not None
    assert {item.image_path for item in made.manifest.items} == {line.names[case] for case in odd_but_sound()}
    assert set(made.left_out) == {line.names[case] for case in no_pictures()}
    for path, reason in made.left_out.items():
        assert reason.startswith(path) and ("; " in reason or "make it smaller" in reason)
    for item in made.manifest.items:
        picture = line.picture(made.manifest, item.file)
        assert picture.size == (item.width, item.height) == (48, 32)
        assert PurePosixPath(item.file).suffix in (".jpg", ".png") and len(item.predictions) == 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ORIENTED)
def test_guesses_lie_where_a_tool_shows_the_object(line: ForeignLine, kind: str, orientation: int) -> None:
    turned = orientation >= 5
    data = saved(scene(), kind, orientation)
    line.add("stored", kind.lower(), data, width=48, height=32)
    line.add("upright", kind.lower(), data, **({"width": 32, "height": 48} if turned else {"width": 48, "height": 32}))
    line.add("other", kind.lower(), data, width=640, height=480)
    line.process()
    made = line.batch()
    assert made.manifest is not None
    items = {item.image_path: item for item in made.manifest.items}
    stored, upright, other = (items[line.names[case]] for case in ("stored", "upright", "other"))
    assert upright.predictions[0].bbox == PATCH
    picture = line.picture(made.manifest, stored.file)
    assert picture.size == (stored.width, stored.height) == ((32, 48) if turned else (48, 32))
    if turned or orientation == 1:  # a mirrored picture has one size only: a record of it speaks of what a viewer shows
        assert is_red(picture, stored.predictions[0].bbox)
    assert other.predictions == () and "640x480" in made.boxes_left_out[line.names["other"]]


@pytest.mark.parametrize("budget", [1, 3, 5])
def test_the_next_candidate_takes_the_place_of_a_frame_that_is_none(line: ForeignLine, budget: int) -> None:
    line.take("zero_byte_frame")
    folder = line.folder
    whole = (folder / "20241015_140000_000.jpg").read_bytes()
    sound = [path for path in sorted(folder.glob("*.jpg")) if path.stat().st_size]
    places = [(0, 0), (120, 10), (30, 95), (90, 50), (10, 60), (130, 90)]  # objects that no belt explains
    for (x, y), path in zip(places, sorted(folder.glob("*.json")), strict=False):
        record = orjson.loads(path.read_bytes())
        record["detections"][0]["bbox"] = [x, y, x + 20, y + 15]
        path.write_bytes(orjson.dumps(record))
    for number in range(5):  # more frames, which power cuts left half written
        (folder / f"20241015_1401{number:02d}_000.jpg").write_bytes(whole[: 200 + number])
    line.process()
    made = line.batch(budget)
    assert made.manifest is not None and len(made.manifest.items) == min(budget, len(sound))
    assert {PurePosixPath(item.image_path).name for item in made.manifest.items} <= {path.name for path in sound}
    assert any("0 bytes" in reason for reason in made.left_out.values())


def test_an_hour_of_frames_that_are_none_makes_no_batch(line: ForeignLine) -> None:
    for case, (ending, data) in no_pictures().items():
        line.add(case, ending, data)
    line.process()
    made = line.batch()
    assert made.manifest is None and len(made.left_out) == len(no_pictures())


def test_frames_without_a_time_in_their_name_are_asked_for(line: ForeignLine) -> None:
    line.folder.mkdir(parents=True)
    for name in ("IMG_0001.JPG", "缺陷 1.png"):
        (line.folder / name).write_bytes(saved(scene(), "JPEG" if name.endswith("JPG") else "PNG"))
    line.process()
    made = line.batch()
    assert made.manifest is not None and not made.left_out
    assert {PurePosixPath(item.image_path).name for item in made.manifest.items} == {"IMG_0001.JPG", "缺陷 1.png"}
    assert [item.captured_at for item in made.manifest.items] == [None, None]


def test_a_damaged_archive_leaves_out_its_own_frames_only(line: ForeignLine) -> None:
    line.take("zero_byte_frame")
    other = line.world.folder / "spool" / "cam02" / HOUR.key
    other.mkdir(parents=True)
    (other / "20241015_140000_000.png").write_bytes(saved(scene(), "PNG"))
    line.process()
    (name,) = line.archive.names(camera_id="cam02")
    receipt = line.archive.receipt(name)
    data = bytearray(line.world.archive.get(receipt.archive_key))
    (row,) = (row for row in line.archive.part(receipt).index() if row.name.endswith(".png"))
    data[row.offset + row.length // 2] ^= 0xFF
    path = line.world.folder / "archive" / receipt.archive_key
    path.chmod(0o600)
    path.write_bytes(data)
    made = line.batch()
    assert made.manifest is not None and {item.camera_id for item in made.manifest.items} == {CAMERA}
    assert f"cam02/{HOUR.key}/20241015_140000_000.png" in made.left_out


def answers(batch: BatchManifest) -> list[RawImage]:
    """Somebody accepts every guess."""
    return [
        RawImage(
            name=item.file,
            image_path=None,
            width=item.width,
            height=item.height,
            boxes=[RawBox(p.bbox, p.class_name) for p in item.predictions],
            annotator="tester",
        )
        for item in batch.items
    ]


EXPORTS = {
    "coco.json": coco.write,
    "ls.json": lambda images, _: label_studio.write(images),
    "yolo.zip": yolo.write,
}


@pytest.mark.parametrize("export", EXPORTS)
def test_labels_of_turned_frames_reach_training_where_they_belong(line: ForeignLine, export: str) -> None:
    line.take("exif_rotated")
    for orientation in (1, 5, 6, 7, 8):
        for kind in ORIENTED:
            data = saved(scene(), kind, orientation)
            line.names.setdefault("the foreign frame", "")
            line.add(f"{kind}{orientation}", kind.lower(), data, width=48, height=32)
    for case in ("bmp_top_down", "animated_webp", "tiff_of_pages", "png_called_jpg"):
        line.add(case, *odd_but_sound()[case])
    line.process()
    batch = line.batch().manifest
    assert batch is not None
    line.world.store.put(f"labels/inbox/{export}", EXPORTS[export](answers(batch), batch.class_names))
    report = import_inbox(line.world.store)
    assert not report.problems and report.images == len(batch.items) == 25
    dataset = build_dataset(line.world.store, line.archive)
    folder = materialise(line.world.store, dataset, line.world.folder / "dataset")
    for item in dataset.manifest.items:
        path = image_path(folder, item)
        picture = Image.open(path).convert("RGB")
        assert picture.size == (item.width, item.height)
        assert path.suffix == {"JPEG": ".jpg", "PNG": ".png"}[str(Image.open(path).format)]
        (box,) = item.boxes
        assert is_red(picture, box.bbox), item.image_path
        width, height = picture.size
        _, cx, cy, w, h = map(float, (folder / "labels" / item.split / f"{item.sha256}.txt").read_text().split())
        assert is_red(
            picture,
            ((cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height),
        )
    stored = {PurePosixPath(info.key).suffix for info in line.world.store.list("datasets/images/")}
    assert stored == {".jpg", ".png", ".webp", ".tiff", ".bmp"}


def test_pictures_of_a_label_zip_keep_their_kind(line: ForeignLine) -> None:
    pictures = {
        "a.png": saved(scene(), "PNG"),
        "b.webp": saved(scene(), "WEBP", 6),
        "c.tiff": saved(scene(), "TIFF", 8),
        "d.jpg": saved(scene(), "BMP"),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr("classes.txt", "crack\n")
        for name, data in pictures.items():
            packed.writestr(f"images/{name}", data)
            packed.writestr(f"labels/{PurePosixPath(name).stem}.txt", "0 0.3 0.5 0.2 0.2\n")
    line.world.store.put("labels/inbox/own.zip", buffer.getvalue())
    report = import_inbox(line.world.store)
    assert not report.problems and report.images == 4
    stored = {PurePosixPath(info.key).suffix for info in line.world.store.list("datasets/images/")}
    assert stored == {".png", ".webp", ".tif", ".bmp"}
    dataset = build_dataset(line.world.store, line.archive)
    sizes = sorted((item.width, item.height) for item in dataset.manifest.items)
    assert sizes == [(32, 48), (32, 48), (48, 32), (48, 32)]
    assert materialise(line.world.store, dataset, line.world.folder / "dataset").is_dir()


def test_the_frame_itself_outlives_its_archive_and_its_batch(line: ForeignLine) -> None:
    line.take("exif_rotated")
    line.process()
    batch = line.batch().manifest
    assert batch is not None
    line.world.store.put("labels/inbox/a.json", coco.write(answers(batch), batch.class_names))
    assert import_inbox(line.world.store).images == 1
    shutil.rmtree(line.world.folder / "archive" / "archives")
    (line.world.folder / "store" / annotation_key(batch.batch, f"images/{batch.items[0].file}")).unlink()
    dataset = build_dataset(line.world.store, line.archive)
    (item,) = dataset.manifest.items
    assert (item.width, item.height) == (120, 160)
    folder = materialise(line.world.store, dataset, line.world.folder / "dataset")
    assert is_red(Image.open(image_path(folder, item)).convert("RGB"), item.boxes[0].bbox)
