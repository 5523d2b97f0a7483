"""A real training in its own process: killed, resumed, exported, registered, evaluated, reused."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from yolo_assets.cli.main import main
from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.evaluation import PairedEvaluation
from yolo_assets.contracts.model import ONNX, WEIGHTS
from yolo_assets.contracts.names import dataset_key, model_key, parse_model_version, training_key
from yolo_assets.learning.dataset import Dataset
from yolo_assets.learning.training_folder import materialise
from yolo_assets.models.registry import Registry
from yolo_assets.training import candidates
from yolo_assets.training.candidates import evaluate_candidate, train_candidate
from yolo_assets.training.job_process import run_child
from yolo_assets.training.jobs import CHECKPOINT, CURVE, RAN, RESULT, TrainingEvent, TrainJob
from yolo_assets.training.spec import fine_tune
from yolo_assets.vision.model import Model
from yolo_assets.vision.pictures import decode_image
from yolo_assets_tests.training.conftest import SPEC, Trained

pytestmark = pytest.mark.timeout(240)


def test_a_killed_training_resumes_from_the_store_elsewhere(trained: Trained):
    assert "killed by signal 9" in trained.killed
    assert "run it again to resume" in trained.killed
    assert [event.event for event in trained.events] == ["resumed", "epoch", "epoch", "finished"]
    assert [event.epoch for event in trained.events if event.event == "epoch"] == [2, 3]
    assert trained.result.training.resumed_from == 1
    assert trained.result.training.epochs == 3
    ran = trained.result.training.ran
    assert ran is not None and (ran.architecture, ran.batch, ran.imgsz, ran.taken_over) == ("yolo11n.yaml", 8, 64, 0.0)
    assert ran.parameters > 2_000_000 and ran.hardware and ran.libraries["ultralytics"]
    curve = trained.world.store.get(training_key(trained.result.fingerprint, CURVE))
    assert decode_image(curve, CURVE).shape[:2] == (384, 512)
    for file in (CHECKPOINT, "best.pt", RAN):  # cleared once the result is there
        assert trained.world.store.head(training_key(trained.result.fingerprint, file)) is None
    epochs = [event for event in trained.events if event.event == "epoch"]
    for event in epochs:
        assert {"metrics/mAP50", "metrics/mAP50-95"} <= set(event.metrics)
        assert event.losses and all(value is not None and value >= 0 for value in event.losses.values())
        assert event.rss_bytes and event.rss_bytes > 50_000_000


def test_one_process_trains_and_exports(trained: Trained):
    assert trained.children == ["train"]


def test_the_bundle_is_whole_and_does_on_the_edge_what_it_did_here(trained: Trained):
    name, version = trained.result.name, trained.result.version
    assert version.endswith(trained.result.fingerprint[:8])
    manifest = Registry(trained.world.store).verify_bundle(name, version, signed=False).manifest
    assert manifest.class_names == trained.dataset.manifest.class_names
    assert manifest.input_shape == (1, 3, 64, 64)
    assert manifest.output_layout == "raw"
    assert (manifest.stride, manifest.dataset_sha256) == (32, trained.dataset.sha256)
    assert manifest.training_fingerprint == trained.result.fingerprint
    files = Registry(trained.world.store).read_bundle(name, version, signed=False).files
    for engine in ("openvino", "onnxruntime"):
        model = Model.load(manifest, files, engine=engine)
        assert model.check_golden(files) == []
        model.close()
    golden = {hashlib.sha256(files[frame.file]).hexdigest() for frame in manifest.golden_frames}
    assert golden <= {item.sha256 for item in trained.dataset.items("val")}


def test_shipped_weights_hold_no_optimizer_and_no_local_path(trained: Trained):
    files = Registry(trained.world.store).read_bundle(
        trained.result.name, trained.result.version, signed=False, only=[WEIGHTS, ONNX]
    )
    assert len(files.files[WEIGHTS]) < 8_000_000  # 5.4 MB at 16 bits; an optimizer would add 10
    assert str(trained.work).encode() not in files.files[ONNX]


def test_the_same_inputs_are_answered_from_the_store(trained: Trained, monkeypatch, tmp_path):
    def never(*_args, **_kwargs):
        raise AssertionError("a child was started")

    monkeypatch.setattr(candidates, "run_child", never)
    elsewhere = trained.spec.model_copy(update={"threads": 1})
    again = train_candidate(Registry(trained.world.store), trained.dataset, elsewhere, tmp_path)
    assert again.reused
    assert again.model_copy(update={"reused": False}) == trained.result
    with pytest.raises(AssertionError, match="a child was started"):
        other = trained.spec.model_copy(update={"seed": 1})
        train_candidate(Registry(trained.world.store), trained.dataset, other, tmp_path)


def test_a_run_killed_before_registration_is_finished_elsewhere(trained: Trained, tmp_path):
    store, key = trained.world.store, trained.result.fingerprint
    manifest_key = model_key(trained.result.name, trained.result.version, "manifest.json")
    manifest = store.get(manifest_key)
    store.delete(manifest_key)
    store.delete(training_key(key, RESULT))
    # The files of the bundle lie in the store already: the new export must give the very same bytes, or be refused.
    again = train_candidate(Registry(store), trained.dataset, trained.spec, tmp_path, nice=0)
    assert not again.reused
    assert again.version == trained.result.version
    assert store.get(manifest_key) == manifest


def test_evaluation_of_a_model_against_itself_gains_nothing(trained: Trained, tmp_path):
    version = trained.result.model_version
    evaluated = evaluate_candidate(
        Registry(trained.world.store), trained.dataset, version, version, tmp_path, anchor=version, nice=0
    )
    comparison = evaluated.comparison
    assert comparison.map50_gain is not None
    assert (comparison.map50_gain.value, comparison.map50_gain.low, comparison.map50_gain.high) == (0, 0, 0)
    assert comparison.anchor_gain == comparison.map50_gain
    assert comparison.changes is not None and comparison.changes == comparison.anchor_changes
    assert {(c.recall.value, c.recall.se) for c in comparison.changes.classes.values()} == {(0, 0)}
    assert (comparison.candidate.metric, comparison.candidate.units > 0) == ("coco", True)
    test = trained.dataset.items("test")
    assert comparison.candidate.frames == len(test)
    change = comparison.change
    assert change is not None and change.against == version
    assert change.frames == len(test), "it knew every frame: all are counted"
    assert (change.old_right, change.old_wrong) == (change.new_right, change.new_wrong)
    truth = {
        name: sum(b.class_name == name for i in test for b in i.boxes) for name in trained.dataset.manifest.class_names
    }
    assert {n: c.truth for n, c in comparison.candidate.classes.items()} == {n: t for n, t in truth.items() if t}
    assert 0 < comparison.candidate.latency_ms_p50 <= comparison.candidate.latency_ms_p95
    assert set(evaluated.plots) == {
        "pr_candidate",
        "pr_champion",
        "confusion_candidate",
        "confusion_champion",
        "pr_anchor",
        "confusion_anchor",
        "thresholds_candidate",
        "changes_champion",
        "changes_anchor",
    }
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in evaluated.plots.values())
    key = training_key(
        trained.result.fingerprint, f"evaluation/{comparison.candidate.test_sha256[:16]}/comparison.json"
    )
    assert PairedEvaluation.from_json(trained.world.store.get(key)) == comparison


def test_changes_are_counted_on_frames_new_to_the_champion(trained: Trained, tmp_path):
    version, store = trained.result.model_version, trained.world.store
    items = trained.dataset.manifest.items
    late = [item for item in items if item.split == "test"][-5:]
    earlier = trained.dataset.manifest.model_copy(update={"items": tuple(i for i in items if i not in late)})
    body = earlier.to_json()
    sha256 = hashlib.sha256(body).hexdigest()
    store.put(dataset_key(sha256, "manifest.json"), body)
    registry = Registry(store)
    manifest = registry.read_manifest(*parse_model_version(version), signed=False).manifest
    files = registry.read_bundle(*parse_model_version(version), signed=False, only=list(manifest.files)).files
    champion = manifest.model_copy(update={"version": "earlier", "dataset_sha256": sha256})
    registry.write_bundle(champion, files)
    change = evaluate_candidate(
        Registry(store), trained.dataset, version, "line/earlier", tmp_path, nice=0
    ).comparison.change
    assert change is not None and (change.against, change.frames) == ("line/earlier", 5)


def test_a_fine_tune_starts_from_its_parent_and_outlives_a_failed_export(trained: Trained, tmp_path, monkeypatch):
    started: list[str] = []

    def fails_at_the_export(command: str, job: Any, folder: Path, **options: Any) -> None:
        started.append(command)
        run_child(command, job.model_copy(update={"export": None}) if command == "train" else job, folder, **options)
        if command == "train":
            assert job.export is not None, "one process loads torch once, for both"
            raise UserError("train: the exported input has another shape")

    monkeypatch.setattr(candidates, "run_child", fails_at_the_export)
    spec = fine_tune("line", trained.result.model_version, epochs=1, imgsz=64, batch=8)
    result = train_candidate(Registry(trained.world.store), trained.dataset, spec, tmp_path, nice=0)
    assert started == ["train", "export"]
    manifest = Registry(trained.world.store).verify_bundle("line", result.version, signed=False).manifest
    assert manifest.parent_version == trained.result.model_version == result.parent
    assert result.fingerprint != trained.result.fingerprint


class _Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (os.system, (f"touch {self.marker}",))


def test_weights_that_carry_code_are_refused_and_the_code_does_not_run(trained: Trained, tmp_path):
    import torch

    marker, weights = tmp_path / "ran", tmp_path / "parent.pt"
    torch.save({"model": _Payload(marker), "epoch": -1}, weights)
    data = materialise(trained.world.store, trained.dataset, tmp_path / "data")
    job = TrainJob(spec=SPEC, data=str(data), work=str(tmp_path / "work"), weights=str(weights))
    with pytest.raises(UserError, match="is not a safe YOLO checkpoint"):
        run_child("train", job, tmp_path / "work", nice=0, timeout_seconds=60)
    assert not marker.exists()
    with pytest.raises(pickle.UnpicklingError):  # the payload is a real one: torch refuses it too
        torch.load(weights, weights_only=True)


def test_a_dataset_without_validation_images_ends_in_one_line(trained: Trained, tmp_path):
    items = tuple(item for item in trained.dataset.manifest.items if item.split != "val")
    counts = {key: value for key, value in trained.dataset.manifest.counts.items() if not key.startswith("val")}
    manifest = trained.dataset.manifest.model_copy(update={"items": items, "counts": counts})
    dataset = Dataset(hashlib.sha256(manifest.to_json()).hexdigest(), manifest)
    with pytest.raises(UserError, match=r"train: .* has no image in the val split; label frames from more moments"):
        train_candidate(Registry(trained.world.store), dataset, trained.spec, tmp_path, nice=0)


def test_a_missing_parent_and_a_bad_spec_are_named(trained: Trained, tmp_path):
    spec = trained.spec.model_copy(update={"parent": "line/20200101-nothere"})
    with pytest.raises(UserError, match="no model line/20200101-nothere"):
        train_candidate(Registry(trained.world.store), trained.dataset, spec, tmp_path)
    with pytest.raises(BadInputError, match="100 is not a multiple of 32"):
        type(SPEC).from_json(b'{"name": "line", "imgsz": 100}', "spec.json")


def test_interrupting_the_caller_ends_the_child(trained: Trained, tmp_path):
    spec = trained.spec.model_copy(update={"seed": 99, "epochs": 500})

    def interrupt(_event: TrainingEvent) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_candidate(Registry(trained.world.store), trained.dataset, spec, tmp_path, on_progress=interrupt, nice=0)
    assert not [c for c in psutil.Process().children() if "yolo_assets.training" in " ".join(c.cmdline())]


def test_the_caller_loads_neither_torch_nor_ultralytics():
    code = (
        "import sys, yolo_assets.training.candidates, yolo_assets.learning.dataset\n"
        "print(sorted({'torch', 'ultralytics', 'dagster', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("arguments", [[], ["fly", "x.json"], ["train"]])
def test_the_child_called_wrongly_exits_2(arguments):
    command = [sys.executable, "-m", "yolo_assets.training", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "usage:" in done.stderr


def test_the_child_names_a_broken_job(tmp_path):
    (tmp_path / "job.json").write_text("{}")
    command = [sys.executable, "-m", "yolo_assets.training", "train", str(tmp_path / "job.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "job.json is not a valid TrainJob" in done.stderr


def test_compare_shows_two_versions_on_test_frames(trained: Trained, tmp_path, monkeypatch, capsys):
    version = trained.result.model_version
    before = [info.key for info in trained.world.store.list("")]
    monkeypatch.setenv("YOLO_ASSETS_HOME", str(tmp_path))
    monkeypatch.setattr(
        sys, "argv", ["yolo-assets", "models", "compare", version, version, "--store", trained.world.store.url]
    )
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "mAP50" in shown and "+0.000 [+0.000, +0.000]" in shown and "recall of" in shown
    assert [info.key for info in trained.world.store.list("")] == before  # it decides and keeps nothing
