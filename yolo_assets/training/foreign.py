"""What only Ultralytics can do with a model that was brought: read its checkpoint, say what it finds. Child process.

Belongs here: a checkpoint's ONNX file, and the boxes of Ultralytics' own ``predict``. Does not belong here: what an
import makes of them (``importing``).
"""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.model import GoldenDetection
from yolo_assets.runtime.files import write_atomic
from yolo_assets.training.environment import load_ultralytics, quiet_environment
from yolo_assets.training.export import onnx_of
from yolo_assets.training.jobs import ConvertJob, ReferenceJob, ReferenceResult
from yolo_assets.training.trainer import load_checkpoint
from yolo_assets.vision.pictures import decode_image

_STRIDE = 32
_DEFAULT_SIDE = 640


def convert(job: ConvertJob) -> None:
    """Write the ONNX file of a checkpoint, with the sides that it was trained with. No code in it is run.

    Raises:
        BadInputError: no checkpoint of Ultralytics, or one that would run code.
    """
    work = Path(job.work)
    quiet_environment(work / "config", job.threads)
    load_ultralytics()
    weights = work / "brought.pt"
    shutil.copyfile(job.weights, weights)  # the export is written beside it
    saved = load_checkpoint(weights)
    trained: Any = saved.get("train_args") or {}
    side = trained.get("imgsz") if isinstance(trained, dict) else None
    side = side if isinstance(side, int) and side > 0 else _DEFAULT_SIDE
    write_atomic(Path(job.out), onnx_of(weights, -(-side // _STRIDE) * _STRIDE))


def reference(job: ReferenceJob) -> None:
    """Write what Ultralytics' own ``predict`` finds in pictures with an ONNX file.

    Raises:
        UserError: it cannot run the file here.
    """
    quiet_environment(Path(job.work) / "config", job.threads)
    load_ultralytics()
    import torchvision  # noqa: F401  Ultralytics uses its NMS only when it is already imported
    from ultralytics import YOLO

    limits = job.thresholds
    found: list[tuple[GoldenDetection, ...]] = []
    try:
        model: Any = YOLO(job.onnx, task="detect")
        for picture in job.pictures:
            (result,) = model.predict(
                decode_image(Path(picture).read_bytes(), picture),
                imgsz=list(job.input_size),
                rect=False,  # a file with a free batch counts as one with free sides, and would get smaller pictures
                conf=limits.confidence,
                iou=limits.iou,
                max_det=limits.max_detections,
                device="cpu",
                verbose=False,
            )
            found.append(tuple(_box(row) for row in result.boxes.data.cpu().tolist() if _has_area(row)))
    except (ImportError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"Ultralytics cannot run the file: {' '.join(str(error).split())[:300]}") from None
    write_atomic(Path(job.out), ReferenceResult(version=version("ultralytics"), boxes=tuple(found)).to_json())


def _has_area(row: list[float]) -> bool:
    return row[2] > row[0] and row[3] > row[1]


def _box(row: list[float]) -> GoldenDetection:
    x1, y1, x2, y2, confidence, class_id = row
    return GoldenDetection(bbox=(x1, y1, x2, y2), class_id=int(class_id), confidence=min(max(confidence, 0.0), 1.0))
