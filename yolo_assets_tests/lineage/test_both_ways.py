"""Both ways over real archives, labels, datasets and tables: from a wrong label to what rests on it, and back."""

from __future__ import annotations

import io
import json
import sys
from datetime import timedelta
from typing import cast

import polars as pl
import pytest

from yolo_assets.archive.archive import Archive
from yolo_assets.catalog.publish import publish
from yolo_assets.cli.main import main
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import LABELS_INBOX, ArchiveName, frames_key
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour
from yolo_assets.learning.dataset import build_dataset
from yolo_assets.learning.formats import coco
from yolo_assets.learning.formats.base import RawImage
from yolo_assets.learning.labels import import_inbox
from yolo_assets.lineage.trace import Tracer
from yolo_assets.models.promotion import ReleaseRequest
from yolo_assets.models.registry import Registry
from yolo_assets.simulator.appearance import CLASS_NAMES
from yolo_assets.tables.schema import FramesTable, polars_schema
from yolo_assets_tests.catalog.receipt_factory import put_receipt
from yolo_assets_tests.learning.line_world import World
from yolo_assets_tests.models.release_support import byte_bundle, promoter_of

SERVED = Hour.from_key("20260305_00")
# camera, hours after SERVED, version, frames, detections of each, whether it is archived
DECISIONS = [
    ("cam01", 0, "line/1", 5, 2, True),
    ("cam01", 1, "line/1", 4, 0, True),
    ("cam02", 1, "line/2", 3, 1, False),
    ("cam02", 2, "line/other", 7, 3, True),
]


class Plant(World):
    """A line whose labels became datasets and models, and what these decided on the line since."""

    def build(self) -> None:
        self.paths = self.archive_frames(30, step=40)
        self.label(self.paths[:24])
        first = build_dataset(self.store, self.of_keys())
        (self.wrong,) = [item for item in first.manifest.items if item.image_path == self.trained(first)]
        self.registry = Registry(self.store, TrustedKeys.of(self.promotion))
        self.first = first
        self.store.put(f"{LABELS_INBOX}second.json", coco.write(self.corrected(), CLASS_NAMES))
        import_inbox(self.store)
        second = build_dataset(self.store, self.of_keys())
        assert second.sha256 != first.sha256
        self.second = second
        for version, facts in {
            "1": {"dataset_sha256": first.sha256},
            "2": {"parent_version": "line/1"},  # its own data are not told: only the weights go on
            "3": {"dataset_sha256": second.sha256},
            "other": {},
        }.items():
            self.registry.write_bundle(*byte_bundle(version, **facts))
        promoter_of(self.registry, self.promotion).promote(ReleaseRequest("line", "1", "stable", "anna", "first"))
        for camera, after, model, frames, detections, archived in DECISIONS:
            hour = SERVED.next(after)
            self.store.put(frames_key(hour, camera), table(camera, hour, model, frames, detections))
            if archived:
                put_receipt(self.archive, self.signer, ArchiveName(camera, hour), model_versions=(model,))
        publish(self.store, self.of_keys())

    @property
    def promotion(self) -> Signer:
        return Signer.load_or_create(self.folder / "keys" / "promotion")

    def of_keys(self) -> Archive:
        return Archive(self.archive, self.trusted)

    def trained(self, dataset) -> str:
        return next(item.image_path for item in dataset.items("train") if item.boxes)

    def corrected(self) -> list[RawImage]:
        """The wrong label without its boxes, and six frames more."""
        wrong = self.wrong.image_path
        answers = self.answers(self.batch([wrong, *self.paths[24:]]))
        for one in answers:
            if one.image_path == wrong:
                one.boxes = one.boxes[:0]
        return answers

    def trace(self, word: str, **options):
        return Tracer(self.registry, "line", **options).trace(word)


