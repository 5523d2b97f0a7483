"""Evaluates exported bundles: several on the same frames, in one process. Runs in a child process; no torch.

The files that ship are run with the edge's own pre- and post-processing. Belongs here: running models, and the records.
Does not belong here: the figures (``measuring``), the plots (``plots``), the decision (``models.gate``).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.base import canonical_json
from yolo_assets.contracts.class_list import ClassList
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.evaluation import Changes, Evaluation, PairedEvaluation
from yolo_assets.contracts.model import ONNX, ExpectedChange, Interval
from yolo_assets.contracts.times import utc_now
from yolo_assets.learning.records import DatasetItem
from yolo_assets.learning.training_folder import image_path, read_folder
from yolo_assets.models.bundle import VerifiedBundle, load_bundle_folder
from yolo_assets.runtime.files import write_atomic
from yolo_assets.training.accuracy import Boxes, Units, match_frames, operating_point, ultralytics_map50
from yolo_assets.training.jobs import COMPARISON, EvaluateJob
from yolo_assets.training.measuring import Measured, changes_against, gain_over
from yolo_assets.training.plots import plot_changes, plot_confusion, plot_pr_curves, plot_sweep
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
        measured: on the test frames.
        predictions: by test frame, classes numbered as in the test set.
    """

    evaluation: Evaluation
    measured: Measured
    predictions: list[Detections]


@dataclass(frozen=True)
class _Frames:
    """Labelled frames, and what counts as independent among them."""

    items: Sequence[DatasetItem]
    truth: Sequence[Detections]
    units: Units

    @classmethod
    def of(cls, items: Sequence[DatasetItem], names: Sequence[str], meaning: Mapping[str, str]) -> _Frames:
        truth = [_truth(item, names, meaning) for item in items]
        objects = [name for item in items for name in item.object_ids or ("",) * len(item.boxes)]
        groups = [item.group for item in items]
        return cls(items, truth, Units.of(groups, objects, Boxes.of(truth).frame, by_object=objects_known(items)))


def objects_known(items: Sequence[DatasetItem]) -> bool:
    """Whether each labelled box says which object it shows."""
    return all(len(item.object_ids) == len(item.boxes) for item in items)


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
    roles = {"candidate": job.candidate, "champion": job.champion, "anchor": job.anchor}
    bundles = {role: load_bundle_folder(Path(path)) for role, path in roles.items() if path}
    manifest, lists = bundles["candidate"].manifest, [bundle.manifest.class_list for bundle in bundles.values()]
    meaning = candidate_names(manifest.reported_names, manifest.class_list, [dataset.class_list, *lists])
    every = [*dataset.class_names, *(name for b in bundles.values() for name in b.manifest.reported_names)]
    names = list(dict.fromkeys(meaning.get(name, name) for name in every))
    test = _Frames.of(items, names, meaning)
    paths = [image_path(folder, item) for item in items]
    predicted, latencies = _predict(list(bundles.values()), paths, names, meaning, job.spec)
    identity = hashlib.sha256(canonical_json(_identity(items))).hexdigest()
    evaluated = {
        role: _evaluate_model(bundle, found, test, names, meaning, latency, job.spec, identity)
        for (role, bundle), found, latency in zip(bundles.items(), predicted, latencies, strict=True)
    }
    fresh = np.array([item.sha256 in job.fresh for item in items])
    counted = fresh if fresh.any() else np.ones(len(items), bool)
    comparison = compare(evaluated, job.spec.level, items, counted)
    out = Path(job.out)
    out.mkdir(parents=True, exist_ok=True)
    for role, model in evaluated.items():
        version = model.evaluation.model_version
        plot_pr_curves(out / f"pr_{role}.png", model.measured, version)
        plot_confusion(out / f"confusion_{role}.png", model.predictions, test.truth, model.measured, version)
    plot_sweep(out / "thresholds_candidate.png", evaluated["candidate"].measured, bundles["candidate"].manifest.version)
    for reference in comparison.references:
        plot_changes(out / f"changes_{reference.part}.png", reference, job.spec.level)
    write_atomic(out / COMPARISON, comparison.to_json())
    return comparison


def compare(
    evaluated: Mapping[str, EvaluatedModel], level: float, items: Sequence[DatasetItem], counted: NDArray[np.bool_]
) -> PairedEvaluation:
    """The record of one model, or of a candidate with what it is compared with.

    Args:
        evaluated: ``candidate``, and perhaps ``champion`` and ``anchor``, on the same frames.
        level: of the intervals.
        items: these frames.
        counted: ``[frames]``, on which to count what candidate and champion report rightly and wrongly.
    """
    candidate, champion, anchor = (evaluated.get(role) for role in ("candidate", "champion", "anchor"))
    assert candidate is not None
    hard = np.array([bool(item.hard) for item in items])

    def against(reference: EvaluatedModel) -> tuple[Interval, Changes]:
        changes = changes_against(candidate.measured, reference.measured, hard)
        fewer = candidate.measured.found_in() < reference.measured.found_in()
        lost = tuple(item.image_path for item, less in zip(items, fewer.tolist(), strict=True) if item.golden and less)
        return gain_over(candidate.measured, reference.measured, level), changes.model_copy(
            update={"golden_lost": lost}
        )

    champion_gain, champion_changes = against(champion) if champion else (None, None)
    anchor_gain, anchor_changes = against(anchor) if anchor else (None, None)
    return PairedEvaluation(
        candidate=candidate.evaluation,
        champion=champion.evaluation if champion else None,
        map50_gain=champion_gain,
        change=_change(champion, candidate, counted) if champion else None,
        changes=champion_changes,
        anchor=anchor.evaluation if anchor else None,
        anchor_gain=anchor_gain,
        anchor_changes=anchor_changes,
    )


