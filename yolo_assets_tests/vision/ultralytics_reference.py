"""Run as a program: what Ultralytics itself makes of a set of frames, for the parity tests. No test lives here.

It runs in a process of its own, so that torch never enters the process of the tests, and offline.

    python ultralytics_reference.py FRAMES.npz OUTPUT_FOLDER

No pretrained weights can be had offline, and freshly initialised ones give the same faint score everywhere. So the
random networks are made lively: batch-norm statistics are measured on the frames themselves, and the last layers of the
heads are scaled so that scores and box sides spread. Dozens of anchors a frame are then candidates, boxes overlap in
heaps, and suppression has work to do. The weights mean nothing; the arithmetic is that of a trained model.

Measured statistics alone make a random network chaotic: channels that hardly vary are blown up, layer after layer,
until a rounding difference of 1e-6 at the input moves scores and boxes visibly, and engines can no longer be compared.
Hence the floor under the variances: the same difference then moves a score by less than 1e-4.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

NAMES = ("crack", "porosity", "spatter", "undercut")
SHAPES = {"square": (160, 160), "tall": (192, 128)}
NETWORKS = {"raw": "yolo11n.yaml", "end2end": "yolo26n.yaml"}
CONFIDENCE, IOU, MAX_DETECTIONS = 0.25, 0.5, 300


def main(frames_file: Path, out: Path) -> None:
    """Export every network in every shape and predict every frame with Ultralytics."""
    import torch
    import torchvision  # noqa: F401  Ultralytics uses its NMS only when it is already imported

    torch.set_num_threads(1)
    quiet_onnxruntime()
    save_suppression(out / "suppression.npz")
    with np.load(frames_file) as archive:
        frames = [archive[name] for name in sorted(archive.files)]
    for layout, config in NETWORKS.items():
        yolo = lively(config, frames)
        for shape, size in SHAPES.items():
            path = out / f"{layout}-{shape}.onnx"
            exported = Path(
                yolo.export(format="onnx", imgsz=size, nms=False if layout == "end2end" else None, simplify=False)
            )
            exported.replace(path)
            predict(path, size, frames, out / f"{layout}-{shape}.npz")


def quiet_onnxruntime() -> None:
    """One thread that does not spin: Ultralytics' default takes every core from the tests beside this one."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession
    onnxruntime.InferenceSession = lambda weight, _options=None, **rest: session(weight, options, **rest)


def save_suppression(out: Path) -> None:
    """Random boxes with what torchvision keeps of them when classes are moved apart as Ultralytics does."""
    import torch
    from torchvision.ops import nms

    random = np.random.default_rng(5)
    cases: dict[str, np.ndarray] = {}
    for case in range(120):
        count = int(random.integers(1, 400))
        corner = random.uniform(-20, 600, (count, 2))
        boxes = np.concatenate([corner, corner + random.uniform(0, 250, (count, 2))], axis=1).astype(np.float32)
        scores = random.uniform(0.01, 1, count).astype(np.float32)
        classes = random.integers(0, 5, count).astype(np.int32)
        iou = float(random.choice([0.3, 0.45, 0.5, 0.7]))
        kept = nms(torch.from_numpy(boxes) + torch.from_numpy(classes)[:, None] * 7680.0, torch.from_numpy(scores), iou)
        values = {"boxes": boxes, "scores": scores, "classes": classes, "iou": np.float64(iou), "kept": kept.numpy()}
        cases |= {f"{case}/{name}": np.asarray(value) for name, value in values.items()}
    np.savez(out, **cases)  # pyright: ignore[reportArgumentType]


def lively(config: str, frames: list[np.ndarray]) -> Any:
    """A random network whose scores and boxes spread; see the docstring of the module."""
    import torch
    from ultralytics import YOLO
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(7)
    yolo: Any = YOLO(config)
    network: Any = DetectionModel(config, nc=len(NAMES), verbose=False)
    network.names = dict(enumerate(NAMES))
    network.args = yolo.model.args
    network.task = "detect"
    batch = torch.cat([torch.from_numpy(ultralytics_input(frame, SHAPES["square"])) for frame in frames[:32]])
    with torch.no_grad():
        norms: list[Any] = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = None
            norm.reset_running_stats()
        network.train()
        network(batch)
        for norm in norms:
            norm.running_var.clamp_(min=float(norm.running_var.mean()))
        network.eval()
        head = network.model[-1]
        for prefix in ("", "one2one_"):
            for kind, mean, spread in (("cv2", 0.0, 2.0), ("cv3", -4.0, 1.6)):
                for branch in getattr(head, prefix + kind, None) or []:
                    rescale(network, branch[-1], batch, mean, spread)
    yolo.model = network
    return yolo


def rescale(network: Any, layer: Any, batch: Any, mean: float, spread: float) -> None:
    """Give the outputs of a layer this mean and standard deviation on this batch."""
    seen: list[Any] = []
    hook = layer.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    network(batch)
    hook.remove()
    channels = (0, 2, 3)
    factor = spread / seen[0].std(channels).clamp(min=1e-6)
    layer.weight *= factor[:, None, None, None]
    layer.bias.copy_(mean + factor * (layer.bias - seen[0].mean(channels)))


def ultralytics_input(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The input tensor as Ultralytics' predictor makes it for a model of fixed shape, float32 ``[1, 3, h, w]``."""
    from types import SimpleNamespace

    import torch
    from ultralytics.engine.predictor import BasePredictor

    predictor: Any = BasePredictor.__new__(BasePredictor)
    predictor.imgsz = size
    predictor.scale_fill = False
    predictor.args = SimpleNamespace(rect=True)
    predictor.model = SimpleNamespace(format="onnx", dynamic=False, stride=32, fp16=False)
    predictor.device = torch.device("cpu")
    return predictor.preprocess([frame]).numpy()


def predict(path: Path, size: tuple[int, int], frames: list[np.ndarray], out: Path) -> None:
    """Save ``boxes/<i>`` ``[n, 6]`` (xyxy, confidence, class) of each frame and ``input/<i>`` of the first 40."""
    from ultralytics import YOLO

    model: Any = YOLO(str(path), task="detect")
    found: dict[str, np.ndarray] = {}
    for index, frame in enumerate(frames):
        (result,) = model.predict(
            frame, imgsz=size, conf=CONFIDENCE, iou=IOU, max_det=MAX_DETECTIONS, verbose=False, device="cpu"
        )
        found[f"boxes/{index:03}"] = result.boxes.data.cpu().numpy().astype(np.float32)
        if index < 40:
            found[f"input/{index:03}"] = ultralytics_input(frame, size)
    np.savez(out, **found)  # pyright: ignore[reportArgumentType]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
    print(json.dumps({"ok": True}))
