"""The loop over several seeds: is the change of the line said, how many labels does it take, is the release better.

Everything is of the simulated line and really trained, with small frames and few epochs. For each seed:

1. A first model is trained before the change of the line. What it reports on frames before and after the change is
   drawn again and again into hours of 60 objects, a week of reference before the change: in which hour after it does
   ``judge_drift`` call the camera changed, and how often before.
2. Of frames after the change some are labelled, chosen by the product's budget (``sample``) or at random, and the model
   is fine-tuned with each. mAP50 on frames that nobody chose from, by number of labels; and the labels that reach a
   given mAP50, read off between the numbers tried.
3. The model of the largest budget is put before the gate, with the default policy, on a test split of its own. Beside
   the verdict stands the gain on many more frames.

Run: python benchmarks/closed_loop.py [--seeds 5] [--labels 20 60 180] [--folder DIR] [--quick]. A seed is seven short
trainings; its figures are printed as they come, and kept in the folder for the next run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.model import ONNX
from yolo_assets.contracts.names import dataset_image_key, parse_model_version
from yolo_assets.learning.dataset import Dataset
from yolo_assets.learning.looks import looks_of_camera
from yolo_assets.learning.manifests import write_stored
from yolo_assets.learning.records import DatasetItem, DatasetManifest, LabelBox, Reason, Split
from yolo_assets.learning.sampling import DEFAULT_SHARES, UNSURE, CandidateFrame, Look, sample
from yolo_assets.models.gate import decide
from yolo_assets.models.gate_policy import GatePolicy
from yolo_assets.models.registry import Registry
from yolo_assets.monitoring.drift import ModelReports, judge_drift
from yolo_assets.monitoring.seasons import slots_of
from yolo_assets.simulator.appearance import CLASS_NAMES
from yolo_assets.simulator.weld_line import Change, LineConfig, WeldLine
from yolo_assets.storage import open_store
from yolo_assets.training.candidates import evaluate_candidate, train_candidate
from yolo_assets.training.spec import TrainSpec, fine_tune, starter
from yolo_assets.vision.detections import Detections
from yolo_assets.vision.hardware import usable_cpus
from yolo_assets.vision.model import Model

CHANGE = datetime(2026, 3, 8, 10, tzinfo=UTC)
SIZE = (224, 160)
OBJECTS_AN_HOUR = 60
LEARNED, CHANGED_HOURS = 168 + 10, 24
TARGETS = (0.5, 0.6, 0.7, 0.8)
WAYS: Mapping[str, Mapping[Reason, float]] = {"budget": DEFAULT_SHARES, "random": {"random": 1.0}}


@dataclass(frozen=True)
class LineFrame:
    """A frame of the line and what is really in it."""

    path: str
    camera: str
    at: datetime
    picture: NDArray[np.uint8]
    truth: Detections


@dataclass(frozen=True)
class Sizes:
    """How much of everything; smaller for a quick look."""

    first: int
    pool: int
    test: int
    judge: int
    epochs: int
    cameras: int = 200


def frames(line: WeldLine, first: datetime, count: int) -> list[LineFrame]:
    """Frames of the cameras in turn, 40 seconds apart."""
    found: list[LineFrame] = []
    for number in range(count):
        camera, at = line.cameras[number % len(line.cameras)], first + timedelta(seconds=40 * number)
        scene = line.draw(camera, at)
        ids = [CLASS_NAMES.index(box.class_name) for box in scene.truth]
        truth = Detections.of([box.bbox for box in scene.truth], ids)
        path = f"{camera}/{at:%Y%m%d_%H}/{at:%Y%m%d_%H%M%S}_000.jpg"
        found.append(LineFrame(path, camera, at, scene.image, truth))
    return found


def dataset(registry: Registry, parts: Mapping[Split, Sequence[LineFrame]]) -> Dataset:
    """Labelled frames in splits, stored."""
    items: list[DatasetItem] = []
    for split, members in parts.items():
        for one in members:
            data = cv2.imencode(".png", one.picture)[1].tobytes()
            sha256 = hashlib.sha256(data).hexdigest()
            path = f"{one.path.removesuffix('.jpg')}.png"
            registry.store.put(dataset_image_key(sha256, path), data)
            boxes = tuple(
                LabelBox.model_validate({"bbox": tuple(map(float, box)), "class": CLASS_NAMES[kind]})
                for box, kind in zip(one.truth.xyxy, one.truth.class_id, strict=True)
            )
            items.append(
                DatasetItem(
                    image_path=path,
                    sha256=sha256,
                    split=split,
                    group=path,
                    width=SIZE[0],
                    height=SIZE[1],
                    boxes=boxes,
                    camera_id=one.camera,
                    captured_at=one.at,
                    dhash="0" * 64,
                    object_ids=tuple(f"{path}:{number}" for number in range(len(boxes))),
                )
            )
    items.sort(key=lambda item: item.sha256)
    counts = Counter(item.split for item in items)
    manifest = DatasetManifest(class_names=tuple(CLASS_NAMES), items=tuple(items), counts=dict(counts))
    return Dataset(write_stored(registry.store, manifest), manifest)


def hours_of(
    rng: np.random.Generator, reports: Sequence[Detections], truth: Sequence[Detections], cameras: int, hours: int
) -> list[NDArray[np.float64]]:
    """Reports drawn into hours of ``OBJECTS_AN_HOUR`` real objects on average: counts, confidences, their squares."""
    kinds = len(CLASS_NAMES)
    table = np.zeros((len(reports), 3, kinds))
    for row, one in enumerate(reports):
        for power in range(3):
            np.add.at(table[row, power], one.class_id, one.confidence.astype(np.float64) ** power)
    frames_an_hour = OBJECTS_AN_HOUR / max(float(np.mean([len(one) for one in truth])), 0.05)
    drawn = rng.poisson(frames_an_hour / len(reports), (cameras, hours, len(reports)))
    return list(np.moveaxis(np.tensordot(drawn, table, axes=1), 2, 0))


def drift(
    rng: np.random.Generator, model: Model, before: Sequence[LineFrame], after: Sequence[LineFrame], cameras: int
) -> dict[str, float]:
    """How soon the change is said: share of cameras in the first hour, median hour, false alarms before."""
    parts: list[list[NDArray[np.float64]]] = []
    for some, hours in ((before, LEARNED), (after, CHANGED_HOURS)):
        seen = [model.predict(one.picture) for one in some]
        parts.append(hours_of(rng, seen, [one.truth for one in some], cameras, hours))
    found, total, squares = (np.concatenate(pair, axis=1) for pair in zip(*parts, strict=True))
    hours = LEARNED + CHANGED_HOURS
    reports = ModelReports(found.sum(-1), np.ones((cameras, hours)), found, total, squares, CLASS_NAMES)
    slots = slots_of([CHANGE - timedelta(hours=LEARNED - hour) for hour in range(hours)], None)
    age, always = np.tile(np.arange(hours), (cameras, 1)), np.ones((cameras, hours), np.bool_)
    said = judge_drift(reports, slots, age, always).drifted
    later = said[:, LEARNED:]
    first = np.where(later.any(axis=1), later.argmax(axis=1) + 1.0, np.inf)
    alarms = int((np.diff(said[:, :LEARNED].astype(np.int8), axis=1) > 0).sum())
    return {
        "in_the_first_hour": float((first <= 1).mean()),
        "median_hour": float(np.quantile(first, 0.5, method="higher")),
        "alarms_before": alarms / cameras,
    }


def candidates_of(model: Model, pool: Sequence[LineFrame]) -> list[CandidateFrame]:
    """The pool as sampling sees it: what the model reports, from where it is unsure on; the camera has drifted."""
    found: list[CandidateFrame] = []
    for one in pool:
        seen = model.predict(one.picture, confidence=UNSURE[0])
        told = tuple((CLASS_NAMES[kind], float(c)) for kind, c in zip(seen.class_id, seen.confidence, strict=True))
        found.append(CandidateFrame(one.path, one.camera, one.at, told, 1.0))
    return found


def looks_in(pool: Sequence[LineFrame]) -> dict[str, Look]:
    """Looks of the pool's pictures, camera by camera."""
    small: dict[str, dict[str, NDArray[np.uint8]]] = {}
    for one in pool:
        shrunk = cv2.resize(one.picture, (64, 64), interpolation=cv2.INTER_AREA)
        small.setdefault(one.camera, {})[one.path] = np.asarray(shrunk, np.uint8)
    found: dict[str, Look] = {}
    for pictures in small.values():
        found |= looks_of_camera(pictures)
    return found


