"""A fifth class, a rename, a retirement and a merge: from ``classes`` commands to the records of a running agent."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from yolo_assets.classes.stored import read_class_list
from yolo_assets.cli.main import app
from yolo_assets.contracts.model import GoldenFrame, ModelManifest
from yolo_assets.edge.rollout.evaluation import CommonClasses
from yolo_assets.models.registry import Registry
from yolo_assets.vision.detections import Detections
from yolo_assets.vision.golden import golden_detections
from yolo_assets.vision.model import Model
from yolo_assets.vision.pictures import decode_image
from yolo_assets_tests.edge.plant import MODEL, TOKEN, AgentProcess, Plant, until
from yolo_assets_tests.support.tiny_model import CLASS_NAMES, COLOURS_RGB, tiny_bundle_files

FIVE: tuple[str, ...] = (*CLASS_NAMES, "dent")


def command(plant: Plant, *argv: str) -> None:
    app(["classes", *argv, "--store", plant.store_folder.as_uri(), "--by", "A. Berg"], standalone_mode=False)


def one_blob_of_each(folder: Path) -> Path:
    frame = np.full((240, 400, 3), 40, np.uint8)
    for place, name in enumerate(FIVE):
        red, green, blue = (int(40 + 215 * part) for part in COLOURS_RGB[name])
        frame[90:118, 80 * place + 26 : 80 * place + 52] = (blue, green, red)
    folder.mkdir()
    cv2.imwrite(str(folder / "0.png"), frame)
    return folder


def register(plant: Plant, version: str, **fields: Any) -> ModelManifest:
    """As training does, under the class list of the store: the golden frames hold what the model reports by it."""
    manifest, files = tiny_bundle_files(name=MODEL, version=version, class_names=FIVE)
    manifest = manifest.model_copy(update={"class_list": read_class_list(plant.store), **fields})
    model = Model.load(manifest, files, engine="onnxruntime")
    golden = [
        GoldenFrame(file=one.file, detections=golden_detections(model, decode_image(files[one.file], one.file)))
        for one in manifest.golden_frames
    ]
    model.close()
    manifest = manifest.model_copy(update={"golden_frames": tuple(golden)})
    Registry(plant.store).write_bundle(manifest, files)
    return manifest


def test_two_models_are_compared_in_the_classes_of_both(plant: Plant) -> None:
    old = plant.register("1")
    plant.promote("1")  # the first list is made of the classes that are served
    command(plant, "add", "dent")
    command(plant, "retire", "spatter")
    command(plant, "merge", "undercut", "porosity")
    new = register(plant, "2")
    every = Detections.of(np.tile([0.0, 0.0, 9.0, 9.0], (5, 1)), np.arange(5))
    for common in (CommonClasses(old, new), CommonClasses(new, old)):
        assert common.of(every).class_id.tolist() == [0, 1, 1]
    assert CommonClasses(old, old).of(every[:4]).class_id.tolist() == [0, 1, 2, 3]


def test_changes_of_classes_reach_records_without_a_restart(plant: Plant) -> None:
    picture = one_blob_of_each(plant.root / "photos")
    camera = {"kind": "folder", "camera_id": "cam1", "path": str(picture), "loop": True, "fps": 10}
    config = plant.config_file(
        [camera | {"start": "2026-01-02T03:00:00Z", "pace": "realtime"}],
        sampling={"normal_every": 0, "detections_every": 1000},
        alarms=[
            {"name": "cracks", "classes": ["crack"], "clear_s": 0.3},
            {"name": "undercuts", "classes": ["undercut"], "clear_s": 0.3},
        ],
    )
    plant.register("1")
    plant.promote("1")
    agent = AgentProcess(config)

    def recorded(version: str) -> bool:
        seen = [r for r in plant.records() if r["model_version"] == f"{MODEL}/{version}"]
        return any(record["detections"] for record in seen)

    try:
        first = agent.wait_for(lambda status: len(status["outputs"]["alarms"]) == 2)
        served = [("1", set(FIVE[:4]))]
        until(lambda: recorded("1"))
        for version, argv, reported in (
            ("2", ("add", "dent", "--display", "de=Delle"), set(FIVE)),
            ("3", ("rename", "crack", "fissure"), {"fissure", *FIVE[1:]}),
            ("4", ("retire", "spatter"), {"fissure", "porosity", "undercut", "dent"}),
            ("5", ("merge", "undercut", "porosity"), {"fissure", "porosity", "dent"}),
        ):
            command(plant, *argv)
            register(plant, version)
            plant.promote(version)
            now = agent.wait_for(lambda status, v=version: status["model"]["version"] == f"{MODEL}/{v}")
            assert set(now["model"]["classes"]) == reported
            until(lambda v=version: recorded(v))
            served.append((version, reported))
        assert now["started_at"] == first["started_at"]
        assert now["warnings"] == []
        listed = read_class_list(plant.store)
        assert listed is not None
        register(plant, "6", class_list=listed.model_copy(update={"id": "another-plant"}))
        plant.promote("6")
        refused = agent.wait_for(lambda status: any(s["result"] == "refused" for s in status["swaps"]))
        assert refused["model"]["version"] == f"{MODEL}/5"
        assert agent.request("/rollback", "POST", TOKEN)[0] == 200
        agent.wait_for(lambda status: status["model"]["version"] == f"{MODEL}/4")
    finally:
        code = agent.stop()
    assert code == 0
    standing = [{one["alarm_id"] for one in status["outputs"]["alarms"]} for status in (first, refused)]
    assert standing[0] == standing[1], "alarm rules follow a rename and a merge"
    records = plant.records()
    for version, reported in served:
        mine = [record for record in records if record["model_version"] == f"{MODEL}/{version}"]
        assert {box["class"] for record in mine for box in record["detections"]} == reported
        label = None if version == "1" else f"{listed.id}/{int(version) - 1}"
        assert {record.get("class_list") for record in mine} == {label}
    assert len({record["sequence"] for record in records}) == len(records), "no frame has two records"
