"""Archive to batch to labels to dataset to folder, on a real archive in folders."""

from __future__ import annotations

import hashlib

import cv2
import duckdb
import numpy as np
import orjson
import pytest
import yaml

from yolo_assets.archive.archive import Archive
from yolo_assets.contracts.errors import BadInputError, IntegrityError
from yolo_assets.contracts.names import LABELS_INBOX, annotation_key, dataset_image_key, dataset_key
from yolo_assets.learning.dataset import Dataset, build_dataset, hard_reasons, latest_dataset, read_dataset
from yolo_assets.learning.formats import coco, label_studio, yolo
from yolo_assets.learning.formats.base import RawBox, RawImage
from yolo_assets.learning.formats.recognise import parse
from yolo_assets.learning.label_history import accepted
from yolo_assets.learning.labels import batches, import_inbox
from yolo_assets.learning.manifests import read_head
from yolo_assets.learning.records import BatchManifest, LabelBox, Sampled
from yolo_assets.learning.training_folder import image_path, materialise
from yolo_assets.simulator.appearance import CLASS_NAMES
from yolo_assets_tests.learning.line_world import World


@pytest.fixture
def world(tmp_path) -> World:
    return World.make(tmp_path)


def test_a_batch_holds_the_archived_bytes_and_what_tools_need(world):
    paths = world.archive_frames(6)
    batch = world.batch(paths[1:4])
    assert [item.image_path for item in batch.items] == sorted(paths[1:4])
    assert len({item.file for item in batch.items}) == 3
    for item in batch.items:
        data = world.store.get(annotation_key(batch.batch, f"images/{item.file}"))
        assert data == world.images[item.image_path]
        assert hashlib.sha256(data).hexdigest() == item.sha256
        assert item.source.archive_key.startswith("archives/camera=lineA_cam01/")
    stored = world.store.get(annotation_key(batch.batch, "manifest.json"))
    assert BatchManifest.from_json(stored) == batch == batches(world.store)[0]
    for file in ("coco.json", "label_studio.json"):
        parse(file, world.store.get(annotation_key(batch.batch, file)))
    assert "<RectangleLabels" in world.store.get(annotation_key(batch.batch, "labeling_config.xml")).decode()
    assert "labels/inbox/" in world.store.get(annotation_key(batch.batch, "README.txt")).decode()


def test_the_same_frames_are_the_same_batch_also_after_a_crash(world):
    paths = world.archive_frames(3)
    batch = world.batch(paths)
    world.store.delete(annotation_key(batch.batch, "manifest.json"))  # died just before the commit
    world.store.delete(annotation_key(batch.batch, f"images/{batch.items[0].file}"))
    assert batches(world.store) == []
    assert world.batch(list(reversed(paths))) == batch
    assert len(list(world.store.list(annotation_key(batch.batch, "images/")))) == 3


def test_a_frame_that_is_in_no_archive_is_named(world):
    world.archive_frames(1)
    with pytest.raises(BadInputError, match=r"20260301_105959_000.jpg is not in any archive yet"):
        world.batch(["lineA_cam01/20260301_10/20260301_105959_000.jpg"])
    with pytest.raises(BadInputError, match="no frame was sampled"):
        world.batch([])


def test_import_is_idempotent_and_later_files_correct_earlier_ones(world):
    paths = world.archive_frames(4)
    batch = world.batch(paths)
    answers = world.answers(batch)
    world.store.put(f"{LABELS_INBOX}a.json", coco.write(answers, CLASS_NAMES))
    first = import_inbox(world.store)
    assert (first.images, first.problems) == (4, [])
    assert import_inbox(world.store).new == []
    answers[0].boxes = []
    world.store.put(f"{LABELS_INBOX}b.json", label_studio.write(answers[:1]))
    assert import_inbox(world.store).images == 1
    dataset = build_dataset(world.store, Archive(world.archive, world.trusted))
    boxes = {item.image_path: item.boxes for item in dataset.manifest.items}
    assert boxes[answers[0].image_path] == ()
    assert [labels.format for labels in accepted(world.store)] == ["coco", "label_studio"]


