"""Average precision, recall and their uncertainty, from detections. Pure numpy: no model, no picture, no torch.

Precision and recall follow COCO's matching (most confident first, one truth once) and 101-point interpolation in
ultralytics' form (a perfect model has 0.995). The uncertainty is a bootstrap over groups of near-duplicate frames: ten
frames of one part are one piece of evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from yolo_assets.vision.detections import Detections
from yolo_assets.vision.matching import class_overlaps, iou_matrix, match

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
_RECALL_GRID = np.linspace(0, 1, 101)
_BLOCK = 4_000_000
"""Cells of the largest intermediate array: bounds memory on large test sets."""

MIN_GROUPS = 10
"""With fewer groups than this, single frames are drawn: a handful of groups has no useful distribution."""


@dataclass(frozen=True)
class Matches:
    """Predictions over a test set, most confident first, and the truth they were matched with.

    Attributes:
        confidence: float ``[n]``, falling.
        class_id: int ``[n]``.
        frame: int ``[n]``, index of the frame.
        correct: bool ``[n, 10]``, by IoU threshold.
        truth: int ``[frames, classes]``, number of truth boxes.
    """

    confidence: NDArray[np.float64]
    class_id: NDArray[np.int64]
    frame: NDArray[np.int64]
    correct: NDArray[np.bool_]
    truth: NDArray[np.int64]


def correct_at_thresholds(predictions: Detections, truth: Detections) -> NDArray[np.bool_]:
    """Which predictions are right: ``[n, 10]``, rows in the order of ``predictions``, by IoU threshold.

    A truth box goes to the most confident prediction of its class that overlaps it enough; a prediction takes the free
    truth box that it overlaps most.
    """
    correct = np.zeros((len(predictions), len(IOU_THRESHOLDS)), bool)
    order = np.argsort(-predictions.confidence, kind="stable")
    overlaps = class_overlaps(predictions, truth)[order]
    for column, threshold in enumerate(IOU_THRESHOLDS):
        correct[order, column] = match(overlaps, float(threshold)) >= 0
    return correct


def match_frames(predictions: Sequence[Detections], truth: Sequence[Detections], classes: int) -> Matches:
    """Match the predictions of a test set, frame by frame.

    Args:
        predictions: by frame.
        truth: truth by frame, in the same order.
        classes: number of classes.
    """
    correct = [correct_at_thresholds(frame, labels) for frame, labels in zip(predictions, truth, strict=True)]
    confidence = np.concatenate([frame.confidence.astype(np.float64) for frame in predictions] or [np.empty(0)])
    class_id = np.concatenate([frame.class_id.astype(np.int64) for frame in predictions] or [np.empty(0, np.int64)])
    frame_index = np.repeat(np.arange(len(predictions)), [len(frame) for frame in predictions])
    order = np.argsort(-confidence, kind="stable")
    counts = np.stack([np.bincount(labels.class_id, minlength=classes) for labels in truth])
    return Matches(confidence[order], class_id[order], frame_index[order], np.concatenate(correct)[order], counts)


def confusion_counts(
    predictions: Sequence[Detections], truth: Sequence[Detections], classes: int, confidence: float
) -> NDArray[np.int64]:
    """Which class was reported as which, at IoU 0.5: ``[classes + 1, classes + 1]``, rows truth, columns reported.

    The last row counts reports of nothing, the last column missed objects.
    """
    counts = np.zeros((classes + 1, classes + 1), np.int64)
    for frame, labels in zip(predictions, truth, strict=True):
        reported = frame[frame.confidence >= confidence]
        overlaps = iou_matrix(reported.xyxy.astype(np.float64), labels.xyxy.astype(np.float64))
        objects = match(overlaps, 0.5, first="pairs")
        actual = np.append(labels.class_id, classes)[objects]  # -1, without an object, takes the last
        np.add.at(counts, (actual, reported.class_id), 1)
        missed = np.setdiff1d(np.arange(len(labels)), objects)
        counts[:classes, classes] += np.bincount(labels.class_id[missed], minlength=classes)
    return counts


def average_precision(
    matches: Matches, weights: NDArray[np.floating] | None = None, *, thresholds: int = 10
) -> NDArray[np.float64]:
    """AP by class and IoU threshold, for one or many weightings of the frames.

    Args:
        matches: from ``match_frames``.
        weights: ``[r, frames]``, how often each frame counts; None counts each once.
        thresholds: how many of the IoU thresholds, from the lowest.

    Returns:
        ``[r, classes, thresholds]``; NaN where a class has no truth.
    """
    frames, classes = matches.truth.shape
    counted = np.ones((1, frames)) if weights is None else np.asarray(weights, np.float64)
    truth = counted @ matches.truth
    result = np.full((len(counted), classes, thresholds), np.nan)
    for c in range(classes):
        rows = np.flatnonzero(matches.class_id == c)
        # The tail after the last hit adds nothing; cut it, it is most of the predictions.
        hits = np.flatnonzero(matches.correct[rows, :thresholds].any(axis=1))
        rows = rows[: hits[-1] + 1] if len(hits) else rows[:0]
        step = max(1, _BLOCK // max(len(rows), 1))
        for first in range(0, len(counted), step):
            block = slice(first, first + step)
            result[block, c] = _ap_of_class(
                counted[block][:, matches.frame[rows]], matches.correct[rows, :thresholds], truth[block, c]
            )
    return result


def _ap_of_class(
    weight: NDArray[np.float64], correct: NDArray[np.bool_], truth: NDArray[np.float64]
) -> NDArray[np.float64]:
    """AP ``[r, t]`` of one class from weights ``[r, n]``, hits ``[n, t]`` and the weighted truth ``[r]``."""
    ap = np.zeros((len(weight), correct.shape[1]))
    ap[truth <= 0] = np.nan
    if not weight.shape[1]:
        return ap
    reported = np.cumsum(weight, axis=1)
    for t in range(correct.shape[1]):
        hits = np.cumsum(weight * correct[:, t], axis=1)
        # Before the first report that counts, precision is 1: as if the rows before it were not there.
        exact = np.where(reported > 0, hits / np.maximum(reported, 1e-12), 1.0)
        precision = np.maximum.accumulate(exact[:, ::-1], axis=1)[:, ::-1]
        for r in np.flatnonzero(truth > 0):
            recall = hits[r] / truth[r]
            x = np.concatenate(([0.0], recall, [recall[-1], 1.0]))
            y = np.concatenate(([1.0], precision[r], [0.0, 0.0]))
            ap[r, t] = np.trapezoid(np.interp(_RECALL_GRID, x, y), _RECALL_GRID)
    return ap


def mean_ap(ap: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean AP ``[r]`` of ``[r, classes, thresholds]`` over classes that have truth; 0 where none has."""
    per_class = ap.mean(axis=2)
    defined = ~np.isnan(per_class)
    return np.where(defined, per_class, 0).sum(1) / np.maximum(defined.sum(1), 1)


