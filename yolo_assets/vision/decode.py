"""From the output of a model to boxes in input pixels. Which of the two layouts it is, the manifest says."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.model import OutputLayout
from yolo_assets.vision.detections import Detections
from yolo_assets.vision.matching import class_aware_nms


def decode(
    output: NDArray[np.float32],
    layout: OutputLayout,
    *,
    classes: int,
    confidence: float,
    iou: float,
    max_detections: int,
) -> Detections:
    """Detections of one frame, as Ultralytics' predict gives them: one label a box, suppression within each class.

    Args:
        output: float32 ``[1, 4 + classes, anchors]`` (raw) or ``[1, k, 6]`` (end2end).
        layout: which of the two.
        classes: number of class names.
        confidence: boxes must be above, not at, this.
        iou: see `matching.class_aware_nms`; without meaning for end2end.
        max_detections: boxes to keep at most.

    Returns:
        Boxes in input pixels.

    Raises:
        BadInputError: another shape, or values that are not finite: the model is broken and must not be used.
    """
    wanted = f"[1, {4 + classes}, anchors]" if layout == "raw" else "[1, boxes, 6]"
    axis, size = (1, 4 + classes) if layout == "raw" else (2, 6)
    if output.ndim != 3 or output.shape[0] != 1 or output.shape[axis] != size:
        raise BadInputError(f"a {layout} model of {classes} classes gives {wanted}, this one gave {list(output.shape)}")
    if not np.isfinite(output).all():
        bad = np.count_nonzero(~np.isfinite(output))
        raise BadInputError(
            f"the model gave {bad} values that are not finite (NaN or infinity) of {output.size}; "
            "it is broken on this device, go back to the previous version"
        )
    if layout == "raw":
        return _raw(output[0], confidence, iou, max_detections)
    return _end2end(output[0], classes, confidence, max_detections)


def _raw(head: NDArray[np.float32], confidence: float, iou: float, max_detections: int) -> Detections:
    # torch rounds a threshold to float32 before it compares; so do we, to decide alike at the edge
    chosen = np.flatnonzero(head[4:].max(axis=0) > np.float32(confidence))
    if not chosen.size:
        return Detections.empty()
    rows = head[:, chosen]
    class_id = rows[4:].argmax(axis=0).astype(np.int32)
    score = rows[4:].max(axis=0)
    centre, half = rows[:2], rows[2:4] * np.float32(0.5)
    xyxy = np.concatenate([centre - half, centre + half], dtype=np.float32).T
    kept = class_aware_nms(xyxy, class_id, score, iou, max_detections)
    return Detections(np.ascontiguousarray(xyxy[kept]), class_id[kept], score[kept])


def _end2end(rows: NDArray[np.float32], classes: int, confidence: float, max_detections: int) -> Detections:
    rows = rows[rows[:, 4] > np.float32(confidence)][:max_detections]
    class_id = rows[:, 5].astype(np.int32)
    if rows.size and not 0 <= int(class_id.min()) <= int(class_id.max()) < classes:
        raise BadInputError(f"the model gave class {class_id.max()}, but the manifest names {classes} classes")
    return Detections(np.ascontiguousarray(rows[:, :4]), class_id, np.ascontiguousarray(rows[:, 4]))
