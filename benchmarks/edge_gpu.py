"""One graphics card: ours beside Ultralytics' own ``predict``, YOLO11n and s, frames of 1080p. Takes under six minutes.

For each network: one caller from frame to boxes; 16 cameras, ours by workers that take frames in batches and theirs by
lists of 16 frames; outputs that differ from those of one caller, of 10,000 under 8 callers; and the p99 of a serving
model while a candidate is loaded, warmed and put in its place. Decoding does not count, preparing the picture does.

Weights are random but lively, see ``edge_throughput.py``. Without an NVIDIA card it says so and runs in little on the
processor: every line of it then runs, and its figures say nothing about a card.

Run: python benchmarks/edge_gpu.py [--seconds 6]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxslim
from edge_throughput import frames, make
from numpy.typing import NDArray
from throughput_parts.models import quiet

from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.model import ONNX, FileEntry, ModelManifest, Thresholds
from yolo_assets.training.export import free_batch
from yolo_assets.vision.engines.interface import EngineSetup, EngineSpec
from yolo_assets.vision.engines.opening import open_engine
from yolo_assets.vision.hardware import cpu_model, graphics_cards, versions
from yolo_assets.vision.model import Model
from yolo_assets.vision.onnx_file import read_onnx
from yolo_assets.vision.selection import measure

CONFIDENCE, IOU, CAMERAS, CALLERS, APART = 0.25, 0.7, 16, 8, 1e-3
WAYS = [
    EngineSpec("onnxruntime", device, precision)
    for device in ("cuda", "tensorrt_rtx", "tensorrt")
    for precision in ("f32", "f16")
]
THEIRS = ("torch", "torch half", "ONNX")


@dataclass(frozen=True)
class Scale:
    """How much is measured: on a card, or in little on the processor."""

    card: bool
    side: int
    seconds: float
    outputs: int
    swaps: int

    @property
    def ways(self) -> list[EngineSpec]:
        """Of ours."""
        return WAYS if self.card else [EngineSpec("onnxruntime"), EngineSpec("openvino")]


def predict_by_ultralytics(kind: str, folder: Path, side: int, seconds: float, device: str, batch: int) -> None:
    """In a process of its own: print the milliseconds of each frame as JSON."""
    import torch
    import torchvision  # noqa: F401  Ultralytics uses its NMS only when it is already imported
    from ultralytics import YOLO

    model: Any = YOLO(str(folder / ("random.onnx" if kind == "ONNX" else "random.pt")), task="detect")
    pictures = [np.asarray(frame) for frame in np.load(folder / "frames.npy")]
    half = {"half": True} if kind == "torch half" and torch.cuda.is_available() else {}
    spent: list[float] = []
    end = 0.0
    while len(spent) < 6 or time.perf_counter() < end:
        group = [pictures[(len(spent) + at) % len(pictures)] for at in range(batch)]
        before = time.perf_counter()
        model.predict(
            group,
            imgsz=side,
            rect=False,
            conf=CONFIDENCE,
            iou=IOU,
            batch=batch,
            device=device,
            verbose=False,
            **half,
        )
        spent.append((time.perf_counter() - before) * 1e3 / batch)
        if len(spent) == 3:  # warm
            end = time.perf_counter() + seconds
    print(json.dumps(spent[3:]))


def theirs(kind: str, folder: Path, scale: Scale, batch: int = 1) -> float | None:
    """Median milliseconds a frame; None where it cannot run, with why."""
    arguments = [kind, str(folder), str(scale.side), str(scale.seconds), "0" if scale.card else "cpu", str(batch)]
    command = [sys.executable, __file__, "--ultralytics", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode:
        print(f"  Ultralytics {kind}: cannot run here: {done.stderr.strip().splitlines()[-1][:160]}")
        return None
    return float(np.median(json.loads(done.stdout.strip().splitlines()[-1])))


def bundle(folder: Path, side: int) -> tuple[ModelManifest, dict[str, bytes]]:
    """The exported file with a free batch, as our own export makes it."""
    data = free_batch(onnxslim.slim(onnx.load(folder / "random.onnx"))).SerializeToString()
    manifest = ModelManifest(
        name="random",
        version="1",
        files={ONNX: FileEntry.of(data)},
        class_names=("crack", "porosity", "spatter", "undercut"),
        input_shape=(1, 3, side, side),
        output_layout="raw",
        stride=32,
        thresholds=Thresholds(confidence=CONFIDENCE, iou=IOU),
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
    )
    return manifest, {ONNX: data}


def wrong_outputs(manifest: ModelManifest, data: bytes, spec: EngineSpec, scale: Scale) -> str:
    """Of so many outputs under callers at the same time, those that are not the output of one caller."""
    engine = open_engine(data, manifest, spec, EngineSetup(parallel=4))
    random = np.random.default_rng(0)
    batches = [engine.new_input(1) for _ in range(32)]
    for batch in batches:
        batch[:] = random.integers(0, 256, batch.shape) if batch.dtype == np.uint8 else random.random(batch.shape)
    alone = [engine.infer(batch) for batch in batches]
    bound = APART * max(float(np.abs(output).max()) for output in alone)
    between = min(float(np.abs(alone[0] - output).max()) for output in alone[1:])
    assert between > 2 * bound, "frames that look alike would prove nothing"

    def work(caller: int) -> int:
        order = np.random.default_rng(caller).integers(0, len(batches), scale.outputs // CALLERS)
        return sum(float(np.abs(engine.infer(batches[at]) - alone[at]).max()) > bound for at in order)

    with ThreadPoolExecutor(CALLERS) as pool:
        wrong = sum(pool.map(work, range(CALLERS)))
    engine.close()
    return f"{wrong} of {scale.outputs // CALLERS * CALLERS:,} under {CALLERS} callers"


def swapping(bundled: tuple[ModelManifest, dict[str, bytes]], spec: EngineSpec, frame: NDArray[np.uint8], scale: Scale):
    """P99 of the serving model, steady and while candidates are loaded, warmed and put in its place."""
    serving = [Model.load(*bundled, engine=spec)]
    serving[0].warm_up()
    spent: dict[bool, list[float]] = {False: [], True: []}
    swaps = threading.Event()
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            before, during = time.perf_counter(), swaps.is_set()
            serving[-1].predict(frame)
            spent[during or swaps.is_set()].append((time.perf_counter() - before) * 1e3)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    for _ in range(scale.swaps):
        time.sleep(scale.seconds / 2)
        while not spent[False]:  # a busy processor
            time.sleep(0.01)
        swaps.set()
        candidate = Model.load(*bundled, engine=spec)
        candidate.warm_up()
        old = serving[-1]
        serving.append(candidate)
        time.sleep(0.2)  # calls in the old one end
        old.close()
        while not spent[True]:
            time.sleep(0.01)
        swaps.clear()
    ended.set()
    thread.join()
    serving[-1].close()
    steady, window = (float(np.quantile(spent[during], 0.99)) for during in (False, True))
    return f"p99 {steady:.2f} ms steady, {window:.2f} ms in {scale.swaps} swaps ({window / steady:.2f} ×)"


def network(name: str, folder: Path, scale: Scale) -> None:
    """Everything of one network."""
    folder.mkdir()
    pictures = frames()
    np.save(folder / "frames.npy", pictures)
    make("random", folder, "--height", str(scale.side), "--width", str(scale.side), "--network", f"{name}.yaml")
    print(f"\n{name}, input {scale.side}, frames 1920x1080")
    singles = {kind: ms for kind in THEIRS if (ms := theirs(kind, folder, scale)) is not None}
    lists = {kind: ms for kind in THEIRS[:2] if (ms := theirs(kind, folder, scale, CAMERAS)) is not None}
    best, best_list = min(singles.values()), min([*lists.values(), *singles.values()])
    for kind, ms in singles.items():
        print(f"  Ultralytics {kind:28} {ms:7.2f} ms a frame")
    for kind, ms in lists.items():
        print(f"  Ultralytics {kind + f', batch={CAMERAS}':28} {1000 / ms:7.0f} frames/s")
    bundled = manifest, files = bundle(folder, scale.side)
    sample = [np.asarray(picture) for picture in pictures]
    for spec in scale.ways:
        try:
            model = Model.load(manifest, files, engine=spec)
            model.warm_up()
            one = measure(model, sample, callers=1).latency_ms
            model.close()
            setup = EngineSetup(parallel=4, mode="throughput")
            rates = {}
            for batch in (1, 8) if read_onnx(files[ONNX]).free_batch else (1,):
                model = Model.load(manifest, files, engine=spec, setup=replace(setup, batch=batch))
                model.warm_up()
                rates[batch] = measure(model, sample, callers=4, batch=batch).per_second
                model.close()
            most = max(rates, key=lambda batch: rates[batch])
            print(
                f"  ours {spec!s:35} {one:7.2f} ms a frame ({best / one:.2f} × their best); {CAMERAS} cameras "
                f"{rates[most]:.0f} frames/s with batch {most} ({rates[most] * best_list / 1000:.2f} × their best)"
            )
            print(f"    wrong outputs: {wrong_outputs(manifest, files[ONNX], spec, scale)}")
            print(f"    {swapping(bundled, spec, sample[0], scale)}", flush=True)
        except UserError as error:
            print(f"  ours {spec!s:35} cannot run here: {error}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each of Ultralytics' figures")
    parser.add_argument("--ultralytics", nargs=6, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ultralytics:
        kind, folder, side, seconds, device, batch = options.ultralytics
        predict_by_ultralytics(kind, Path(folder), int(side), float(seconds), device, int(batch))
        return
    cards = graphics_cards()
    if cards:
        scale = Scale(True, 640, options.seconds, 10_000, 3)
    else:
        print("There is no NVIDIA card here: in little on the processor. These figures say nothing about a card.")
        scale = Scale(False, 160, min(options.seconds, 1.0), 400, 1)
    print(f"{'; '.join(cards) or cpu_model()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    print("versions: " + ", ".join(f"{name} {version}" for name, version in versions().items()))
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        quiet(Path(name))
        for architecture in ("yolo11n", "yolo11s"):
            network(architecture, Path(name) / architecture, scale)
    print(f"\n{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
