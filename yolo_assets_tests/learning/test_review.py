"""The review batch: wrong labels found by a model that runs, and corrected through the inbox like any other."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import cv2
import orjson
import pytest

from yolo_assets.archive.archive import Archive
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.model import ONNX
from yolo_assets.contracts.names import LABELS_INBOX, annotation_key, dataset_image_key
from yolo_assets.learning.dataset import build_dataset, latest_dataset
from yolo_assets.learning.formats import label_studio
from yolo_assets.learning.formats.base import RawBox, RawImage
from yolo_assets.learning.import_options import OPTIONS
from yolo_assets.learning.labels import import_inbox
from yolo_assets.learning.records import BatchManifest, ImportOptions
from yolo_assets.learning.review import read_suspects, review_labels
from yolo_assets.vision.model import Model
from yolo_assets_tests.learning.line_world import World
from yolo_assets_tests.support.tiny_model import CLASS_NAMES, blob_frame, tiny_bundle_files

PICTURES = 12


@pytest.fixture
def model() -> Model:
    manifest, files = tiny_bundle_files()
    return Model.load(manifest, {ONNX: files[ONNX]}, engine="onnxruntime")


def import_labels(world: World, wrong: dict[int, str]) -> dict[int, str]:
    """A YOLO zip of pictures of coloured blobs, with these errors; returns the SHA-256 of each picture."""
    buffer, names = io.BytesIO(), dict[int, str]()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("classes.txt", "\n".join(CLASS_NAMES))
        for seed in range(PICTURES):
            picture, truth = blob_frame(seed)
            data = cv2.imencode(".png", picture)[1].tobytes()
            names[seed] = hashlib.sha256(data).hexdigest()
            archive.writestr(f"images/{seed:03d}.png", data)
            lines: list[str] = []
            for number, (name, (x1, y1, x2, y2)) in enumerate(truth):
                what = wrong.get(seed) if number == 0 else None
                if what == "overlooked":
                    continue
                kind = CLASS_NAMES.index(name)
                kind = (kind + 1) % len(CLASS_NAMES) if what == "swapped" else kind
                shift = 0.6 * (x2 - x1) if what == "misplaced" else 0
                values = ((x1 + x2) / 2 + shift) / 320, (y1 + y2) / 2 / 240, (x2 - x1) / 320, (y2 - y1) / 240
                lines.append(f"{kind} " + " ".join(f"{value:.6f}" for value in values))
            archive.writestr(f"labels/{seed:03d}.txt", "\n".join(lines))
    world.store.put(f"{LABELS_INBOX}first.zip", buffer.getvalue())
    assert not import_inbox(world.store).problems
    build_dataset(world.store, Archive(world.archive, world.trusted))
    return names


def test_wrong_labels_are_found_shown_and_corrected_through_the_inbox(tmp_path: Path, model: Model) -> None:
    world, wrong = World.make(tmp_path), {2: "swapped", 5: "overlooked", 8: "misplaced"}
    names = import_labels(world, wrong)
    report = review_labels(world.store, model, limit=3)
    surest = {one.sha256: one.kind for one in reversed(report.suspects)}
    assert surest == {names[seed]: kind for seed, kind in wrong.items()}
    assert report.images == PICTURES and report.batch is not None and report.model_version == "weld/1"
    assert read_suspects(world.store) == report == review_labels(world.store, model, limit=3), (
        "the same is not looked at again"
    )
    manifest = BatchManifest.from_json(world.store.get(annotation_key(report.batch, "manifest.json")), "manifest")
    assert [item.reason for item in manifest.items] == ["suspect"] * 3
    tasks = orjson.loads(world.store.get(annotation_key(report.batch, "label_studio.json")))
    by_path = {task["data"]["image_path"]: task["data"]["note"] for task in tasks}
    assert all(one.sentence in by_path[one.image_path] for one in report.suspects)
    assert b"$note" in world.store.get(annotation_key(report.batch, "labeling_config.xml"))
    assert all(world.store.get(annotation_key(report.batch, f"images/{item.file}")) for item in manifest.items)

    corrected: list[RawImage] = []
    for item in manifest.items:
        seed = next(seed for seed, sha256 in names.items() if sha256 == item.sha256)
        boxes = [RawBox((float(a), float(b), float(c), float(d)), name) for name, (a, b, c, d) in blob_frame(seed)[1]]
        corrected.append(RawImage(name=item.file, width=320, height=240, boxes=boxes, annotator="A. Berg"))
    options = ImportOptions(change_test_labels=tuple(item.file for item in manifest.items))
    world.store.put(f"{LABELS_INBOX}second.json{OPTIONS}", options.to_json())
    world.store.put(f"{LABELS_INBOX}second.json", label_studio.write(corrected))
    assert import_inbox(world.store).images == 3
    build_dataset(world.store, Archive(world.archive, world.trusted))
    after = review_labels(world.store, model)
    doubted = {one.sha256: one.score for one in report.suspects}
    assert not [one for one in after.suspects if one.score >= doubted.get(one.sha256, 1)], "what was corrected is right"
    assert not [one for one in after.suspects if one.earlier is not None], "the model agrees with the correction"


def test_a_picture_that_is_gone_is_named_and_the_others_are_looked_at(tmp_path: Path, model: Model) -> None:
    world = World.make(tmp_path)
    names = import_labels(world, {2: "swapped", 5: "overlooked"})
    dataset = latest_dataset(world.store)
    assert dataset is not None
    (gone,) = (item for item in dataset.manifest.items if item.sha256 == names[2])
    world.store.put(dataset_image_key(gone.sha256, gone.image_path), b"no picture")
    report = review_labels(world.store, model, limit=1)
    assert list(report.unreadable) == [gone.image_path]
    assert [(one.sha256, one.kind) for one in report.suspects] == [(names[5], "overlooked")]


def test_without_a_dataset_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="datasets build"):
        review_labels(World.make(tmp_path).store, None)
