"""Wrong labels put into a labelled set on purpose, and how many of them are found: `labels suspects`, and cleanlab.

Frames of the simulated line. A champion is trained on some of them (the starter recipe, a minute or two on two quiet
cores), and errors are put into the labels of others that it has never seen: class names swapped, boxes shifted by 40 to
80 % of their size, boxes removed; one in an image, 55 in all. Then the champion looks at every image. For each rank:
how many of the images named so far hold an error (precision), and how many of all errors were named (recall). Repeated
with other draws of the errors, by a generator that the ranking does not know; mean, worst and best are told.
The champion looks at each picture and at its mirror image, as the command does; beside it stands what one look finds.

The peer is cleanlab's ObjectLab (2.9), given the same labels and the same reports, where cleanlab is installed; it is
no dependency of the product. Both rank images.

Run: python benchmarks/label_suspects.py [--train 500] [--review 700] [--draws 10] [--folder DIR]
     python benchmarks/label_suspects.py --model DIR… [--line 7 --cameras 3]     bundles of that simulated line
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.model import ONNX
from yolo_assets.contracts.names import dataset_image_key, parse_model_version
from yolo_assets.learning.dataset import Dataset
from yolo_assets.learning.records import DatasetItem, DatasetManifest, LabelBox, Split
from yolo_assets.learning.review import look_twice
from yolo_assets.learning.suspicion import LOWEST_CONFIDENCE, suspicions
from yolo_assets.models.bundle import load_bundle_folder
from yolo_assets.models.registry import Registry
from yolo_assets.simulator.appearance import CLASS_NAMES
from yolo_assets.simulator.weld_line import LineConfig, WeldLine
from yolo_assets.storage import ObjectStore, open_store
from yolo_assets.training.candidates import train_candidate
from yolo_assets.training.spec import starter
from yolo_assets.vision.detections import Detections
from yolo_assets.vision.model import Model

START = datetime(2026, 3, 1, 6, tzinfo=UTC)
ERRORS = {"swapped": 18, "misplaced": 20, "overlooked": 17}
SIZE = (320, 256)
CAMERA = "lineA_cam01"


def scenes(first: int, count: int, seed: int = 5, cameras: int = 1) -> list[tuple[NDArray[np.uint8], Detections]]:
    """Frames of a line, twenty seconds apart, its cameras in turn, with what is really in them."""
    line = WeldLine(LineConfig(seed=seed, cameras=cameras, width=SIZE[0], height=SIZE[1]))
    numbers = range(first, first + count)
    drawn = (line.draw(line.cameras[n % cameras], START + timedelta(seconds=20 * n)) for n in numbers)
    names = list(CLASS_NAMES)
    return [
        (one.image, Detections.of([b.bbox for b in one.truth], [names.index(b.class_name) for b in one.truth]))
        for one in drawn
    ]


def dataset(store: ObjectStore, frames: Sequence[tuple[NDArray[np.uint8], Detections]]) -> Dataset:
    """Three splits of frames, stored."""
    items: list[DatasetItem] = []
    for number, (picture, truth) in enumerate(frames):
        data = cv2.imencode(".png", picture)[1].tobytes()
        sha256, path = hashlib.sha256(data).hexdigest(), f"{CAMERA}/20260301_06/{number:05d}.png"
        store.put(dataset_image_key(sha256, path), data)
        split: Split = "train" if number % 10 < 8 else "val" if number % 10 == 8 else "test"
        boxes = tuple(
            LabelBox.model_validate({"bbox": tuple(map(float, box)), "class": CLASS_NAMES[kind]})
            for box, kind in zip(truth.xyxy, truth.class_id, strict=True)
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
                dhash="0" * 64,
            )
        )
    counts = dict(Counter(item.split for item in items))
    manifest = DatasetManifest(class_names=tuple(CLASS_NAMES), items=tuple(items), counts=counts)
    return Dataset(hashlib.sha256(manifest.to_json()).hexdigest(), manifest)


def champion(folder: Path, frames: Sequence[tuple[NDArray[np.uint8], Detections]], epochs: int) -> Model:
    """Trained once for a folder."""
    registry = Registry(open_store((folder / "store").as_uri()))
    started = time.perf_counter()
    spec = starter("line", epochs=epochs)
    done = train_candidate(registry, dataset(registry.store, frames), spec, folder / "work")
    bundle = registry.read_bundle(*parse_model_version(f"{done.name}/{done.version}"), signed=False, only=[ONNX])
    metrics = {name: round(value, 3) for name, value in done.training.metrics.items() if "map" in name.lower()}
    print(f"champion {done.version}: {time.perf_counter() - started:.0f} s, {metrics}", flush=True)
    return Model.load(bundle.manifest, {ONNX: bundle.files[ONNX]}, engine="onnxruntime", threads=2)


def with_errors(truth: Sequence[Detections], seed: int) -> tuple[list[Detections], dict[int, str]]:
    """Labels with one error in some images, and which."""
    rng = np.random.default_rng(seed)
    order = rng.permutation([image for image, one in enumerate(truth) if len(one)])
    kinds = [kind for kind, count in ERRORS.items() for _ in range(count)]
    wrong = dict(zip((int(image) for image in order), kinds, strict=False))
    labels = list(truth)
    for image, kind in wrong.items():
        boxes, classes = truth[image].xyxy.copy(), truth[image].class_id.copy()
        box = int(rng.integers(len(classes)))
        if kind == "swapped":
            classes[box] = (classes[box] + rng.integers(1, len(CLASS_NAMES))) % len(CLASS_NAMES)
        elif kind == "misplaced":
            angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(0.4, 0.8)
            sides = boxes[box][2:] - boxes[box][:2]
            boxes[box] += np.tile(sides * far * np.array([np.cos(angle), np.sin(angle)]), 2).astype(np.float32)
            boxes[box] = boxes[box].clip(0, [*SIZE, *SIZE])
        else:
            boxes, classes = np.delete(boxes, box, axis=0), np.delete(classes, box)
        labels[image] = Detections.of(boxes, classes)
    return labels, wrong


def ours(labels: Sequence[Detections], reports: Sequence[Detections]) -> tuple[list[int], dict[int, str]]:
    """Images by their most suspicious box, and what is said of each."""
    said: dict[int, str] = {}
    for one in suspicions(labels, reports):
        said.setdefault(one.image, one.kind)
    return list(said), said


def objectlab(labels: Sequence[Detections], reports: Sequence[Detections]) -> list[int]:
    """Images by cleanlab's label quality, the worst first."""
    from cleanlab.object_detection.rank import get_label_quality_scores  # pyright: ignore[reportMissingImports]

    given: list[dict[str, Any]] = [{"bboxes": one.xyxy, "labels": one.class_id} for one in labels]
    predicted = []
    for one in reports:
        rows = np.hstack([one.xyxy, one.confidence[:, None]])
        predicted.append(np.array([rows[one.class_id == c] for c in range(len(CLASS_NAMES))] + [None], object)[:-1])
    scores = get_label_quality_scores(given, predicted, verbose=False)
    return [int(image) for image in np.argsort(scores, kind="stable")]


