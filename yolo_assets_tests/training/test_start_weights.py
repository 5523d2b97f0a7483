"""What a training starts from: the weights of the model that serves, a checkpoint of the plant, or random ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from yolo_assets.archive.archive import Archive
from yolo_assets.contracts.errors import BadInputError, IntegrityError
from yolo_assets.contracts.model import ONNX, ModelImport
from yolo_assets.contracts.names import start_weights_key
from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import utc_now
from yolo_assets.defs.release import assets
from yolo_assets.defs.resources import Locations
from yolo_assets.learning.dataset import build_dataset
from yolo_assets.models.registry import Registry
from yolo_assets.storage.open import open_store
from yolo_assets.training import candidates
from yolo_assets.training.architectures import agents_refuse
from yolo_assets.training.candidates import keep_start_weights, train_candidate
from yolo_assets.training.jobs import TrainJob
from yolo_assets.training.spec import Recipe, TrainSpec, fingerprint
from yolo_assets_tests.learning.line_world import World
from yolo_assets_tests.support.quick_training import quick_child
from yolo_assets_tests.support.tiny_model import tiny_bundle_files


def test_a_checkpoint_of_the_plant_reaches_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World.make(tmp_path)
    world.label(world.archive_frames(12))
    dataset = build_dataset(world.store, Archive(world.archive, world.trusted))
    started_from: list[bytes] = []

    def child(command: str, job: Any, folder: Path, **options: Any) -> None:
        if isinstance(job, TrainJob):
            started_from.append(Path(job.weights).read_bytes() if job.weights else b"")
        quick_child(command, job, folder, **options)

    monkeypatch.setattr(candidates, "run_child", child)
    (tmp_path / "best.pt").write_bytes(b"the plant's own")
    recipe = Recipe(starter={"weights": str(tmp_path / "best.pt"), "epochs": 2})
    named = recipe.weights(None)
    assert named is not None
    kept = keep_start_weights(world.store, named)
    assert kept == keep_start_weights(world.store, named)
    spec = recipe.spec("line", None, weights=kept)
    result = train_candidate(Registry(world.store), dataset, spec, tmp_path / "work")
    other = train_candidate(Registry(world.store), dataset, recipe.spec("line", None), tmp_path / "work")
    assert started_from == [b"the plant's own", b""]
    assert result.fingerprint != other.fingerprint
    again = train_candidate(Registry(world.store), dataset, spec, tmp_path / "elsewhere")
    assert again.reused and len(started_from) == 2
    world.store.put(start_weights_key(kept), b"changed")
    with pytest.raises(IntegrityError, match="was changed"):
        train_candidate(Registry(world.store), dataset, spec.model_copy(update={"epochs": 3}), tmp_path / "third")


def test_weights_stand_where_no_version_has_any() -> None:
    recipe = Recipe(starter={"weights": "/data/best.pt"})
    assert recipe.weights(None) == Path("/data/best.pt")
    assert recipe.weights("line/1") is None
    assert recipe.spec("line", "line/1").weights is None
    assert Recipe().weights(None) is None


def test_weights_of_a_fine_tune_come_before_the_parent() -> None:
    recipe = Recipe(fine_tune={"weights": "/data/large.pt", "architecture": "yolo11s"})
    assert recipe.weights("line/1") == Path("/data/large.pt")
    spec = recipe.spec("line", "line/1", weights="b" * 64)
    assert (spec.parent, spec.weights, spec.architecture, spec.epochs) == (None, "b" * 64, "yolo11s.yaml", 7)


def test_a_checkpoint_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    with pytest.raises(BadInputError, match="cannot read the weights"):
        keep_start_weights(open_store((tmp_path / "store").as_uri()), tmp_path / "no.pt")


def test_trainings_of_before_keep_their_fingerprints() -> None:
    spec = TrainSpec(name="line")
    expected = "0b6df90243891b96da8689196a70ad4d06f30b5c8ec707855c140febdeb47744"
    assert fingerprint(spec, "a" * 64, versions={"torch": "1"}) == expected
    child = spec.model_copy(update={"parent": "line/1"})
    larger = child.model_copy(update={"architecture": "yolo11s.yaml"})
    assert len({fingerprint(one, "a" * 64, "b" * 64, versions={"torch": "1"}) for one in (spec, child, larger)}) == 3
    from_file = spec.model_copy(update={"weights": "b" * 64})
    assert fingerprint(from_file, "a" * 64, "b" * 64, versions={"torch": "1"}) != expected


@pytest.mark.parametrize("weights", [True, False])
def test_an_imported_champion_is_parent_where_it_has_weights(weights: bool, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    settings = Settings(home=tmp_path)
    locations = Locations(values=settings.model_dump(mode="json", exclude_none=True))
    Signer.load_or_create(settings.promotion_key)
    registry = Registry(locations.registry().store, TrustedKeys.of())
    manifest, files = tiny_bundle_files("line", "1", height=96, width=96)
    origin = ModelImport(source_sha256="a" * 64, file="best.pt", by="A. Berg", at=utc_now())
    entries = dict(manifest.files)
    if weights:
        files = {**files, "weights.pt": files[ONNX]}
        entries["weights.pt"] = entries[ONNX]
    registry.write_bundle(manifest.model_copy(update={"files": entries, "imported": origin}), files)
    parent = assets._parent(locations, "line/1", "d" * 64)
    assert parent == (("line/1" if weights else None), (96, 96))


def test_what_agents_would_refuse_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    settings = Settings(home=tmp_path)
    locations = Locations(values=settings.model_dump(mode="json", exclude_none=True))
    Signer.load_or_create(settings.promotion_key)
    manifest, files = tiny_bundle_files("line", "1", height=96, width=96)
    files = {**files, "weights.pt": files[ONNX]}
    entries = {**manifest.files, "weights.pt": manifest.files[ONNX]}
    Registry(locations.registry().store, TrustedKeys.of()).write_bundle(
        manifest.model_copy(update={"files": entries, "stride": 32}), files
    )

    def told(**fine_tune: Any) -> str:
        with pytest.raises(BadInputError, match="nothing is trained") as refused:
            assets.next_training(locations, "line/1", "d" * 64, Recipe(fine_tune=fine_tune))
        return str(refused.value)

    assert "input shape: now [1, 3, 96, 96], candidate [1, 3, 96, 128]" in told(imgsz=[96, 128])
    end2end = manifest.model_copy(update={"output_layout": "end2end", "stride": 32})
    assert agents_refuse(end2end, None, (96, 96)) == ["output layout: now end2end, candidate raw"]
    for architecture in ("yolo11s", "yolo26n", "yolov8m", "yolo12n"):
        spec, _ = assets.next_training(locations, "line/1", "d" * 64, Recipe(fine_tune={"architecture": architecture}))
        assert (spec.architecture, spec.parent, spec.sides) == (f"{architecture}.yaml", "line/1", (96, 96))
    meant = Recipe(fine_tune={"imgsz": 128}, agents_start_anew=True)
    assert assets.next_training(locations, "line/1", "d" * 64, meant)[0].imgsz == 128
