"""Evaluates exported files on the held-out split, candidate and champion on the same frames in the same process.

Runs the ONNX that ships with the edge's own pre- and post-processing; torch is not loaded. Truth and predictions are
matched by class name, so a champion that does not know a class simply misses it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from yolo_assets.contracts.base import canonical_json
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.evaluation import ClassResult, Evaluation, PairedEvaluation
from yolo_assets.contracts.model import ONNX, ExpectedChange, Interval
from yolo_assets.contracts.times import utc_now
from yolo_assets.learning.records import DatasetItem
from yolo_assets.learning.training_folder import image_path, read_folder
from yolo_assets.models.bundle import VerifiedBundle, load_bundle_folder
from yolo_assets.runtime.files import write_atomic
from yolo_assets.training.accuracy import (
    Matches,
    average_precision,
    bootstrap_weights,
    confusion_counts,
    interval,
    match_frames,
    mean_ap,
    operating_point,
)
from yolo_assets.training.jobs import COMPARISON, EvaluateJob
from yolo_assets.training.spec import EvaluateSpec
from yolo_assets.vision.detections import Detections
from yolo_assets.vision.model import Model
from yolo_assets.vision.pictures import decode_image

CONFIDENCE = 0.001
"""For AP: the curve needs the unsure predictions too. The operating point is evaluated separately."""
_TURNS = 3


@dataclass(frozen=True)
class EvaluatedModel:
    """One model's figures, with what the plots and the comparison need.

    Attributes:
        evaluation: the record.
        matches: predictions against truth.
        predictions: by frame, classes numbered as in the test set.
        map50_samples: mAP50 of each bootstrap resample, ``[r]``.
        confidence: its operating point.
    """

    evaluation: Evaluation
    matches: Matches
    predictions: list[Detections]
    map50_samples: NDArray[np.float64]
    confidence: float


def evaluate(job: EvaluateJob) -> PairedEvaluation:
    """Evaluate bundles and write ``comparison.json`` and the plots.

    Raises:
        BadInputError: the dataset has no test split, or a folder is no bundle.
        IntegrityError: a file of a bundle was changed.
    """
    folder = Path(job.data)
    dataset = read_folder(folder)
    items = [item for item in dataset.items if item.split == "test"]
    if not items or not any(item.boxes for item in items):
        raise BadInputError(f"{folder} has no labelled object in its test split; label frames from more moments")
    bundles = [load_bundle_folder(Path(path)) for path in (job.candidate, job.champion) if path]
    names = list(dict.fromkeys([*dataset.class_names, *(n for b in bundles for n in b.manifest.class_names)]))
    truth = [_truth(item, names) for item in items]
    predicted, latencies = _predict(bundles, [image_path(folder, item) for item in items], names, job.spec)
    weights = bootstrap_weights([item.group for item in items], job.spec.resamples, job.spec.seed)
    identity = hashlib.sha256(canonical_json(_identity(items))).hexdigest()
    evaluated = [
        _evaluate_model(bundle, predictions, truth, items, names, weights, latency, job.spec, identity)
        for bundle, predictions, latency in zip(bundles, predicted, latencies, strict=True)
    ]
    fresh = np.array([item.sha256 in job.fresh for item in items])
    comparison = compare(evaluated, job.spec.level, fresh if fresh.any() else np.ones(len(items), bool))
    out = Path(job.out)
    out.mkdir(parents=True, exist_ok=True)
    for model in evaluated:
        role = "candidate" if model is evaluated[0] else "champion"
        _plot_pr_curves(out / f"pr_{role}.png", model.matches, names, model.evaluation.model_version)
        _plot_confusion(out / f"confusion_{role}.png", model.predictions, truth, names, model.confidence)
    if len(evaluated) == 2:
        _plot_gain(
            out / "map50_gain.png", evaluated[0].map50_samples - evaluated[1].map50_samples, comparison.map50_gain
        )
    write_atomic(out / COMPARISON, comparison.to_json())
    return comparison


def compare(evaluated: Sequence[EvaluatedModel], level: float, counted: NDArray[np.bool_]) -> PairedEvaluation:
    """The record of one model, or of candidate and champion with the paired difference.

    Args:
        evaluated: the candidate, and the champion if there is one.
        level: of the interval.
        counted: ``[frames]``, on which to count what each reports rightly and wrongly.
    """
    candidate = evaluated[0]
    if len(evaluated) == 1:
        return PairedEvaluation(candidate=candidate.evaluation)
    champion = evaluated[1]
    # Paired: both were weighted by the same draws of frames, so what is easy for both cancels out.
    low, high = interval(candidate.map50_samples - champion.map50_samples, level)
    value = candidate.evaluation.map50.value - champion.evaluation.map50.value
    return PairedEvaluation(
        candidate=candidate.evaluation,
        champion=champion.evaluation,
        map50_gain=Interval(value=value, low=low, high=high, level=level),
        change=_change(champion, candidate, counted),
    )


def _change(champion: EvaluatedModel, candidate: EvaluatedModel, counted: NDArray[np.bool_]) -> ExpectedChange:
    def boxes(model: EvaluatedModel) -> tuple[int, int]:
        hits, reports, _ = operating_point(model.matches, model.confidence, counted)
        return int(hits.sum()), int((reports - hits).sum())

    old_right, old_wrong = boxes(champion)
    new_right, new_wrong = boxes(candidate)
    return ExpectedChange(
        against=champion.evaluation.model_version,
        frames=int(counted.sum()),
        old_right=old_right,
        old_wrong=old_wrong,
        new_right=new_right,
        new_wrong=new_wrong,
    )


def _predict(
    bundles: Sequence[VerifiedBundle], images: Sequence[Path], names: Sequence[str], spec: EvaluateSpec
) -> tuple[list[list[Detections]], list[list[float]]]:
    """Predictions and milliseconds by bundle and frame.

    Models take turns on each frame, and of a few turns the shortest counts: other work of the machine does not count
    against a model, and a model that is slower on a frame is slower every time.
    """
    engine = "openvino" if spec.engine == "openvino" else "onnxruntime"
    models = [Model.load(b.manifest, {ONNX: b.files[ONNX]}, engine=engine, threads=spec.threads) for b in bundles]
    predictions: list[list[Detections]] = [[] for _ in models]
    latencies: list[list[float]] = [[] for _ in models]
    try:
        for model in models:
            model.warm_up()
        for path in images:
            bgr = decode_image(path.read_bytes(), path.name)
            taken: list[list[float]] = [[] for _ in models]
            for _ in range(_TURNS):
                for number, model in enumerate(models):
                    # Timed at the operating point, as on the edge: at 0.001 most of the time would go into NMS.
                    started = time.perf_counter()
                    model.predict(bgr)
                    taken[number].append((time.perf_counter() - started) * 1e3)
            for number, model in enumerate(models):
                latencies[number].append(min(taken[number]))
                boxes = model.predict(bgr, confidence=CONFIDENCE)
                ids = np.array([names.index(name) for name in model.manifest.class_names], np.int64)
                predictions[number].append(Detections.of(boxes.xyxy, ids[boxes.class_id], boxes.confidence))
    finally:
        for model in models:
            model.close()
    return predictions, latencies


def _evaluate_model(
    bundle: VerifiedBundle,
    predictions: list[Detections],
    truth: Sequence[Detections],
    items: Sequence[DatasetItem],
    names: Sequence[str],
    weights: NDArray[np.float64],
    latency: Sequence[float],
    spec: EvaluateSpec,
    identity: str,
) -> EvaluatedModel:
    manifest = bundle.manifest
    matches = match_frames(predictions, truth, len(names))
    ap = average_precision(matches)
    samples = average_precision(matches, weights)
    map50, map50_95 = mean_ap(samples[:, :, :1]), mean_ap(samples)
    evaluation = Evaluation(
        model_version=manifest.model_version,
        onnx_sha256=manifest.files[ONNX].sha256,
        test_sha256=identity,
        frames=len(items),
        map50=_interval(float(mean_ap(ap[:, :, :1])[0]), map50, spec.level),
        map50_95=_interval(float(mean_ap(ap)[0]), map50_95, spec.level),
        classes=_classes(matches, ap, names, manifest.thresholds.confidence),
        hard_recall=_hard_recall(matches, items, manifest.thresholds.confidence),
        latency_ms_p50=float(np.quantile(latency, 0.5)),
        latency_ms_p95=float(np.quantile(latency, 0.95)),
        engine=spec.engine,
        threads=spec.threads,
        evaluated_at=utc_now(),
    )
    return EvaluatedModel(evaluation, matches, predictions, map50, manifest.thresholds.confidence)


def _classes(
    matches: Matches, ap: NDArray[np.float64], names: Sequence[str], confidence: float
) -> dict[str, ClassResult]:
    hits, reports, truth = operating_point(matches, confidence)
    return {
        name: ClassResult(
            truth=int(truth[c]),
            ap50=float(ap[0, c, 0]),
            recall=float(hits[c] / truth[c]),
            precision=float(hits[c] / reports[c]) if reports[c] else 1.0,
        )
        for c, name in enumerate(names)
        if truth[c]
    }


def _hard_recall(matches: Matches, items: Sequence[DatasetItem], confidence: float) -> float | None:
    hits, _, truth = operating_point(matches, confidence, np.array([bool(item.hard) for item in items]))
    return float(hits.sum() / truth.sum()) if truth.sum() else None


def _interval(value: float, samples: NDArray[np.float64], level: float) -> Interval:
    low, high = interval(samples, level)
    return Interval(value=value, low=low, high=high, level=level)


def _truth(item: DatasetItem, names: Sequence[str]) -> Detections:
    return Detections.of([box.bbox for box in item.boxes], [names.index(box.class_name) for box in item.boxes])


def _identity(items: Sequence[DatasetItem]) -> list[object]:
    """What makes a test set: frames and truth. Two evaluations compare only when this is the same."""
    return [[item.sha256, [[box.class_name, *box.bbox] for box in item.boxes]] for item in items]


# Plots: precision and recall by class, confusion, the gain over the champion ----------------------------------------

_DPI = 90


def _plot_pr_curves(path: Path, matches: Matches, names: Sequence[str], title: str) -> None:
    """One curve a class at IoU 0.5, with its AP in the legend."""
    figure, axes = _axes(title, "recall", "precision")
    ap = average_precision(matches, thresholds=1)[0, :, 0]
    for c, name in enumerate(names):
        truth = int(matches.truth[:, c].sum())
        if not truth:
            continue
        hits = np.cumsum(matches.correct[matches.class_id == c, 0])
        precision = hits / np.arange(1, len(hits) + 1)
        axes.plot(hits / truth, precision, label=f"{name}: AP50 {ap[c]:.2f} of {truth}", drawstyle="steps-post")
    axes.set(xlim=(0, 1.01), ylim=(0, 1.02))
    axes.legend(loc="lower left", fontsize="small")
    figure.savefig(path, dpi=_DPI)


def _plot_confusion(
    path: Path, predictions: Sequence[Detections], truth: Sequence[Detections], names: Sequence[str], confidence: float
) -> None:
    """The confusion matrix at the operating point."""
    counts = confusion_counts(predictions, truth, len(names), confidence)
    figure, axes = _axes(f"confusion at confidence {confidence:g}", "reported", "truth")
    axes.imshow(counts, cmap="Blues")
    axes.set_xticks(range(len(names) + 1), [*names, "missed"], rotation=40, ha="right")
    axes.set_yticks(range(len(names) + 1), [*names, "nothing"])
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if count > counts.max() / 2 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour)
    figure.savefig(path, dpi=_DPI)


def _plot_gain(path: Path, samples: NDArray[np.float64], gain: Interval | None) -> None:
    """How the gain in mAP50 varies over resamples of the test frames."""
    figure, axes = _axes("candidate - champion on the same resampled frames", "gain in mAP50", "resamples")
    axes.hist(samples, bins=30, color="steelblue")
    axes.axvline(0, color="black", linewidth=1)
    if gain is not None:
        for x, style in ((gain.low, "--"), (gain.value, "-"), (gain.high, "--")):
            axes.axvline(x, color="darkorange", linestyle=style)
    figure.savefig(path, dpi=_DPI)


def _axes(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=x, ylabel=y)
    return figure, axes
