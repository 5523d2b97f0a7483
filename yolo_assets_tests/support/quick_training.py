"""Training's child processes, replaced by a moment's work: the store's part of training, export and gate stays real.

The bundle is the hand-made model of ``tiny_model``; its evaluation is made up. Only ``run_child`` is replaced, and the
process around it.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from yolo_assets.contracts.evaluation import ClassResult, Evaluation, PairedEvaluation
from yolo_assets.contracts.model import MANIFEST, ONNX, WEIGHTS, FileEntry, Interval, ModelManifest
from yolo_assets.defs.resources import Locations
from yolo_assets.learning.dataset import Dataset
from yolo_assets.training.candidates import train_candidate
from yolo_assets.training.jobs import (
    COMPARISON,
    PROGRESS,
    RESULT,
    EvaluateJob,
    ExportJob,
    TrainingEvent,
    TrainingResult,
    TrainJob,
    TrainResult,
)
from yolo_assets.training.spec import TrainSpec
from yolo_assets_tests.support.tiny_model import CLASS_NAMES, tiny_bundle_files

EVALUATED_AT = datetime(2026, 3, 1, tzinfo=UTC)


def train_quickly(patch: pytest.MonkeyPatch) -> None:
    """From now on a training takes no time, and stays in this process, where a test counts and breaks its requests."""
    patch.setattr("yolo_assets.training.candidates.run_child", quick_child)
    patch.setattr("yolo_assets.defs.release.assets.train", _train)


def _train(_: object, locations: Locations, dataset: Dataset, spec: TrainSpec) -> TrainingResult:
    return train_candidate(locations.registry(), dataset, spec, locations.settings.home / "training")


def quick_child(command: str, job: Any, folder: Path, *, on_event: Any = None, **_: object) -> None:
    match job:
        case TrainJob():
            weights = f"weights of {job.spec.name}".encode()
            (folder / WEIGHTS).write_bytes(weights)
            event = TrainingEvent(at=EVALUATED_AT, event="epoch", epoch=1, epochs=1, seconds=0.1)
            (folder / PROGRESS).write_bytes(event.to_json() + b"\n")
            result = TrainResult(
                weights_sha256=hashlib.sha256(weights).hexdigest(),
                epochs=1,
                seconds=0.1,
                cpu_seconds=0.1,
                peak_rss_bytes=1,
                device="cpu",
            )
            (folder / RESULT).write_bytes(result.to_json())
            if on_event is not None:
                on_event(event)
        case ExportJob():
            _export(job)
        case EvaluateJob():
            _evaluate(job)
        case _:
            raise AssertionError(command)


def _export(job: ExportJob) -> None:
    manifest, files = tiny_bundle_files(job.spec.name, job.version, class_names=CLASS_NAMES)
    files = {**files, WEIGHTS: Path(job.weights).read_bytes()}
    manifest = manifest.model_copy(
        update={
            "files": {name: FileEntry(sha256=hashlib.sha256(d).hexdigest(), size=len(d)) for name, d in files.items()},
            "dataset_sha256": job.dataset_sha256,
            "training_fingerprint": job.fingerprint,
            "created_at": job.created_at,
        }
    )
    for name, data in {**files, MANIFEST: manifest.to_json()}.items():
        path = Path(job.out) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _evaluate(job: EvaluateJob) -> None:
    champion = _evaluation(Path(job.champion), 0.7) if job.champion is not None else None
    better = Interval(value=0.2, low=0.1, high=0.3) if champion is not None else None
    comparison = PairedEvaluation(candidate=_evaluation(Path(job.candidate), 0.9), champion=champion, map50_gain=better)
    out = Path(job.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / COMPARISON).write_bytes(comparison.to_json())


def _evaluation(bundle: Path, value: float) -> Evaluation:
    manifest = ModelManifest.from_json((bundle / MANIFEST).read_bytes(), str(bundle))
    interval = Interval(value=value, low=value - 0.02, high=value + 0.02)
    return Evaluation(
        model_version=f"{manifest.name}/{manifest.version}",
        onnx_sha256=manifest.files[ONNX].sha256,
        test_sha256="e" * 64,
        frames=400,
        map50=interval,
        map50_95=interval,
        classes={name: ClassResult(truth=100, ap50=value, recall=value, precision=value) for name in CLASS_NAMES},
        hard_recall=value,
        latency_ms_p50=20.0,
        latency_ms_p95=25.0,
        engine="openvino",
        threads=1,
        evaluated_at=EVALUATED_AT,
    )