def operating_point(
    matches: Matches, confidence: float, frames: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Hits, reports and truth by class ``[classes]`` at a confidence and IoU 0.5.

    Args:
        matches: from ``match_frames``.
        confidence: the threshold from which the edge reports.
        frames: ``[frames]``, which to count; None counts all.
    """
    classes = matches.truth.shape[1]
    counted = np.ones(len(matches.truth), bool) if frames is None else frames
    reported = (matches.confidence >= confidence) & counted[matches.frame]
    reports = np.bincount(matches.class_id[reported], minlength=classes)
    hits = np.bincount(matches.class_id[reported & matches.correct[:, 0]], minlength=classes)
    return hits, reports, matches.truth[counted].sum(0)


def bootstrap_weights(groups: Sequence[str], resamples: int, seed: int) -> NDArray[np.float64]:
    """How often each frame counts in each resample: groups are drawn with replacement.

    Args:
        groups: group of each frame.
        resamples: number of resamples.
        seed: the same seed gives the same weights, so that two models are compared on the same draws.

    Returns:
        ``[resamples, frames]``.
    """
    _, member = np.unique(np.asarray(groups), return_inverse=True)
    if member.max(initial=-1) + 1 < MIN_GROUPS:
        member = np.arange(len(groups))
    count = int(member.max(initial=-1)) + 1
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    return draws[:, member].astype(float)


def interval(samples: NDArray[np.floating], level: float) -> tuple[float, float]:
    """The percentile interval of bootstrap samples."""
    tail = (1 - level) / 2
    low, high = np.quantile(samples, [tail, 1 - tail])
    return float(low), float(high)