def table(camera: str, hour: Hour, model: str, frames: int, detections: int) -> bytes:
    rows = [
        {
            "camera_id": camera,
            "hour": hour.start,
            "image_path": f"{camera}/{hour.key}/{hour.key}{number:04d}.jpg",
            "captured_at": hour.start + timedelta(seconds=number),
            "model_version": model,
            "device_id": "edge-1",
            "n_detections": detections,
        }
        for number in range(frames)
    ]
    buffer = io.BytesIO()
    pl.DataFrame(rows, schema=polars_schema(FramesTable)).write_parquet(buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def plant(tmp_path_factory) -> Plant:
    made = cast(Plant, Plant.make(tmp_path_factory.mktemp("plant")))
    made.build()
    return made


def shipped(found) -> list[tuple]:
    return [
        (one.model_version, one.camera_id, one.hour[:13], one.frames, one.detections, len(one.archives))
        for one in found.decided
    ]


def test_a_wrong_label_leads_to_every_decision_that_rests_on_it(plant: Plant) -> None:
    found = plant.trace(plant.wrong.image_path.rpartition("/")[2])
    assert found.kind == "label" and found.labels is not None
    assert {(one.model, one.how) for one in found.rests_on_it} == {
        ("line/1", "trained on it"),
        ("line/2", "continues a model that rests on it"),
        ("line/3", "trained on it"),
    }
    as_now = {one.model: one.as_now for one in found.rests_on_it}
    assert (as_now["line/1"], as_now["line/3"]) == (0, 1)  # it was corrected between the two
    assert shipped(found) == [
        ("line/1", "cam01", "2026-03-05T00", 5, 10, 1),
        ("line/1", "cam01", "2026-03-05T01", 4, 0, 1),
        ("line/2", "cam02", "2026-03-05T01", 3, 3, 0),
    ]
    assert found.totals == {"camera_hours": 3, "cameras": 2, "frames": 12, "detections": 13, "archives": 2}
    assert next(one for one in found.rests_on_it if one.model == "line/1").releases[0]["by"] == "anna"
    assert {found.label_files[one["sha256"]]["file"]: one["count_today"] for one in found.labels["files"]} == {
        "labels.json": 0,
        "second.json": 1,
    }


def test_a_label_file_leads_to_models_that_have_its_labels(plant: Plant) -> None:
    assert plant.trace("second.json").kind == "label"
    direct = {"labels.json": {"line/1", "line/3"}, "second.json": {"line/3"}}
    for file, models in direct.items():
        resting = plant.trace(file).rests_on_it
        assert {one.model for one in resting if one.how != "continues a model that rests on it"} == models


def test_a_detection_leads_to_model_dataset_labels_archives(plant: Plant) -> None:
    camera, hour = "cam02", SERVED.next(1)
    found = plant.trace(f"C:\\spool\\{camera}\\{hour.key}\\{hour.key}0002.jpg")
    assert found.frame is not None
    assert (found.kind, found.frame["model_version"], found.frame["n_detections"]) == ("frame", "line/2", 1)
    assert [one.model for one in found.made_from] == ["line/2", "line/1"]  # by its weights to the data
    (origin,) = [one for one in found.made_from if one.dataset]
    assert origin.dataset == plant.first.sha256 and sum(origin.images.values()) == len(plant.first.manifest.items)
    assert origin.archives == tuple(
        sorted({item.source.archive_key for item in plant.first.manifest.items if item.source})
    )
    assert {found.label_files[sha]["file"] for sha in origin.label_files} == {"labels.json"}
    assert (found.rests_on_it, found.decided) == ((), ())


def test_an_archive_leads_both_ways(plant: Plant) -> None:
    served = plant.trace(ArchiveName("cam01", SERVED).archive_key)
    assert (served.kind, [one.model for one in served.made_from]) == ("archive", ["line/1"])
    assert plant.wrong.source is not None
    labelled = plant.trace(plant.wrong.source.archive_key)
    assert labelled.archive is not None and labelled.archive["labelled_frames"] == 30
    assert {one.model for one in labelled.rests_on_it} >= {"line/1", "line/3"}
    assert any("none/0" in note for note in labelled.notes)  # a model that nobody registered


def test_a_model_leads_both_ways(plant: Plant) -> None:
    found = plant.trace("1")
    assert (found.kind, found.name, found.made_from[0].dataset) == ("model", "line/1", plant.first.sha256)
    assert [one.model for one in found.rests_on_it] == ["line/1", "line/2"]
    assert found.totals["detections"] == 13


def test_one_frame_name_on_two_cameras_is_asked_back(plant: Plant) -> None:
    with pytest.raises(BadInputError, match=r"may be cam01/20260305_01/.*, cam02/20260305_01/"):
        plant.trace(f"{SERVED.next(1).key}0001.jpg")
    with pytest.raises(BadInputError, match="is no archive or model or frame or label"):
        plant.trace("nothing")


def test_the_frame_tells_its_one_archive_with_the_archive_at_hand(plant: Plant) -> None:
    path = plant.paths[-1]
    hour = Hour.from_key(path.split("/")[1])
    plant.store.put(frames_key(hour, "lineA_cam01"), frame_of(path, hour))
    found = plant.trace(path, archive=plant.of_keys())
    assert (
        found.frame is not None
        and found.frame["member"] == path.rpartition("/")[2]
        and len(found.frame["archives"]) == 1
    )
    assert found.kind == "frame" and found.labels is not None and found.also == ()


def frame_of(path: str, hour: Hour) -> bytes:
    row = {"camera_id": "lineA_cam01", "hour": hour.start, "image_path": path, "captured_at": hour.start}
    row |= {"model_version": "none/0", "device_id": "edge-1", "n_detections": 0}
    buffer = io.BytesIO()
    pl.DataFrame([row], schema=polars_schema(FramesTable)).write_parquet(buffer)
    return buffer.getvalue()


def test_the_command_answers_from_the_store_alone(plant: Plant, monkeypatch, capfd) -> None:
    monkeypatch.setenv("YOLO_ASSETS_HOME", str(plant.folder / "elsewhere"))
    for options in ((), ("--json",)):
        words = [
            "lineage",
            plant.wrong.image_path,
            "--as",
            "label",
            "--store",
            plant.store.url,
            *options,
        ]
        monkeypatch.setattr(sys, "argv", ["yolo-assets", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0, capfd.readouterr().err
        printed = capfd.readouterr().out
        if options:
            told = json.loads(printed)
            assert (told["kind"], told["totals"]["detections"]) == ("label", 13)
        else:
            assert "line/2" in printed and "continues a model" in printed and "13 detections" in printed