def one_seed(seed: int, folder: Path, budgets: Sequence[int], sizes: Sizes, base: Mapping[str, Any]) -> dict[str, Any]:
    """All three parts of a seed."""
    began = time.monotonic()
    rng = np.random.default_rng(seed)
    config = LineConfig(100 + seed, 2, *SIZE, changes=(Change("line_change", CHANGE),))
    line = WeldLine(config)
    registry, work = Registry(open_store((folder / f"store{seed}").as_uri())), folder / f"work{seed}"
    old = frames(line, CHANGE - timedelta(days=3), sizes.first)
    before = frames(line, CHANGE - timedelta(days=1), sizes.test)
    pool = frames(line, CHANGE + timedelta(minutes=1), sizes.pool)
    test = frames(line, CHANGE + timedelta(days=1), sizes.test)
    judge = frames(line, CHANGE + timedelta(days=2), sizes.judge)
    cut = len(old) * 8 // 10
    spec = starter("line", **base, epochs=2 * sizes.epochs)
    first = train(registry, dataset(registry, {"train": old[:cut], "val": old[cut:], "test": test}), spec, work)
    manifest = registry.read_manifest(*parse_model_version(first), signed=False).manifest
    data = registry.read_bundle(*parse_model_version(first), signed=False, only=[ONNX]).files
    model = Model.load(manifest, data, engine="onnxruntime", threads=2)
    result: dict[str, Any] = {"seed": seed, "drift": drift(rng, model, before, test, sizes.cameras)}
    candidates, looks = candidates_of(model, pool), looks_in(pool)
    model.close()
    by_path = {one.path: one for one in pool}
    curve: dict[str, dict[str, float]] = {}
    for way, shares in WAYS.items():
        for budget in budgets:
            named = sample(candidates, budget, seed=seed, shares=shares, looks=looks)
            chosen = [by_path[one.image_path] for one in named]
            val = max(len(chosen) // 5, 1)
            parts: dict[Split, Sequence[LineFrame]] = {
                "train": [*old[:cut], *chosen[val:]],
                "val": [*old[cut:], *chosen[:val]],
                "test": judge,
            }
            tuned = train(
                registry, dataset(registry, parts), fine_tune("line", first, **base, epochs=sizes.epochs), work
            )
            compared = evaluate_candidate(registry, dataset(registry, parts), tuned, first, work, keep=False)
            comparison = compared.comparison
            curve.setdefault(way, {"0": comparison.champion.map50.value if comparison.champion else 0.0})
            curve[way][str(budget)] = comparison.candidate.map50.value
            if way == "budget" and budget == budgets[-1]:
                on_test = dataset(registry, {**parts, "test": test})
                shown = evaluate_candidate(registry, on_test, tuned, first, work, keep=False).comparison
                report = decide(shown, GatePolicy(), class_names=CLASS_NAMES, champion_class_names=manifest.class_names)
                result["gate"] = {
                    "verdict": report.verdict,
                    "why": " ".join(rule.sentence for rule in report.refusals),
                    "true_gain": comparison.map50_gain.value if comparison.map50_gain else 0.0,
                }
    return {**result, "curve": curve, "seconds": time.monotonic() - began}


def kept_seed(seed: int, folder: Path, budgets: Sequence[int], sizes: Sizes, base: Mapping[str, Any]) -> dict[str, Any]:
    """``one_seed``, or what it found in an earlier run in the same folder."""
    kept = folder / f"seed{seed}.json"
    if not kept.is_file():
        kept.write_text(json.dumps(one_seed(seed, folder, budgets, sizes, base)))
    return json.loads(kept.read_text())


def train(registry: Registry, data: Dataset, spec: TrainSpec, work: Path) -> str:
    """The version that a training gives."""
    return train_candidate(registry, data, spec, work, nice=0).model_version


def reached(curve: Mapping[str, float], target: float) -> float:
    """Labels from which mAP50 is at least so much, read off a straight line between two numbers; infinite: never."""
    points = sorted((int(labels), value) for labels, value in curve.items())
    for (low, below), (high, above) in pairwise(points):
        if below >= target:
            return float(low)
        if above >= target:
            return low + (high - low) * (target - below) / (above - below)
    return float(points[-1][0]) if points[-1][1] >= target else float("inf")


def show(results: Sequence[Mapping[str, Any]], budgets: Sequence[int]) -> None:
    """All seeds together."""
    print(f"\n{len(results)} seeds: a line with {OBJECTS_AN_HOUR} objects an hour, its change after a week")
    for one in results:
        said, gate = one["drift"], one["gate"]
        print(
            f"  seed {one['seed']}: said in the first changed hour on {said['in_the_first_hour']:.0%} of cameras, "
            f"median hour {said['median_hour']:.0f}, {said['alarms_before']:.2f} alarms a camera before; "
            f"gate: {gate['verdict']}, true gain {gate['true_gain']:+.3f} {gate['why']}"
        )
    print("\nmAP50 after the change, by labels: mean (lowest to highest seed)")
    for way in WAYS:
        told: list[str] = []
        for labels in (0, *budgets):
            values = np.array([one["curve"][way][str(labels)] for one in results])
            told.append(f"{labels}: {values.mean():.3f} ({values.min():.3f} to {values.max():.3f})")
        print(f"  {way:8s}" + "   ".join(told))
    print("\nlabels that reach a mAP50, each seed; inf: not with these")
    for target in TARGETS:
        told = []
        for way in WAYS:
            labels = ", ".join(f"{reached(one['curve'][way], target):.0f}" for one in results)
            told.append(f"{way}: {labels}")
        print(f"  {target:.1f}  " + "   ".join(told))


def main() -> None:
    """Seed by seed, then all together."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--labels", type=int, nargs="+", default=[20, 60, 180], help="budgets, the largest last")
    parser.add_argument("--quick", action="store_true", help="tiny: shows that it runs, and nothing else")
    parser.add_argument("--processes", type=int, default=usable_cpus(), help="seeds at a time, one thread each")
    parser.add_argument("--folder", type=Path, help="keep everything there; seeds that are done are not done again")
    given = parser.parse_args()
    sizes = Sizes(24, 30, 12, 12, 1, 10) if given.quick else Sizes(240, 400, 150, 250, 8)
    base = {"imgsz": 64 if given.quick else 160, "threads": 1}
    folder = given.folder or Path(tempfile.mkdtemp(prefix="closed-loop-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        work = partial(kept_seed, folder=folder, budgets=given.labels, sizes=sizes, base=base)
        results: list[dict[str, Any]] = []
        with ProcessPoolExecutor(given.processes, mp_context=get_context("spawn")) as pool:
            for one in pool.map(work, range(given.seeds)):
                results.append(one)
                print(f"seed {one['seed']}: {one['seconds']:.0f} s", flush=True)
        show(results, given.labels)
    finally:
        if given.folder is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
