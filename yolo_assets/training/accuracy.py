"""Average precision, recall, precision and their uncertainty, from detections. Pure numpy: no model, no picture.

Matching and average precision are COCO's, ties and all: most confident first, one truth once, at most 100 predictions
of a class in a frame, precision sampled at 101 recalls. The uncertainty comes from influence functions: by how much
each independent unit, an object or a group of near-duplicate frames, moves a figure. The difference of two models is
the difference of their influences on the same units, so what is easy or hard for both cancels out, and what was seen
five times counts once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from yolo_assets.vision.detections import Detections
from yolo_assets.vision.matching import iou_matrix, iou_of_pairs, match

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
_RECALLS = np.linspace(0, 1, 101)
_MOST = 100
"""Predictions of a class in a frame that count: COCO's ``maxDets``."""


@dataclass(frozen=True)
class Boxes:
    """The boxes of many frames in one set of arrays.

    Attributes:
        xyxy: float ``[n, 4]``.
        class_id: int ``[n]``.
        confidence: float ``[n]``; ones for truth.
        frame: int ``[n]``, index of the frame, not falling.
    """

    xyxy: NDArray[np.float64]
    class_id: NDArray[np.int64]
    confidence: NDArray[np.float64]
    frame: NDArray[np.int64]

    @classmethod
    def of(cls, frames: Sequence[Detections]) -> Boxes:
        """From the detections of each frame."""
        if not frames:
            return cls(np.empty((0, 4)), np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64))
        return cls(
            np.concatenate([frame.xyxy for frame in frames]).astype(np.float64),
            np.concatenate([frame.class_id for frame in frames]).astype(np.int64),
            np.concatenate([frame.confidence for frame in frames]).astype(np.float64),
            np.repeat(np.arange(len(frames)), [len(frame) for frame in frames]),
        )


@dataclass(frozen=True)
class Matches:
    """Predictions over a test set, most confident first, and the truth they were matched with.

    Attributes:
        confidence: float ``[n]``, falling.
        class_id: int ``[n]``.
        frame: int ``[n]``, index of the frame.
        correct: bool ``[n, 10]``, by IoU threshold.
        found: int ``[n]``, the truth box that a prediction takes at IoU 0.5; -1 for none.
        truth: int ``[frames, classes]``, number of truth boxes.
        truth_class: int ``[m]``, of each truth box.
        truth_frame: int ``[m]``.
    """

    confidence: NDArray[np.float64]
    class_id: NDArray[np.int64]
    frame: NDArray[np.int64]
    correct: NDArray[np.bool_]
    found: NDArray[np.int64]
    truth: NDArray[np.int64]
    truth_class: NDArray[np.int64]
    truth_frame: NDArray[np.int64]


def match_frames(predictions: Sequence[Detections], truth: Sequence[Detections], classes: int) -> Matches:
    """Match the predictions of a test set, frame by frame.

    Args:
        predictions: by frame.
        truth: truth by frame, in the same order.
        classes: number of classes.
    """
    return match_boxes(Boxes.of(predictions), Boxes.of(truth), len(truth), classes)


def match_boxes(predictions: Boxes, truth: Boxes, frames: int, classes: int) -> Matches:
    """Match the predictions of a test set, all frames at once.

    A truth box goes to the most confident prediction of its class that overlaps it enough; a prediction takes the free
    truth box that it overlaps most, of equal ones the last, as COCO does.

    Args:
        predictions: of one model.
        truth: what is there.
        frames: number of frames.
        classes: number of classes.
    """
    order = np.argsort(-predictions.confidence, kind="stable")
    cell = predictions.frame[order] * classes + predictions.class_id[order]
    rank = _rank_within(cell)
    order, cell = order[rank < _MOST], cell[rank < _MOST]
    by_cell = np.argsort(truth.frame * classes + truth.class_id, kind="stable")
    cells = (truth.frame * classes + truth.class_id)[by_cell]
    first, last = np.searchsorted(cells, cell), np.searchsorted(cells, cell, side="right")
    count = last - first
    row = np.repeat(np.arange(len(order)), count)
    column = by_cell[np.repeat(first - np.cumsum(count) + count, count) + np.arange(count.sum())]
    overlap = iou_of_pairs(predictions.xyxy[order[row]], truth.xyxy[column])
    near = overlap >= IOU_THRESHOLDS[0]
    row, column, overlap = row[near], column[near], overlap[near]
    correct = np.zeros((len(order), len(IOU_THRESHOLDS)), bool)
    found = np.full(len(order), -1, np.int64)
    for number, threshold in enumerate(IOU_THRESHOLDS):
        enough = overlap >= threshold
        rows, columns = _greedy(row[enough], column[enough], overlap[enough], cell, len(truth.frame))
        correct[rows, number] = True
        if number == 0:
            found[rows] = columns
    counts = np.zeros((frames, classes), np.int64)
    np.add.at(counts, (truth.frame, truth.class_id), 1)
    return Matches(
        predictions.confidence[order],
        predictions.class_id[order],
        predictions.frame[order],
        correct,
        found,
        counts,
        truth.class_id,
        truth.frame,
    )