def test_a_file_that_cannot_be_read_is_reported_and_stops_no_other(world):
    paths = world.archive_frames(2)
    world.store.put(f"{LABELS_INBOX}0.bin", b"\x00\x01")
    report = world.label(paths)
    assert report.images == 2
    assert report.problems == [problem for problem in report.problems if problem.startswith("0.bin: ")]
    assert len(report.problems) == 1


def test_dataset_versions(world):
    paths = world.archive_frames(40)
    world.label(paths[:30])
    first = build_dataset(world.store, Archive(world.archive, world.trusted))
    assert build_dataset(world.store, Archive(world.archive, world.trusted)) == first == latest_dataset(world.store)
    assert len(first.manifest.items) == 30
    assert set(first.manifest.class_names) <= set(CLASS_NAMES)
    assert all(first.items(split) for split in ("train", "val", "test"))
    for item in first.manifest.items:
        assert (
            hashlib.sha256(world.store.get(dataset_image_key(item.sha256, item.image_path))).hexdigest() == item.sha256
        )

    world.label(paths[25:], "more.json")
    second = build_dataset(world.store, Archive(world.archive, world.trusted))
    assert second.manifest.parent == first.sha256 != second.sha256
    splits = {item.sha256: item.split for item in second.manifest.items}
    assert all(splits[item.sha256] == item.split for item in first.manifest.items)
    assert len(second.manifest.items) + len(second.manifest.excluded) == 40
    assert second.manifest.class_names[: len(first.manifest.class_names)] == first.manifest.class_names


def test_the_same_inputs_give_the_same_version_in_another_store(tmp_path):
    versions = []
    for name in ("one", "two"):
        world = World.make(tmp_path / name)
        world.label(world.archive_frames(12))
        versions.append(build_dataset(world.store, Archive(world.archive, world.trusted)).sha256)
    assert versions[0] == versions[1]


def test_images_come_from_the_archive_when_the_batch_is_missing(world):
    world.label(world.archive_frames(8))
    for info in list(world.store.list("annotation/")):
        world.store.delete(info.key)
    assert len(build_dataset(world.store, Archive(world.archive, world.trusted)).manifest.items) == 8


def test_an_image_that_was_spoilt_is_left_out_and_named(world):
    world.label(world.archive_frames(11))
    picture = cv2.imencode(".jpg", np.full((60, 80, 3), 90, np.uint8))[1].tobytes()
    own = RawImage("x.jpg", width=80, height=60, boxes=[RawBox((8, 6, 40, 30), "crack")], data=picture)
    world.store.put(f"{LABELS_INBOX}own.zip", yolo.write([own], CLASS_NAMES))
    assert import_inbox(world.store).images == 1
    world.store.put(dataset_image_key(hashlib.sha256(picture).hexdigest(), "x.jpg"), picture[:-20])
    manifest = build_dataset(world.store, Archive(world.archive, world.trusted)).manifest
    assert len(manifest.items) == 11
    (path,) = manifest.excluded
    assert path.startswith("imported/")
    assert any(warning.startswith(f"{path} is left out: ") for warning in manifest.warnings)


def test_changed_manifests_and_images_are_refused(world, tmp_path):
    world.label(world.archive_frames(12))
    dataset = build_dataset(world.store, Archive(world.archive, world.trusted))
    item = dataset.manifest.items[0]
    key = dataset_image_key(item.sha256, item.image_path)
    good = world.store.get(key)
    world.store.put(key, good[:-20])
    with pytest.raises(IntegrityError, match="was changed"):
        materialise(world.store, dataset, tmp_path / "data")
    assert not (tmp_path / "data").exists()
    for file in ("items.parquet", "manifest.json"):  # whichever part of a manifest was changed
        good = world.store.get(dataset_key(dataset.sha256, file))
        world.store.put(dataset_key(dataset.sha256, file), good + b" ")
        with pytest.raises(IntegrityError, match="was changed"):
            read_dataset(world.store, dataset.sha256)
        world.store.put(dataset_key(dataset.sha256, file), good)
    assert read_dataset(world.store, dataset.sha256) == dataset


