"""From a BGR frame to the input of a model, and from its output to detections: Ultralytics' predict, in NumPy.

Belongs here: the letterbox and the two layouts of outputs; which one it is, the manifest says. Does not belong here:
running the model (``engines``), suppression (``matching``).

A shipped ONNX has one fixed input shape. For such a file Ultralytics scales the frame to fit (up or down), centres it,
and pads with grey 114 to the whole shape; its "minimum rectangle" is for dynamic shapes only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.model import OutputLayout
from yolo_assets.vision.detections import Detections
from yolo_assets.vision.matching import class_aware_nms
from yolo_assets.vision.pictures import check_frame

PADDING = 114
_FULL = np.float32(255)


@dataclass(frozen=True)
class Geometry:
    """Where a frame lies in a model's input.

    Attributes:
        frame: height and width of the frame.
        resized: height and width of the frame's picture in the input.
        top: rows of padding above it.
        left: columns of padding left of it.
    """

    frame: tuple[int, int]
    resized: tuple[int, int]
    top: int
    left: int

    @classmethod
    def fit(cls, frame: tuple[int, int], target: tuple[int, int]) -> Geometry:
        """Place a frame in an input of height and width ``target``."""
        ratio = min(target[0] / frame[0], target[1] / frame[1])
        height, width = max(round(frame[0] * ratio), 1), max(round(frame[1] * ratio), 1)
        # An odd pixel of padding goes to the bottom and the right: 0.1 breaks the tie.
        top, left = round((target[0] - height) / 2 - 0.1), round((target[1] - width) / 2 - 0.1)
        return cls(frame, (height, width), top, left)

    def to_frame(self, xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes float32 ``[n, 4]`` in input pixels as boxes in frame pixels, clipped to the frame."""
        height, width = self.frame
        pad = np.array([self.left, self.top] * 2, np.float32)
        gain = np.array([self.resized[1] / width, self.resized[0] / height] * 2, np.float32)
        limit = np.array([width, height] * 2, np.float32)
        return np.clip((xyxy - pad) / gain, 0, limit)


class Letterbox:
    """Fills one input buffer again and again. Not for two threads at once: each takes its own.

    The buffer belongs to this object and is overwritten by the next call. Padding is painted only when a frame of
    another size arrives.
    """

    def __init__(self, height: int, width: int, buffer: NDArray[np.float32] | NDArray[np.uint8] | None = None) -> None:
        """Own a buffer.

        Args:
            height: of the input.
            width: of the input.
            buffer: float32 ``[1, 3, height, width]`` to fill, for example one frame of a batch, or uint8 ``[1, height,
                width, 3]`` for a card, which scales by itself; None makes the former.
        """
        self._target = (height, width)
        self._blob = np.empty((1, 3, height, width), np.float32) if buffer is None else buffer
        self._pixels = self._blob.dtype == np.uint8
        self._geometry: Geometry | None = None
        self._resized = np.empty((0, 0, 3), np.uint8)
        self._planes: list[NDArray[np.uint8]] = []

    def __call__(self, bgr: NDArray[np.uint8]) -> tuple[NDArray[Any], Geometry]:
        """Prepare a frame.

        Args:
            bgr: uint8 ``[h, w, 3]``, BGR as OpenCV reads it.

        Returns:
            The buffer: float32, RGB, 0 to 1, or uint8, BGR; and where the frame lies in it.

        Raises:
            BadInputError: not such a frame.
        """
        import cv2

        check_frame(bgr)
        size = (bgr.shape[0], bgr.shape[1])
        geometry = self._geometry
        if geometry is None or geometry.frame != size:
            geometry = Geometry.fit(size, self._target)
            self._blob.fill(PADDING if self._pixels else np.float32(PADDING) / _FULL)
            self._resized = np.empty((*geometry.resized, 3), np.uint8)
            self._planes = [np.empty(geometry.resized, np.uint8) for _ in range(3)]
            self._geometry = geometry
        height, width = geometry.resized
        if size == geometry.resized:
            picture = bgr
        else:
            picture = cv2.resize(bgr, (width, height), dst=self._resized, interpolation=cv2.INTER_LINEAR)
        if self._pixels:
            self._blob[0, geometry.top : geometry.top + height, geometry.left : geometry.left + width] = picture
            return self._blob, geometry
        inside = self._blob[0, :, geometry.top : geometry.top + height, geometry.left : geometry.left + width]
        # Split first: dividing whole planes is twice as fast as dividing every third byte. Divided, not multiplied by
        # 1/255: the last bit is then the one that torch computes.
        cv2.split(picture, self._planes)
        for plane, values in zip(inside, reversed(self._planes), strict=True):
            np.divide(values, _FULL, out=plane)
        return self._blob, geometry


