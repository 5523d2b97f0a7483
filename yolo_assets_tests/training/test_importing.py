"""Models that were trained elsewhere, from the file to a released version: exports and checkpoints of Ultralytics."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from yolo_assets.cli.class_names import given_classes
from yolo_assets.contracts.errors import BadInputError, IntegrityError
from yolo_assets.contracts.model import ONNX, WEIGHTS
from yolo_assets.models.registry import Registry
from yolo_assets.storage.open import open_store
from yolo_assets.training import importing
from yolo_assets.training.importing import ImportRequest, import_model
from yolo_assets_tests.cli.command_line import cli, refused
from yolo_assets_tests.support.tiny_model import CLASS_NAMES, blob_frame, tiny_bundle_files
from yolo_assets_tests.training.exporting import Exports


@pytest.fixture
def home(tmp_path: Path) -> Path:
    assert cli("models", "keygen", home=tmp_path).returncode == 0
    return tmp_path


@pytest.fixture
def tiny_file(tmp_path: Path) -> Path:
    """The hand-made detector as a file, and a folder of pictures beside it."""
    import cv2

    (tmp_path / "pictures").mkdir()
    for seed in range(4):
        cv2.imwrite(str(tmp_path / "pictures" / f"{seed}.png"), blob_frame(seed)[0])
    (tmp_path / "tiny.onnx").write_bytes(tiny_bundle_files()[1][ONNX])
    return tmp_path / "tiny.onnx"


def request(file: Path, version: str = "1", **changes: object) -> ImportRequest:
    asked = {"file": file, "name": "line", "version": version, "pictures": file.parent / "pictures", "by": "A. Berg"}
    return ImportRequest(**{**asked, "compare": False, **changes})  # pyright: ignore[reportArgumentType]


def test_a_checkpoint_is_imported_and_released(brought: Exports, home: Path) -> None:
    file = brought.file("yolo11n", "checkpoint")
    place = ("--name", "line", "--version", "pt", "--golden", brought.pictures)
    done = cli("models", "import", file, *place, "--note", "as it came", "--json", home=home, timeout=120)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["model"] == "line/pt"
    assert said["compared"]["boxes"] == said["boxes"] > 400
    assert said["compared"]["differences"] == []
    manifest = said["manifest"]
    assert (manifest["imported"]["file"], manifest["imported"]["note"]) == (file.name, "as it came")
    assert manifest["output_layout"] == "raw"
    assert WEIGHTS in manifest["files"]
    done = cli("models", "promote", "line/pt", "--unjudged", "--reason", "the plant's own", home=home)
    assert "line/stable serves pt, release 1, unjudged" in done.stdout, done.stderr
    assert "yolo11n-checkpoint.pt, SHA-256" in cli("models", "show", "line/pt", home=home).stdout


def test_labels_give_a_verdict_and_the_gate_refuses_by_it(tiny_file: Path, home: Path) -> None:
    pictures = tiny_file.parent / "pictures"
    labels = home / "labels.json"
    images, annotations = [], []
    for seed in range(4):
        frame, truth = blob_frame(seed)
        images.append({"id": seed, "file_name": f"{seed}.png", "width": frame.shape[1], "height": frame.shape[0]})
        for name, (x1, y1, x2, y2) in truth:
            box = [x1, y1, x2 - x1, y2 - y1]
            annotation = {"id": len(annotations), "image_id": seed, "bbox": box, "category_id": CLASS_NAMES.index(name)}
            annotations.append(annotation)
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASS_NAMES)]
    labels.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    place = ("--name", "line", "--version", "1", "--golden", pictures)
    done = cli("models", "import", tiny_file, *place, "--labels", labels, "--json", home=home, timeout=120)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)["gate"]
    assert report["candidate"] == "line/1"
    frames = next(rule for rule in report["rules"] if rule["rule"] == "test_frames")
    assert (frames["passed"], frames["value"]) == (False, 4)
    assert all(rule["passed"] for rule in report["rules"] if rule["rule"].startswith("recall/"))
    shown = json.loads(cli("models", "show", "line/1", "--json", home=home).stdout)
    assert shown["gate_state"] == "cannot tell"
    refused(cli("models", "promote", "line/1", "--unjudged", "--reason", "x", home=home), "--force")
    assert cli("models", "promote", "line/1", "--force", "--reason", "x", home=home).returncode == 0


def test_the_same_file_again_changes_nothing_and_another_is_refused(tiny_file: Path, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    registry = Registry(open_store((tmp_path / "store").as_uri()))
    first = import_model(registry, request(tiny_file))
    assert first.boxes > 0
    assert import_model(registry, request(tiny_file)).imported_before
    other = tiny_file.with_name("other.onnx")
    other.write_bytes(tiny_bundle_files(version="2")[1][ONNX])
    with pytest.raises(IntegrityError, match="--version"):
        import_model(registry, request(other))


def test_a_model_that_finds_nothing_is_told(tiny_file: Path, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    registry = Registry(open_store((tmp_path / "store").as_uri()))
    blind = tiny_file.with_name("blind.onnx")
    blind.write_bytes(tiny_bundle_files(variant="blind")[1][ONNX])
    imported = import_model(registry, request(blind))
    assert imported.boxes == 0
    (warning,) = imported.warnings
    assert "found nothing above 0.25 in 4 pictures" in warning


def test_other_boxes_than_ultralytics_own_are_refused(
    tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ultralytics' answer is replaced by none: whatever the edge then finds is too much."""
    (tmp_path / "store").mkdir()
    registry = Registry(open_store((tmp_path / "store").as_uri()))

    def nothing(_command: str, job: importing.ReferenceJob, _folder: Path, **_: object) -> None:
        empty = importing.ReferenceResult(version="8.4", boxes=tuple(() for _ in job.pictures))
        Path(job.out).write_bytes(empty.to_json())

    monkeypatch.setattr(importing, "run_child", nothing)
    with pytest.raises(BadInputError, match=r"openvino finds other boxes in it than Ultralytics 8\.4"):
        import_model(registry, request(tiny_file, compare=True))
    assert registry.list_bundles() == []


