"""One way from frames to records, in a process of its own, that does as it is told by lines of JSON on its input.

    python benchmarks/throughput_parts/contestant.py NAME FOLDER CORES

``{"model": "random", "confidence": 0.5}`` opens, ``{"run": n}`` answers with seconds a frame over n turns of all frames
and the boxes found, ``{"scores": n}`` with the n best confidences of each frame, ``{"save": file}`` predicts the
labelled frames at confidence 0.001.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.model import ONNX, FileEntry, ModelManifest, Thresholds
from yolo_assets.vision.detections import Detections
from yolo_assets.vision.engines.interface import EngineSetup, EngineSpec
from yolo_assets.vision.model import Model
from yolo_assets.vision.onnx_file import read_onnx

Frame = NDArray[np.uint8]
IOU, MAX_DETECTIONS = 0.7, 300
OURS = {
    "ours OpenVINO f32": (EngineSpec("openvino"), False),
    "ours OpenVINO bf16": (EngineSpec("openvino", precision="bf16"), False),
    "ours OpenVINO int8": (EngineSpec("openvino"), False),
    "ours ONNX Runtime f32": (EngineSpec("onnxruntime"), False),
    "ours OpenVINO f32, side by side": (EngineSpec("openvino"), True),
    "ours OpenVINO bf16, side by side": (EngineSpec("openvino", precision="bf16"), True),
    "ours OpenVINO int8, side by side": (EngineSpec("openvino"), True),
}
THEIRS = {"Ultralytics torch": ".pt", "Ultralytics ONNX": ".onnx"}


class Ours:
    """`Model.predict` and the detections of our record. Side by side: one frame for each core at the same time."""

    def __init__(self, name: str, folder: Path, cores: int) -> None:
        self._spec, self._beside = OURS[name]
        self._folder, self._cores = folder, cores
        self._build = "-int8" if "int8" in name else ""
        self._pool = ThreadPoolExecutor(cores)

    def open(self, model: str, confidence: float) -> None:
        """Load a model file of the folder."""
        data = (self._folder / f"{model}{self._build}.onnx").read_bytes()
        declared = read_onnx(data)
        manifest = ModelManifest.model_validate(
            {
                "name": model,
                "version": "1",
                "files": {ONNX: FileEntry(sha256=hashlib.sha256(data).hexdigest(), size=len(data))},
                "class_names": declared.class_names,
                "input_shape": next(iter(declared.inputs.values())),
                "output_layout": "raw",
                "stride": 32,
                "thresholds": Thresholds(confidence=confidence, iou=IOU, max_detections=MAX_DETECTIONS),
                "created_at": datetime(2026, 1, 2, tzinfo=UTC),
            }
        )
        setup = (
            EngineSetup(threads=1, parallel=self._cores, mode="throughput")
            if self._beside
            else EngineSetup(threads=self._cores)
        )
        self._model = Model.load(manifest, {ONNX: data}, engine=self._spec, setup=setup)

    def record(self, frame: Frame) -> list[dict[str, Any]]:
        """What the agent writes."""
        return self._model.predict(frame).to_records(self._model.manifest.class_names, datetime.now(UTC))

    def run(self, frames: Sequence[Frame]) -> tuple[list[float], list[int]]:
        """Seconds a frame, and the number of boxes of each."""
        if not self._beside:
            return timed(self.record, frames)
        started = time.perf_counter()
        records = list(self._pool.map(self.record, frames))
        return [(time.perf_counter() - started) / len(frames)] * len(frames), [len(record) for record in records]

    def boxes(self, frame: Frame) -> Detections:
        """For mAP."""
        return self._model.predict(frame, confidence=0.001)


class Theirs:
    """Ultralytics' own predict, with our input size: its default cuts the padding for torch, but not for ONNX."""

    def __init__(self, name: str, folder: Path, cores: int) -> None:
        import torch
        import torchvision  # noqa: F401  Ultralytics uses its NMS, the faster one, only when it is already imported

        torch.set_num_threads(cores)
        self._file, self._folder = THEIRS[name], folder

    def open(self, model: str, confidence: float) -> None:
        """Load a model file of the folder."""
        from ultralytics import YOLO

        self._model: Any = YOLO(str(self._folder / f"{model}{self._file}"), task="detect")
        declared = read_onnx((self._folder / f"{model}.onnx").read_bytes())
        self._size = [int(side or 0) for side in next(iter(declared.inputs.values()))[2:]]
        self._confidence = confidence

    def _predict(self, frame: Frame, confidence: float) -> Any:
        (result,) = self._model.predict(
            frame,
            imgsz=self._size,
            rect=False,
            conf=confidence,
            iou=IOU,
            max_det=MAX_DETECTIONS,
            verbose=False,
            device="cpu",
        )
        return result

    def record(self, frame: Frame) -> list[dict[str, Any]]:
        """The same record."""
        result, moment = self._predict(frame, self._confidence), datetime.now(UTC).isoformat()
        return [
            {"bbox": row[:4], "class": result.names[int(row[5])], "confidence": row[4], "timestamp": moment}
            for row in result.boxes.data.tolist()
        ]

    def run(self, frames: Sequence[Frame]) -> tuple[list[float], list[int]]:
        """Seconds a frame, and the number of boxes of each."""
        return timed(self.record, frames)

    def boxes(self, frame: Frame) -> Detections:
        """For mAP."""
        data = self._predict(frame, 0.001).boxes.data.cpu().numpy().astype(np.float32)
        return Detections(
            np.ascontiguousarray(data[:, :4]), data[:, 5].astype(np.int32), np.ascontiguousarray(data[:, 4])
        )


def timed(record: Callable[[Frame], list[Any]], frames: Sequence[Frame]) -> tuple[list[float], list[int]]:
    """Run each frame once."""
    seconds, counts = [], []
    for frame in frames:
        started = time.perf_counter()
        counts.append(len(record(frame)))
        seconds.append(time.perf_counter() - started)
    return seconds, counts


def main() -> None:
    """Obey until the input ends."""
    name, folder, cores = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries may print; answers go where they cannot
    me = Ours(name, folder, cores) if name in OURS else Theirs(name, folder, cores)
    frames = [np.asarray(frame) for frame in np.load(folder / "frames.npy")]
    for line in sys.stdin:
        order = json.loads(line)
        answer: dict[str, Any] = {}
        try:
            if "model" in order:
                me.open(order["model"], order["confidence"])
            elif "run" in order:
                answer["seconds"], answer["boxes"] = [], []
                for _ in range(order["run"]):
                    seconds, answer["boxes"] = me.run(frames)
                    answer["seconds"] += seconds
            elif "scores" in order:
                answer["scores"] = [
                    sorted(me.boxes(f).confidence.tolist())[: -order["scores"] - 1 : -1] for f in frames
                ]
            else:
                with np.load(folder / "labelled.npz") as archive:
                    found = [me.boxes(archive[key]) for key in sorted(archive.files)]
                rows = {f"{i:04}": np.column_stack([f.xyxy, f.confidence, f.class_id]) for i, f in enumerate(found)}
                np.savez(order["save"], **rows)  # pyright: ignore[reportArgumentType]
        except Exception as error:  # told to whoever asked
            answer["error"] = f"{type(error).__name__}: {error}"
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