def _change(champion: EvaluatedModel, candidate: EvaluatedModel, counted: NDArray[np.bool_]) -> ExpectedChange:
    def boxes(model: EvaluatedModel) -> tuple[int, int]:
        hits, reports, _ = operating_point(model.measured.matches, model.measured.confidence, counted)
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
    bundles: Sequence[VerifiedBundle],
    images: Sequence[Path],
    names: Sequence[str],
    meaning: Mapping[str, str],
    spec: EvaluateSpec,
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
                known = [meaning.get(name, name) for name in model.manifest.record_names]
                ids = np.array([names.index(name) if name in names else -1 for name in known], np.int64)
                predictions[number].append(Detections.of(boxes.xyxy, ids[boxes.class_id], boxes.confidence))
    finally:
        for model in models:
            model.close()
    return predictions, latencies


def _evaluate_model(
    bundle: VerifiedBundle,
    predictions: list[Detections],
    test: _Frames,
    names: Sequence[str],
    meaning: Mapping[str, str],
    latency: Sequence[float],
    spec: EvaluateSpec,
    identity: str,
) -> EvaluatedModel:
    manifest = bundle.manifest
    limits = manifest.thresholds.of(manifest.reported_names)
    own = {meaning.get(name, name): limit for name, limit in zip(manifest.reported_names, limits, strict=True)}
    confidence = np.array([own.get(name, manifest.thresholds.confidence) for name in names])
    knows = np.array([name in own for name in names])
    matches = match_frames(predictions, test.truth, len(names))
    measured = Measured.of(matches, test.units, names, confidence, knows)
    false_alarms, good_frames, good_units = measured.false_alarms()
    evaluation = Evaluation(
        model_version=manifest.model_version,
        onnx_sha256=manifest.files[ONNX].sha256,
        test_sha256=identity,
        metric="coco",
        frames=len(test.items),
        units=test.units.count,
        units_are="objects" if objects_known(test.items) else "groups of frames",
        map50=measured.map50(spec.level),
        map50_95=measured.map50_95(spec.level),
        ultralytics_map50=ultralytics_map50(matches, knows),
        classes=measured.classes(spec.level),
        false_alarms=false_alarms,
        good_frames=good_frames,
        good_units=good_units,
        hard_recall=measured.recall_on(np.array([bool(item.hard) for item in test.items])),
        golden_recall=measured.recall_on(np.array([item.golden for item in test.items])),
        latency_ms_p50=float(np.quantile(latency, 0.5)),
        latency_ms_p95=float(np.quantile(latency, 0.95)),
        engine=spec.engine,
        threads=spec.threads,
        evaluated_at=utc_now(),
    )
    return EvaluatedModel(evaluation, measured, predictions)


def candidate_names(
    own: Sequence[str], own_list: ClassList | None, others: Sequence[ClassList | None]
) -> dict[str, str]:
    """What the candidate calls the classes that labels and other models call otherwise; they may be older or newer.

    Args:
        own: names of the classes that the candidate reports.
        own_list: its list of classes.
        others: lists of the dataset and of other models; the newest of all says which names mean one class.

    Returns:
        By every other name the candidate's.
    """
    lists = [one for one in (own_list, *others) if one is not None and (own_list is None or one.id == own_list.id)]
    if not lists:
        return {}
    newest = max(lists, key=lambda one: one.version)
    called: dict[str, str] = {}
    for name in own:
        now = newest.resolve(name)
        if now is not None and (now not in called or name == now):  # of classes merged since, the one that stays
            called[now] = name
    known = [name for entry in newest.classes for name in (entry.name, *entry.aliases)]
    meant = {name: called[now] for name in known if (now := newest.resolve(name)) is not None and now in called}
    return {name: mine for name, mine in meant.items() if name != mine}


def _truth(item: DatasetItem, names: Sequence[str], meaning: Mapping[str, str]) -> Detections:
    ids = [names.index(meaning.get(box.class_name, box.class_name)) for box in item.boxes]
    return Detections.of([box.bbox for box in item.boxes], ids)


def _identity(items: Sequence[DatasetItem]) -> list[object]:
    """What makes a test set: frames and truth. Two evaluations compare only when this is the same."""
    return [[item.sha256, [[box.class_name, *box.bbox] for box in item.boxes]] for item in items]