def test_what_is_no_model_is_refused_in_one_line(tiny_file: Path, home: Path) -> None:
    pictures = tiny_file.parent / "pictures"
    engine, code, empty = (home / name for name in ("best.engine", "evil.pt", "empty"))
    engine.write_bytes(b"x")
    code.write_bytes(b"cos\nsystem\n(S'touch /tmp/owned'\ntR.")
    empty.mkdir()
    place = ("--name", "line", "--version", "1")
    refused(cli("models", "import", engine, *place, "--golden", pictures, home=home), "neither .onnx nor .pt")
    refused(cli("models", "import", home / "no.onnx", *place, "--golden", pictures, home=home), "cannot read")
    refused(cli("models", "import", tiny_file, *place, "--golden", empty, home=home), "holds no picture")
    done = cli("models", "import", code, *place, "--golden", pictures, home=home, timeout=120)
    assert done.returncode == 1
    assert "is not a safe YOLO checkpoint" in done.stderr.splitlines()[-1]


def test_display_names_come_with_the_classes(tiny_file: Path, tmp_path: Path) -> None:
    registry = Registry(open_store((tmp_path / "store").as_uri()))
    classes = tmp_path / "classes.yaml"

    def brought_with(shown: object, version: str = "1") -> importing.ImportedModel:
        classes.write_text(json.dumps({"display_names": shown}))
        given = given_classes(classes)
        names = {"class_names": given.names, "display_names": given.display_names}
        return import_model(registry, request(tiny_file, version, **names))

    shown = {CLASS_NAMES[0]: {"en": "Crack", "zh": "裂纹"}, CLASS_NAMES[1]: "Pore"}
    manifest = brought_with(shown).manifest
    assert (manifest.display_names, manifest.class_names) == (shown, CLASS_NAMES)
    assert registry.read_manifest("line", "1", signed=False).manifest.display_names == shown
    assert "stay as they are" in brought_with({"crack": "Spalt"}).warnings[0]
    for wrong, words in (
        ({"krack": "Riss"}, "the model has no class krack; it has crack"),
        ({"crack": {"german": "Riss"}}, "'german' is no language"),
        ({"crack": {"de": []}}, "is no name"),
        (["Riss"], "is no mapping"),
    ):
        with pytest.raises(BadInputError, match=words):
            brought_with(wrong, "2")