def test_any_tool_reads_the_rows_of_a_dataset(world, tmp_path):
    paths = world.archive_frames(12)
    world.label(paths)
    picture = next(iter(world.images.values()))
    world.store.put(dataset_image_key(hashlib.sha256(picture).hexdigest(), "x.jpg"), picture[:-20])
    dataset = build_dataset(world.store, Archive(world.archive, world.trusted))
    head = orjson.loads(world.store.get(dataset_key(dataset.sha256, "manifest.json")))
    rows = world.store.get(dataset_key(dataset.sha256, "items.parquet"))
    assert (head["images"], head["excluded"], "items" in head) == (11, 1, False)
    assert head["items_sha256"] == hashlib.sha256(rows).hexdigest()
    (tmp_path / "items.parquet").write_bytes(rows)
    asked = duckdb.sql(
        f"""SELECT split, count(*), sum(len(boxes)), count(captured_at), bool_and(archive_key LIKE 'archives/%')
        FROM '{tmp_path}/items.parquet' WHERE split IS NOT NULL GROUP BY 1 ORDER BY 1"""
    ).fetchall()
    expected = []
    for split in ("test", "train", "val"):
        items = dataset.items(split)
        if items:
            expected.append((split, len(items), sum(len(item.boxes) for item in items), len(items), True))
    assert asked == expected
    outside = duckdb.sql(f"SELECT image_path, excluded FROM '{tmp_path}/items.parquet' WHERE split IS NULL").fetchall()
    assert dict(outside) == dataset.manifest.excluded


def test_a_dataset_of_one_json_document_is_read_and_built_upon(world, tmp_path):
    world.label(world.archive_frames(12))
    archive = Archive(world.archive, world.trusted)
    built = build_dataset(world.store, archive)
    whole = built.manifest.to_json()
    old = hashlib.sha256(whole).hexdigest()
    world.store.put(dataset_key(old, "manifest.json"), whole)
    world.store.put("datasets/current.json", orjson.dumps({"sha256": old}))
    assert latest_dataset(world.store) == Dataset(old, built.manifest)
    assert build_dataset(world.store, archive).sha256 == old  # nothing changed: no version in another form
    head = read_head(world.store, old)
    assert (head.images, head.counts) == (12, built.manifest.counts)
    folder = materialise(world.store, built, tmp_path / "data")
    (folder / "items.parquet").unlink()
    (folder / "manifest.json").write_bytes(whole)  # as 0.1 left it
    assert materialise(world.store, built, folder) == folder


def test_an_image_that_was_away_comes_back_to_its_split(world):
    world.label(world.archive_frames(20))
    archive = Archive(world.archive, world.trusted)
    first = build_dataset(world.store, archive)
    (labels,) = accepted(world.store)
    test = {item.sha256: (item.split, item.group) for item in first.items("test")}
    without = tuple(image for image in labels.images if image.sha256 not in test)
    away = build_dataset(world.store, archive, [labels.model_copy(update={"images": without})])
    again = read_dataset(world.store, away.sha256)
    assert test and again.manifest.kept_splits == test
    back = build_dataset(world.store, archive)
    assert {item.sha256: item.split for item in back.manifest.items if item.sha256 in test} == dict.fromkeys(
        test, "test"
    )
    assert back.manifest.kept_splits == {}


