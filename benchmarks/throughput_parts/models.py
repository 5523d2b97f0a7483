"""The models: YOLO11n with random weights for speed, one trained for minutes on the simulated line for mAP, and int8.

Run in a process of its own: torch must not be in the process that measures.

    python benchmarks/throughput_parts/models.py random|trained|int8 FOLDER [--height 640 --width 640 | --epochs 40]
"""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from yolo_assets.simulator.appearance import CLASS_NAMES as CLASSES
from yolo_assets.simulator.weld_line import LineConfig, Scene, WeldLine

TRAIN_SIZE = 160


def scenes(count: int, first: int) -> list[Scene]:
    """Frames of the simulated line; those of another ``first`` are of other plates."""
    line = WeldLine(LineConfig(seed=4, cameras=3))
    start = datetime(2026, 1, 2, tzinfo=UTC)
    return [
        line.draw(line.cameras[number % 3], start + timedelta(seconds=7 * (first + number))) for number in range(count)
    ]


def quiet(folder: Path) -> None:
    """Ultralytics without a network and without a word to anybody."""
    os.environ |= {
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
        "YOLO_VERBOSE": "false",
        "YOLO_CONFIG_DIR": str(folder),
        "MPLCONFIGDIR": str(folder),
    }


def save_random(folder: Path, size: tuple[int, int], network: str) -> None:
    """``random.pt`` and ``random.onnx``: random weights with measured batch-norm statistics and scores that spread.

    The scores are set once more on the frames of the benchmark in their size, so that few boxes stand out of many.
    """
    import torch

    from yolo_assets_tests.vision.reference_frames import reference_frames
    from yolo_assets_tests.vision.ultralytics_reference import lively, rescale, ultralytics_input

    yolo = lively(network, reference_frames()[:32])
    frames = np.load(folder / "frames.npy")
    batch = torch.cat([torch.from_numpy(ultralytics_input(frame, size)) for frame in frames])
    with torch.no_grad():
        for branch in yolo.model.model[-1].cv3:
            rescale(yolo.model, branch[-1], batch, mean=-9.0, spread=1.5)
    yolo.save(folder / "random.pt")
    export(yolo, size, folder / "random.onnx")


def save_trained(folder: Path, epochs: int) -> None:
    """``trained.pt`` and ``trained.onnx``, from frames of the simulated line and their truth."""
    from ultralytics import YOLO

    data = folder / "data"
    write_dataset(data / "train", scenes(360, 0))
    write_dataset(data / "val", scenes(60, 1000))
    names = ", ".join(CLASSES)
    (data / "data.yaml").write_text(f"path: {data}\ntrain: train/images\nval: val/images\nnames: [{names}]\n")
    yolo: Any = YOLO("yolo11n.yaml")
    yolo.train(
        data=str(data / "data.yaml"),
        imgsz=TRAIN_SIZE,
        epochs=epochs,
        batch=16,
        project=str(folder),
        name="run",
        exist_ok=True,
        plots=False,
        val=False,
        amp=False,
        workers=0,
        device="cpu",
        seed=3,
        verbose=False,
        mosaic=0.5,
        close_mosaic=5,
    )
    take_trained(folder, folder / "run" / "weights" / "last.pt")


def take_trained(folder: Path, weights: Path) -> None:
    """The same from weights of that line that exist already."""
    from ultralytics import YOLO

    (folder / "trained.pt").write_bytes(weights.read_bytes())
    export(YOLO(folder / "trained.pt"), (TRAIN_SIZE, TRAIN_SIZE), folder / "trained.onnx")


def save_int8(folder: Path, name: str) -> None:
    """``<name>-int8.onnx`` as ``yolo-assets models build`` makes it: NNCF, on frames of what the model is for."""
    from yolo_assets.training.jobs import QuantizeJob
    from yolo_assets.training.quantize import quantize
    from yolo_assets.vision.onnx_file import read_onnx

    frames = np.load(folder / "frames.npy") if name == "random" else [scene.image for scene in scenes(100, 2000)]
    paths = [folder / f"calibration-{number:03}.png" for number in range(len(frames))]
    for path, frame in zip(paths, frames, strict=True):
        cv2.imwrite(str(path), frame)
    onnx = folder / f"{name}.onnx"
    (shape,) = read_onnx(onnx.read_bytes()).inputs.values()
    job = QuantizeJob(
        onnx=str(onnx),
        pictures=tuple(map(str, paths)),
        input_size=(int(shape[2] or 0), int(shape[3] or 0)),
        out=str(folder / f"{name}-int8.onnx"),
        work=str(folder),
    )
    quantize(job)


def export(yolo: Any, size: tuple[int, int], out: Path) -> None:
    """One fixed shape, 32-bit floats, no NMS inside."""
    Path(yolo.export(format="onnx", imgsz=list(size), batch=1, dynamic=False, simplify=False, device="cpu")).replace(
        out
    )


def write_dataset(folder: Path, pictures: list[Scene]) -> None:
    """Images and labels as Ultralytics reads them."""
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for number, scene in enumerate(pictures):
        height, width = scene.image.shape[:2]
        cv2.imwrite(str(folder / "images" / f"{number:04}.png"), scene.image)
        rows = []
        for box in scene.truth:
            x1, y1, x2, y2 = box.bbox
            values = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
            rows.append(f"{CLASSES.index(box.class_name)} " + " ".join(f"{value:.6f}" for value in values))
        (folder / "labels" / f"{number:04}.txt").write_text("\n".join(rows))


def main() -> None:
    """Make one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("random", "trained", "int8"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--height", type=int, default=640)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--network", default="yolo11n.yaml", help="of the random one")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--of", default="random", help="which of the two int8 is made of")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    quiet(options.folder)
    os.chdir(options.folder)  # exports are written beside the current folder
    if options.kind == "random":
        save_random(options.folder, (options.height, options.width), options.network)
    elif options.kind == "int8":
        save_int8(options.folder, options.of)
    elif options.weights:
        take_trained(options.folder, options.weights)
    else:
        save_trained(options.folder, options.epochs)


if __name__ == "__main__":
    main()
