"""Average precision, recall and their uncertainty, from boxes. Pure numpy: no model, no picture, no torch.

Precision and recall follow COCO's matching (most confident first, one truth once) and 101-point interpolation in
ultralytics' form (a perfect model has 0.995). The
uncertainty is a bootstrap over groups of near-duplicate frames: ten frames of one part are one piece of evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
_RECALL_GRID = np.linspace(0, 1, 101)
_BLOCK = 4_000_000
"""Cells of the largest intermediate array: bounds memory on large test sets."""

MIN_GROUPS = 10
"""With fewer groups than this single frames are drawn: a handful of groups has no distribution to speak of."""


@dataclass(frozen=True)
class FrameBoxes:
    """Boxes of one frame.

    Attributes:
        xyxy: float ``[n, 4]``, pixels.
        class_id: int ``[n]``.
        confidence: float ``[n]``; ones for truth.
    """

    xyxy: NDArray[np.floating]
    class_id: NDArray[np.integer]
    confidence: NDArray[np.floating]


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


def iou_matrix(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Intersection over union of ``[n, 4]`` and ``[m, 4]`` xyxy boxes: ``[n, m]``."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(2)
    area_a, area_b = (a[:, 2:] - a[:, :2]).prod(1), (b[:, 2:] - b[:, :2]).prod(1)
    return shared / np.maximum(area_a[:, None] + area_b[None] - shared, 1e-12)


def match_frame(found: FrameBoxes, truth: FrameBoxes) -> NDArray[np.bool_]:
    """Which predictions are right: ``[n, 10]``, rows in the order of ``found``.

    A truth box goes to the most confident prediction of its class that overlaps it enough; a prediction takes the free
    truth box that it overlaps most.
    """
    correct = np.zeros((len(found.confidence), len(IOU_THRESHOLDS)), bool)
    if not len(found.confidence) or not len(truth.class_id):
        return correct
    overlap = iou_matrix(found.xyxy, truth.xyxy)
    overlap[found.class_id[:, None] != truth.class_id[None]] = 0
    order = [i for i in np.argsort(-found.confidence, kind="stable") if overlap[i].max() >= IOU_THRESHOLDS[0]]
    for column, threshold in enumerate(IOU_THRESHOLDS):
        free = np.ones(len(truth.class_id), bool)
        for i in order:
            candidates = np.where(free, overlap[i], 0)
            best = int(candidates.argmax())
            if candidates[best] >= threshold:
                free[best] = False
                correct[i, column] = True
    return correct


def match(found: Sequence[FrameBoxes], truth: Sequence[FrameBoxes], classes: int) -> Matches:
    """Match the predictions of a test set, frame by frame.

    Args:
        found: predictions by frame.
        truth: truth by frame, in the same order.
        classes: number of classes.
    """
    correct = [match_frame(f, t) for f, t in zip(found, truth, strict=True)]
    confidence = np.concatenate([np.asarray(f.confidence, float) for f in found] or [np.empty(0)])
    class_id = np.concatenate([np.asarray(f.class_id, np.int64) for f in found] or [np.empty(0, np.int64)])
    frame = np.repeat(np.arange(len(found)), [len(f.confidence) for f in found])
    order = np.argsort(-confidence, kind="stable")
    counts = np.stack([np.bincount(np.asarray(t.class_id, np.int64), minlength=classes) for t in truth])
    return Matches(confidence[order], class_id[order], frame[order], np.concatenate(correct)[order], counts)


def average_precision(
    matches: Matches, weights: NDArray[np.floating] | None = None, *, thresholds: int = 10
) -> NDArray[np.float64]:
    """AP by class and IoU threshold, for one or many weightings of the frames.

    Args:
        matches: from ``match``.
        weights: ``[r, frames]``, how often each frame counts; None counts each once.
        thresholds: how many of the IoU thresholds, from the lowest.

    Returns:
        ``[r, classes, thresholds]``; NaN where a class has no truth, which proves nothing either way.
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
        # Where nothing that counts was reported yet nothing was wrong either: as if the rows were not there.
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
    known = ~np.isnan(per_class)
    return np.where(known, per_class, 0).sum(1) / np.maximum(known.sum(1), 1)


def operating_point(
    matches: Matches, confidence: float, frames: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Hits, reports and truth by class ``[classes]`` at a confidence and IoU 0.5.

    Args:
        matches: from ``match``.
        confidence: what the edge reports from.
        frames: ``[frames]``, which to count; None counts all.
    """
    classes = matches.truth.shape[1]
    kept = np.ones(len(matches.truth), bool) if frames is None else frames
    shown = (matches.confidence >= confidence) & kept[matches.frame]
    reports = np.bincount(matches.class_id[shown], minlength=classes)
    hits = np.bincount(matches.class_id[shown & matches.correct[:, 0]], minlength=classes)
    return hits, reports, matches.truth[kept].sum(0)


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