def _rank_within(cell: NDArray[np.int64]) -> NDArray[np.int64]:
    """The position ``[n]`` of each row among those of its cell."""
    order = np.argsort(cell, kind="stable")
    ordered = cell[order]
    start = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1]))) if len(cell) else np.empty(0, int)
    rank = np.empty(len(cell), np.int64)
    rank[order] = np.arange(len(cell)) - np.repeat(start, np.diff(np.append(start, len(cell))))
    return rank


def _greedy(
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    overlap: NDArray[np.float64],
    cell: NDArray[np.int64],
    truths: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give each row in turn the free column it overlaps most; cells do not touch each other, so all go at once.

    Args:
        row: of each pair, ``[p]``; rows are ranked by confidence.
        column: of each pair.
        overlap: of each pair.
        cell: of each row, its frame and class.
        truths: number of columns.

    Returns:
        Rows and the columns they took.
    """
    rows: list[NDArray[np.int64]] = []
    columns: list[NDArray[np.int64]] = []
    taken = np.zeros(truths, bool)
    # By cell, then by rank of the row, then the best last of each row.
    order = np.lexsort((column, overlap, row, cell[row]))
    row, column = row[order], column[order]
    while len(row):
        of_cell = cell[row]
        begins = np.concatenate(([True], of_cell[1:] != of_cell[:-1]))
        leader = row[begins][np.cumsum(begins) - 1]  # the most confident row that is left in each pair's cell
        leading = row == leader
        ends = np.concatenate((row[1:] != row[:-1], [True]))
        best = leading & ends
        rows.append(row[best])
        columns.append(column[best])
        taken[column[best]] = True
        stays = ~leading & ~taken[column]
        row, column = row[stays], column[stays]
    empty = np.empty(0, np.int64)
    return np.concatenate(rows or [empty]), np.concatenate(columns or [empty])


def confusion_counts(
    predictions: Sequence[Detections], truth: Sequence[Detections], classes: int, confidence: ArrayLike
) -> NDArray[np.int64]:
    """Which class was reported as which, at IoU 0.5: ``[classes + 1, classes + 1]``, rows truth, columns reported.

    The last row counts reports of nothing, the last column missed objects. ``confidence`` is one threshold, or one a
    class.
    """
    counts = np.zeros((classes + 1, classes + 1), np.int64)
    limits = np.broadcast_to(np.asarray(confidence, np.float64), classes)
    for frame, labels in zip(predictions, truth, strict=True):
        reported = frame[frame.confidence >= limits[frame.class_id]]
        overlaps = iou_matrix(reported.xyxy.astype(np.float64), labels.xyxy.astype(np.float64))
        objects = match(overlaps, 0.5, first="pairs")
        actual = np.append(labels.class_id, classes)[objects]  # -1, without an object, takes the last
        np.add.at(counts, (actual, reported.class_id), 1)
        missed = np.setdiff1d(np.arange(len(labels)), objects)
        counts[:classes, classes] += np.bincount(labels.class_id[missed], minlength=classes)
    return counts


def average_precision(matches: Matches, *, thresholds: int = 10) -> NDArray[np.float64]:
    """AP by class and IoU threshold, as COCO computes it.

    Args:
        matches: from ``match_boxes``.
        thresholds: how many of the IoU thresholds, from the lowest.

    Returns:
        ``[classes, thresholds]``; NaN where a class has no truth.
    """
    truth = matches.truth.sum(axis=0)
    result = np.full((len(truth), thresholds), np.nan)
    for c in np.flatnonzero(truth):
        hits = np.cumsum(matches.correct[matches.class_id == c, :thresholds], axis=0)
        reports = np.arange(1, len(hits) + 1)[:, None]
        precision = np.maximum.accumulate((hits / (reports + np.spacing(1)))[::-1], axis=0)[::-1]
        for t in range(thresholds):
            position = np.searchsorted(hits[:, t] / truth[c], _RECALLS)
            result[c, t] = np.append(precision[:, t], 0.0)[position].mean()
    return result


def mean_ap(ap: NDArray[np.float64]) -> float:
    """Mean of AP ``[classes, thresholds]`` over the classes that have truth; 0 where none has."""
    defined = ~np.isnan(ap).any(axis=1)
    return float(ap[defined].mean()) if defined.any() else 0.0


def ultralytics_map50(matches: Matches, counted: NDArray[np.bool_]) -> float:
    """mAP50 as Ultralytics computes it: the area under 101 points of the linear curve; for the record beside COCO's.

    Args:
        matches: from ``match_boxes``.
        counted: bool ``[classes]``, over which to take the mean; those without truth never count.
    """
    truth = matches.truth.sum(axis=0)
    areas: list[float] = []
    for c in np.flatnonzero((truth > 0) & counted):
        hits = np.cumsum(matches.correct[matches.class_id == c, 0])
        if not len(hits):
            areas.append(0.0)
            continue
        recall, precision = hits / truth[c], hits / np.arange(1, len(hits) + 1)
        x = np.concatenate(([0.0], recall, [recall[-1], 1.0]))
        y = np.concatenate(([1.0], np.maximum.accumulate(precision[::-1])[::-1], [0.0, 0.0]))
        areas.append(float(np.trapezoid(np.interp(_RECALLS, x, y), _RECALLS)))
    return float(np.mean(areas)) if areas else 0.0


def operating_point(
    matches: Matches, confidence: ArrayLike, frames: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Hits, reports and truth by class ``[classes]`` at a confidence and IoU 0.5.

    Args:
        matches: from ``match_boxes``.
        confidence: the threshold from which the edge reports, or one a class.
        frames: ``[frames]``, which to count; None counts all.
    """
    classes = matches.truth.shape[1]
    counted = np.ones(len(matches.truth), bool) if frames is None else frames
    said = reported(matches, confidence) & counted[matches.frame]
    reports = np.bincount(matches.class_id[said], minlength=classes)
    hits = np.bincount(matches.class_id[said & matches.correct[:, 0]], minlength=classes)
    return hits, reports, matches.truth[counted].sum(0)


def reported(matches: Matches, confidence: ArrayLike) -> NDArray[np.bool_]:
    """Which predictions ``[n]`` the edge would report, at one threshold or one a class."""
    limits = np.broadcast_to(np.asarray(confidence, np.float64), matches.truth.shape[1])
    return matches.confidence >= limits[matches.class_id]


@dataclass(frozen=True)
class Units:
    """The independent pieces of evidence of a test set, numbered.

    Attributes:
        count: how many there are.
        of_truth: int ``[m]``, of each truth box: its object.
        of_frame: int ``[frames]``: of what is reported there without an object: the frame's first object, else its
            group of near-duplicates.
    """

    count: int
    of_truth: NDArray[np.int64]
    of_frame: NDArray[np.int64]

    @classmethod
    def of(
        cls, groups: Sequence[str], objects: Sequence[str], truth_frame: NDArray[np.int64], *, by_object: bool
    ) -> Units:
        """Number objects where they are known, else groups of frames.

        Args:
            groups: of each frame: near-duplicates share one.
            objects: of each truth box; empty where it is not known.
            truth_frame: frame of each truth box.
            by_object: False counts groups of frames, whatever is known of objects.
        """
        names = [f"frames {group}" for group in groups]
        truth = [
            f"object {name}" if by_object and name else names[frame]
            for name, frame in zip(objects, truth_frame.tolist(), strict=True)
        ]
        for name, frame in zip(reversed(truth), reversed(truth_frame.tolist()), strict=True):
            names[frame] = name
        unique, member = np.unique(np.asarray([*truth, *names], dtype=str), return_inverse=True)
        return cls(len(unique), member[: len(truth)].astype(np.int64), member[len(truth) :].astype(np.int64))

    def of_prediction(self, matches: Matches) -> NDArray[np.int64]:
        """The unit ``[n]`` of each prediction: of the object that it found, else of its frame."""
        unit = self.of_frame[matches.frame]
        found = matches.found >= 0
        unit[found] = self.of_truth[matches.found[found]]
        return unit


@dataclass(frozen=True)
class Influence:
    """By how much each unit moves each figure of a model. Rows sum to 0.

    Attributes:
        ap50: float ``[classes, units]``; 0 where a class has no truth.
        ap50_95: float ``[classes, units]``.
        recall: float ``[classes, units]``, at the operating threshold.
        precision: float ``[classes, units]``.
    """

    ap50: NDArray[np.float64]
    ap50_95: NDArray[np.float64]
    recall: NDArray[np.float64]
    precision: NDArray[np.float64]


def influence(matches: Matches, units: Units, confidence: ArrayLike) -> Influence:
    """The derivative of each figure by the weight of each unit.

    Args:
        matches: of one model.
        units: of the test set.
        confidence: the operating threshold, or one a class.
    """
    classes = matches.truth.shape[1]
    truth = matches.truth.sum(axis=0)
    unit = units.of_prediction(matches)
    at_work = reported(matches, confidence)
    ap = np.zeros((classes, len(IOU_THRESHOLDS), units.count))
    recall, precision = np.zeros((classes, units.count)), np.zeros((classes, units.count))
    for c in np.flatnonzero(truth):
        rows = np.flatnonzero(matches.class_id == c)
        owned = np.bincount(units.of_truth[matches.truth_class == c], minlength=units.count) / truth[c]
        for t in range(len(IOU_THRESHOLDS)):
            moved = _ap_influence(matches.correct[rows, t], int(truth[c]))
            ap[c, t] = np.bincount(unit[rows], moved, units.count) - moved.sum() * owned
        rows = rows[at_work[rows]]
        hit = matches.correct[rows, 0].astype(float)
        recall[c] = np.bincount(unit[rows], hit / truth[c], units.count) - hit.sum() / truth[c] * owned
        if len(rows):
            precision[c] = np.bincount(unit[rows], (hit - hit.mean()) / len(rows), units.count)
    return Influence(ap[:, 0], ap.mean(axis=1), recall, precision)


def _ap_influence(correct: NDArray[np.bool_], truth: int) -> NDArray[np.float64]:
    """By how much each prediction ``[n]`` of a class moves the area under its curve; the sum is the area itself."""
    last = np.flatnonzero(correct)
    moved = np.zeros(len(correct))
    if not len(last):
        return moved
    hit = correct[: last[-1] + 1].astype(float)
    reports = np.arange(1, len(hit) + 1)
    precision = np.cumsum(hit) / reports
    # Precision at a recall is the best at it or beyond: `peak` is where that is reached.
    best = np.maximum.accumulate(precision[::-1])[::-1]
    is_peak = precision == best
    peak = np.minimum.accumulate(np.where(is_peak, np.arange(len(hit)), len(hit))[::-1])[::-1]
    share = np.bincount(peak, hit, len(hit)) / truth / reports
    up = np.cumsum(share[::-1])[::-1]
    down = np.cumsum((share * precision)[::-1])[::-1]
    moved[: len(hit)] = hit * best / truth + hit * up - down
    return moved


def standard_error(moved: NDArray[np.float64]) -> float:
    """The standard error of a figure, or of a difference, from its influence by unit ``[units]``."""
    count = int(np.count_nonzero(moved))
    return float(np.sqrt(np.square(moved).sum() * count / max(count - 1, 1)))