def table(title: str, orders: Sequence[list[int]], wrongs: Sequence[dict[int, str]], images: int) -> None:
    """Precision and recall by rank: mean, worst and best of all draws."""
    count = len(wrongs[0])
    print(f"{title}: {count} errors in {images} images, {len(orders)} draws")
    for rank in (count // 4, count // 2, count, images // 10, images // 5):
        found = [sum(image in wrong for image in order[:rank]) for order, wrong in zip(orders, wrongs, strict=True)]
        precision, recall = np.array(found) / rank, np.array(found) / count
        print(
            f"  first {rank:>4}: precision {precision.mean():.3f} ({precision.min():.3f} to {precision.max():.3f})"
            f"  recall {recall.mean():.3f} ({recall.min():.3f} to {recall.max():.3f})"
        )


def main() -> None:
    """Train, put errors in, rank, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=int, default=500, help="frames of the champion's dataset")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--review", type=int, default=700, help="frames into whose labels errors are put")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--folder", type=Path, help="keep the champion there")
    parser.add_argument("--model", type=Path, nargs="+", help="folders of bundles of the line: nothing is trained")
    parser.add_argument("--line", type=int, default=5, help="seed of the simulated line")
    parser.add_argument("--cameras", type=int, default=1, help="of the line")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="label-suspects-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if given.model is None:
            models = [champion(folder, scenes(0, given.train, given.line, given.cameras), given.epochs)]
        else:
            models = [brought(place) for place in given.model]
        frames = scenes(given.train + 500, given.review, given.line, given.cameras)
        draws = [with_errors([one for _, one in frames], seed) for seed in range(given.draws)]
        for model in models:
            review(model, frames, draws)
            model.close()
    finally:
        if given.folder is None:
            shutil.rmtree(folder, ignore_errors=True)


def brought(folder: Path) -> Model:
    """The model of a bundle."""
    bundle = load_bundle_folder(folder)
    print(f"champion {bundle.manifest.model_version} in {folder}, brought", flush=True)
    return Model.load(bundle.manifest, bundle.files, engine="onnxruntime", threads=2)


def review(
    model: Model,
    frames: Sequence[tuple[NDArray[np.uint8], Detections]],
    draws: Sequence[tuple[list[Detections], dict[int, str]]],
) -> None:
    """Rank what one champion finds suspicious in each draw, and print."""
    once = [model.predict(picture, confidence=LOWEST_CONFIDENCE) for picture, _ in frames]
    twice = [look_twice(model, picture) for picture, _ in frames]
    wrongs = [wrong for _, wrong in draws]
    for title, reports in (("labels suspects", twice), ("the same with one look", once)):
        ranked = [ours(labels, reports) for labels, _ in draws]
        table(title, [order for order, _ in ranked], wrongs, len(frames))
        for kind in ERRORS:
            named = [
                sum(said.get(image) == what == kind for image, what in wrong.items()) / ERRORS[kind]
                for (_, said), wrong in zip(ranked, wrongs, strict=True)
            ]
            print(f"  {kind}: named as such, at any rank, {np.mean(named):.3f}")
    if find_spec("cleanlab") is not None:
        table("cleanlab 2.9 ObjectLab", [objectlab(labels, once) for labels, _ in draws], wrongs, len(frames))


if __name__ == "__main__":
    main()