def decode(
    output: NDArray[np.float32],
    layout: OutputLayout,
    *,
    classes: int,
    confidence: float | Sequence[float],
    iou: float,
    max_detections: int,
    reported: Sequence[int] | None = None,
) -> Detections:
    """Detections of one frame, as Ultralytics' predict gives them: one label a box, suppression within each class.

    Args:
        output: float32 ``[1, 4 + classes, anchors]`` (raw) or ``[1, k, 6]`` (end2end).
        layout: which of the two.
        classes: number of class names.
        confidence: boxes must be above, not at, this; one for all classes, or one a class.
        iou: see `matching.class_aware_nms`; without meaning for end2end.
        max_detections: boxes to keep at most.
        reported: by class id the id under which it is reported; -1: not at all. None: each under its own.

    Returns:
        Boxes in input pixels.

    Raises:
        BadInputError: another shape, or values that are not finite: the model is broken and must not be used.
    """
    expected = f"[1, {4 + classes}, anchors]" if layout == "raw" else "[1, boxes, 6]"
    axis, size = (1, 4 + classes) if layout == "raw" else (2, 6)
    if output.ndim != 3 or output.shape[0] != 1 or output.shape[axis] != size:
        raise BadInputError(
            f"a {layout} model of {classes} classes gives {expected}, this one gave {list(output.shape)}"
        )
    if not np.isfinite(output).all():
        bad = np.count_nonzero(~np.isfinite(output))
        raise BadInputError(
            f"the model gave {bad} values that are not finite (NaN or infinity) of {output.size}; "
            "it is broken on this device, go back to the previous version"
        )
    # torch rounds a threshold to float32 before it compares; so do we, to decide alike at the edge
    ids = classes if reported is None else max(classes, *(target + 1 for target in reported))
    limits = np.broadcast_to(np.asarray(confidence, np.float32), np.shape(confidence) or ids)
    if layout == "raw":
        return _raw(output[0], limits, iou, max_detections, reported)
    found = _end2end(output[0], classes, float(limits.min()), max_detections)
    if reported is not None:
        own = np.asarray(reported, np.int32)[found.class_id]
        found = Detections(found.xyxy, own, found.confidence)[own >= 0]
    found = found[found.confidence > limits[found.class_id]]
    if reported is None:
        return found
    # What was of two classes is of one now: the suppression inside the file did not compare them.
    return found[class_aware_nms(found.xyxy, found.class_id, found.confidence, iou, max_detections)]


def _merged_scores(scores: NDArray[np.float32], reported: Sequence[int]) -> NDArray[np.float32]:
    """Scores in which each class has the highest of all that are reported as it; classes not reported keep theirs."""
    merged = np.zeros((max(*reported, len(scores) - 1) + 1, scores.shape[1]), np.float32)
    for own, target in enumerate(reported):
        row = merged[own if target < 0 else target]
        np.maximum(row, scores[own], out=row)
    return merged


def _raw(
    head: NDArray[np.float32],
    limits: NDArray[np.float32],
    iou: float,
    max_detections: int,
    reported: Sequence[int] | None,
) -> Detections:
    chosen = np.flatnonzero(head[4:].max(axis=0) > limits.min())
    if not chosen.size:
        return Detections.empty()
    rows = head[:, chosen]
    scores = rows[4:] if reported is None else _merged_scores(rows[4:], reported)
    class_id = scores.argmax(axis=0).astype(np.int32)
    score = scores.max(axis=0)
    if reported is not None:  # what is most like a class that is not reported is no other class either
        shown = ~np.isin(class_id, [own for own, target in enumerate(reported) if target < 0])
        rows, class_id, score = rows[:, shown], class_id[shown], score[shown]
    enough = score > limits[class_id]
    if not enough.all():
        rows, class_id, score = rows[:, enough], class_id[enough], score[enough]
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
