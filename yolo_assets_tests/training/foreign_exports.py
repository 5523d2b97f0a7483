"""Run as a program: exports of Ultralytics' networks, and what its own ``predict`` finds with each. No test lives here.

    python foreign_exports.py PICTURES OUT NETWORK:OPTION,OPTION NETWORK:...

It runs in a process of its own, so that torch never enters that of the tests. For each network and option it writes
``<network>-<option>.onnx`` (``.pt`` for the option ``checkpoint``) and the same name with ``.json``: the boxes of each
picture, by name. The networks have random weights with spread scores, see ``vision.ultralytics_reference``.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from yolo_assets_tests.vision.ultralytics_reference import lively, quiet_onnxruntime

CONFIDENCE, IOU = 0.25, 0.7
SIDE = 160
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "dynamic": {"dynamic": True},
    "nms": {"nms": True},
    "half": {"half": True},
    "batch": {"batch": 4},
    "tall": {"imgsz": (192, 128)},
    "end2end": {"nms": False},
    "int8": {},
    "checkpoint": {},
}


def main(pictures: Path, out: Path, wanted: list[str]) -> None:
    """Export and predict."""
    import torch
    import torchvision  # noqa: F401  Ultralytics uses its NMS only when it is already imported

    torch.set_num_threads(1)
    quiet_onnxruntime()
    frames = {path.name: read(path) for path in sorted(pictures.iterdir())}
    for order in wanted:
        network, _, options = order.partition(":")
        yolo = lively(f"{network}.yaml", list(frames.values()))
        for option in options.split(","):
            made = out / f"{network}-{option}.{'pt' if option == 'checkpoint' else 'onnx'}"
            export(yolo, option, made)
            if option != "checkpoint":
                side = OPTIONS[option].get("imgsz", SIDE)
                boxes = predict(made, frames, side, OPTIONS[option].get("batch", 1))
                made.with_suffix(".json").write_text(json.dumps(boxes))


def read(path: Path) -> np.ndarray:
    """A picture, BGR."""
    picture = cv2.imread(str(path))
    assert picture is not None, path
    return picture


def export(yolo: Any, option: str, to: Path) -> None:
    """One file of a network."""
    import torch

    if option == "checkpoint":
        torch.save({"model": yolo.model, "train_args": {"imgsz": SIDE}, "epoch": -1}, to)
        return
    settings = {"imgsz": SIDE, **OPTIONS[option]}
    exported = Path(yolo.export(format="onnx", device="cpu", verbose=False, **settings))
    if option == "int8":
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantize_dynamic(exported, to, weight_type=QuantType.QUInt8)
        exported.unlink()
    else:
        shutil.move(exported, to)


def predict(onnx: Path, frames: dict[str, np.ndarray], side: Any, batch: int) -> dict[str, list[list[float]]]:
    """Boxes by picture: x1, y1, x2, y2, confidence, class."""
    from ultralytics import YOLO

    model: Any = YOLO(str(onnx), task="detect")
    found: dict[str, list[list[float]]] = {}
    names = list(frames)
    for first in range(0, len(names), batch):
        group = names[first : first + batch]
        # of a fixed shape, as agents feed it: a file with free sides would get smaller pictures
        results = model.predict(
            [frames[name] for name in group],
            imgsz=side,
            rect=False,
            conf=CONFIDENCE,
            iou=IOU,
            batch=batch,
            verbose=False,
            device="cpu",
        )
        found |= {name: result.boxes.data.cpu().tolist() for name, result in zip(group, results, strict=True)}
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