def test_the_folder_is_what_a_yolo_trainer_reads(world, tmp_path):
    world.label(world.archive_frames(16))
    dataset = build_dataset(world.store, Archive(world.archive, world.trusted))
    folder = materialise(world.store, dataset, tmp_path / "data")
    assert materialise(world.store, dataset, folder) == folder
    described = yaml.safe_load((folder / "data.yaml").read_text())
    assert list(described["names"].values()) == list(dataset.manifest.class_names)
    for item in dataset.manifest.items:
        assert image_path(folder, item).read_bytes() == world.images[item.image_path]
        rows = (folder / "labels" / item.split / f"{item.sha256}.txt").read_text().splitlines()
        assert len(rows) == len(set(item.boxes))
        for row, box in zip(rows, item.boxes, strict=True):
            class_id, cx, cy, w, h = row.split()
            assert described["names"][int(class_id)] == box.class_name
            x1 = (float(cx) - float(w) / 2) * item.width
            y2 = (float(cy) + float(h) / 2) * item.height
            assert (x1, y2) == pytest.approx((box.bbox[0], box.bbox[3]), abs=0.01)
    with pytest.raises(BadInputError, match="name another folder"):
        materialise(world.store, dataset, folder, splits=("test",))


def test_a_bad_row_in_a_manifest_never_reaches_a_trainer(world, tmp_path):
    world.label(world.archive_frames(10))
    dataset = build_dataset(world.store, Archive(world.archive, world.trusted))
    bad = LabelBox.model_validate({"bbox": (0, 0, 9999, 10), "class": dataset.manifest.class_names[0]})
    items = (dataset.manifest.items[0].model_copy(update={"boxes": (bad,)}), *dataset.manifest.items[1:])
    broken = type(dataset)(dataset.sha256, dataset.manifest.model_copy(update={"items": items}))
    with pytest.raises(BadInputError, match="no area inside 320x256"):
        materialise(world.store, broken, tmp_path / "data")


def test_no_labels_and_only_backgrounds_are_errors_with_advice(world):
    with pytest.raises(BadInputError, match="no accepted labels"):
        build_dataset(world.store, Archive(world.archive, world.trusted))
    paths = world.archive_frames(3)
    for path in paths:
        world.truth[path] = ()
    world.label(paths)
    with pytest.raises(BadInputError, match="label at least one object"):
        build_dataset(world.store, Archive(world.archive, world.trusted))


def test_hard_cases_are_small_or_faint():
    picture = np.full((256, 320), 120, np.uint8)
    cv2.rectangle(picture, (40, 40), (100, 90), 200, -1)
    cv2.rectangle(picture, (150, 40), (210, 90), 125, -1)

    def box(*xyxy):
        return LabelBox.model_validate({"bbox": xyxy, "class": "crack"})

    assert hard_reasons(picture, [box(40, 40, 101, 91)]) == ()
    assert hard_reasons(picture, [box(150, 40, 211, 91)]) == ("low_contrast",)
    assert hard_reasons(picture, [box(40, 40, 50, 91)]) == ("small",)
    large = np.random.default_rng(0).integers(0, 255, (2160, 3840), np.uint8)
    assert hard_reasons(large, [box(400, 400, 500, 500)]) == ()  # 2.6 % of the frame's width, and plain to see
    assert hard_reasons(large, [box(400, 400, 430, 500)]) == ("small",)


def test_a_batch_shows_the_prelabels_of_the_model(world):
    import polars as pl

    from yolo_assets.learning.batch import prelabels_from_table, write_batch

    (path,) = world.archive_frames(1)
    columns = {"image_path": path, "confidence": 0.4, "x1": 5.0, "y1": 6.0, "x2": 50.0, "y2": 60.0}
    rows = [columns | {"class": name, "model_version": "line/1"} for name in ("crack", "two\nlines")]
    prelabels = prelabels_from_table(pl.DataFrame(rows))
    sampled = [Sampled(image_path=path, reason="uncertain")]
    batch = write_batch(
        world.store, Archive(world.archive, world.trusted), sampled, class_names=CLASS_NAMES, prelabels=prelabels
    )
    assert [p.class_name for p in batch.items[0].predictions] == ["crack"]
    assert batch.items[0].model_version == "line/1"
    (image,) = parse("coco", world.store.get(annotation_key(batch.batch, "coco.json"))).images
    assert image.boxes[0].xyxy == (5, 6, 50, 60)
