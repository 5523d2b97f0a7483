"""Which labels may be wrong: what a model reports against what people marked, and one round of labels against another.

    overlooked   the model reports an object where nobody marked one
    swapped      the model reports another class where an object is marked
    misplaced    the model reports the class, and its box lies elsewhere than such boxes usually do

The score is how sure the model is, times how often it is right when it is so sure, times how far the label is from it;
both are learnt from the labels themselves, most of which are right. Two classes that the model often takes for each
other are its own weakness, and each such doubt counts less for every other one. Pure: no store, no model. Does not
belong here: running the model and asking people (``review``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from yolo_assets.vision.detections import Detections
from yolo_assets.vision.matching import iou_matrix, match

SuspectKind = Literal["overlooked", "swapped", "misplaced"]

LOWEST_CONFIDENCE = 0.05
"""From here on a model's reports count; where they lie below its operating point they count little."""

SAME_PLACE = 0.5
"""IoU from which two boxes are of one object."""

NEAR = 1.5
"""A box is a misplaced one when its centre is no farther away than so many times its longer side."""

_TOUCHING = 0.3
"""A report that overlaps a label so far, of whatever class, is no overlooked object."""
_PLACED_WRONG = (4.0, 10.0)
"""From so many times the usual scatter a box lies badly, and from the second on certainly."""
_LEAST_SCATTER = 0.02
_NEIGHBOURS = 40
"""Reports of about the same confidence that tell how often the model is right when it is so sure."""
_BOTH = 2
"""How fast a swap loses its score with the confidence of the model in the label as it is."""
_SHIFTED = (0.1, 0.3)
"""From so many of its sides a box's centre is off, and from the second on certainly; models place centres well."""
_OTHER_SIZE = (2.5, 5.0)
"""The same for how many times larger or smaller it is: how thin an object is drawn is a matter of taste."""
_UNCONFIRMED = 0.7
"""Power of a score below 1: no report where the label is, and one beside it, are two signs."""
_SLIPS = 0.01
"""Share of the labels of a class that people may take for one certain other class."""
_OTHER_ROUND = 0.35
"""Score where rounds of labels differ and no model has a say."""


@dataclass(frozen=True)
class LabelSuspicion:
    """One thing in the labels of one image that may be wrong.

    Attributes:
        image: position of the image.
        kind: what may be wrong.
        score: how sure that is, 0 to 1.
        label: position of the label; None where one is missing.
        report: position of the model's report; None where only rounds differ.
        earlier: position of the box in the earlier round; None without.
    """

    image: int
    kind: SuspectKind
    score: float
    label: int | None
    report: int | None
    earlier: int | None = None


def suspicions(
    labels: Sequence[Detections],
    reports: Sequence[Detections],
    earlier: Mapping[int, Detections] | None = None,
) -> list[LabelSuspicion]:
    """Everything that may be wrong, the surest first; a box or place is named once.

    Args:
        labels: of each image, as they count now.
        reports: of each image, from a model at ``LOWEST_CONFIDENCE``, classes numbered as in ``labels``; without any
            only rounds are compared.
        earlier: image to its labels of the round before, where it has one that differs.
    """
    compared = [_Compared.of(*pair) for pair in zip(labels, reports, strict=True)]
    trust, scatter = _trust(compared), _scatter(compared)
    found: list[LabelSuspicion] = []
    has_model = any(len(one) for one in reports)
    for image, one in enumerate(compared):
        of_image = _of_image(image, one, trust[image], scatter)
        before = (earlier or {}).get(image)
        found += of_image if before is None else _with_rounds(image, one, of_image, before, has_model)
    found = _without_confusion(found, compared)
    return sorted(found, key=lambda one: (-one.score, one.image, one.kind, one.label or 0, one.report or 0))


def two_looks(one: Detections, other: Detections) -> Detections:
    """What a model reports in a picture that it looked at twice, for example once mirrored.

    What both looks report is one box in between, as sure as both on average; what one alone reports is half as sure.

    Args:
        one: ``[n]``.
        other: ``[m]``, in the pixels of the first.
    """
    iou = iou_matrix(one.xyxy.astype(np.float64), other.xyxy.astype(np.float64))
    same = one.class_id[:, None] == other.class_id
    order = np.argsort(-one.confidence, kind="stable")
    partner = np.full(len(one), -1, np.intp)
    partner[order] = match(np.where(same, iou, 0.0)[order], SAME_PLACE)
    both = np.flatnonzero(partner >= 0)
    boxes, sure = one.xyxy.astype(np.float64), one.confidence.astype(np.float64) / 2
    ours, theirs = one.confidence[both, None], other.confidence[partner[both], None]
    boxes[both] = (boxes[both] * ours + other.xyxy[partner[both]] * theirs) / (ours + theirs)
    sure[both] += other.confidence[partner[both]] / 2
    rest = np.setdiff1d(np.arange(len(other)), partner[both])
    return Detections.of(
        np.concatenate([boxes, other.xyxy[rest]]),
        np.concatenate([one.class_id, other.class_id[rest]]),
        np.concatenate([sure, other.confidence[rest] / 2]),
    )


@dataclass(frozen=True)
class _Compared:
    """Labels and reports of one image.

    Attributes:
        labels: ``[m]``.
        reports: ``[n]``.
        iou: ``[n, m]``.
        same: ``[n, m]``, of one class.
        partner: ``[n]``, the label of the same class in the same place; -1 without one.
    """

    labels: Detections
    reports: Detections
    iou: NDArray[np.float64]
    same: NDArray[np.bool_]
    partner: NDArray[np.intp]

    @classmethod
    def of(cls, labels: Detections, reports: Detections) -> _Compared:
        iou = iou_matrix(reports.xyxy.astype(np.float64), labels.xyxy.astype(np.float64))
        same = reports.class_id[:, None] == labels.class_id
        order = np.argsort(-reports.confidence, kind="stable")
        partner = np.full(len(reports), -1, np.intp)
        partner[order] = match(np.where(same, iou, 0.0)[order], SAME_PLACE)
        return cls(labels, reports, iou, same, partner)


def _trust(compared: Sequence[_Compared]) -> list[NDArray[np.float64]]:
    """Of each report the share of reports of its class and about its confidence that have a label: ``[n]`` an image."""
    counts = [len(one.reports) for one in compared]
    if not sum(counts):
        return [np.empty(0) for _ in compared]
    classes = np.concatenate([one.reports.class_id for one in compared])
    confidence = np.concatenate([one.reports.confidence for one in compared])
    right = np.concatenate([one.partner >= 0 for one in compared]).astype(np.float64)
    trust = np.zeros(len(right))
    for kind in np.unique(classes):
        rows = np.flatnonzero(classes == kind)
        rows = rows[np.argsort(confidence[rows], kind="stable")]
        total = np.concatenate([[0.0], np.cumsum(right[rows])])
        low = np.clip(np.arange(len(rows)) - _NEIGHBOURS // 2, 0, max(len(rows) - _NEIGHBOURS, 0))
        high = np.minimum(low + _NEIGHBOURS, len(rows))
        # Surer is never trusted less: single wrong labels must not hide those like them.
        trust[rows] = np.maximum.accumulate((total[high] - total[low] + 1) / (high - low + 2))
    return list(np.split(trust, np.cumsum(counts)[:-1]))


def _scatter(compared: Sequence[_Compared]) -> dict[int, tuple[float, float]]:
    """Median and spread of the IoU of labels and confident reports by class: where such boxes usually lie."""
    found: dict[int, list[float]] = {}
    for one in compared:
        for report in np.flatnonzero(one.partner >= 0):
            found.setdefault(int(one.reports.class_id[report]), []).append(float(one.iou[report, one.partner[report]]))
    every = [value for values in found.values() for value in values]

    def figures(values: Sequence[float]) -> tuple[float, float]:
        median = float(np.median(values))
        return median, max(1.4826 * float(np.median(np.abs(np.asarray(values) - median))), _LEAST_SCATTER)

    return {kind: figures(values if len(values) >= 10 else every) for kind, values in found.items()}


def _of_image(
    image: int, one: _Compared, trust: NDArray[np.float64], scatter: Mapping[int, tuple[float, float]]
) -> list[LabelSuspicion]:
    found: list[LabelSuspicion] = []
    weight = one.reports.confidence.astype(np.float64) * trust
    agreed = np.zeros(len(one.labels))
    """How sure the model is of each label as it is."""
    near = np.where(one.same & (one.iou >= SAME_PLACE), one.reports.confidence[:, None], 0.0)
    if near.size:
        agreed = near.max(axis=0)
    explained = one.partner >= 0
    doubted = np.zeros(len(one.labels), bool)
    for label in range(len(one.labels)):
        others = np.flatnonzero(~one.same[:, label] & (one.iou[:, label] >= SAME_PLACE) & ~explained)
        if not len(others):
            continue
        report = int(others[weight[others].argmax()])
        explained[others] = True
        if one.reports.confidence[report] > agreed[label]:
            doubted[label] = True
            # A model that confuses two classes reports both; of a label that is wrong it knows only the right one.
            sure = float(1 - agreed[label] / one.reports.confidence[report]) ** _BOTH
            found.append(LabelSuspicion(image, "swapped", float(weight[report]) * sure, label, report))
    for report in np.flatnonzero(one.partner >= 0):
        label = int(one.partner[report])
        median, spread = scatter[int(one.reports.class_id[report])]
        low, high = _PLACED_WRONG
        wrong = float(np.clip(((median - one.iou[report, label]) / spread - low) / (high - low), 0, 1))
        wrong *= _off(one, int(report), label)
        if wrong > 0 and not doubted[label]:
            doubted[label] = True
            found.append(LabelSuspicion(image, "misplaced", float(weight[report]) * wrong, label, int(report)))
    confirmed = np.zeros(len(one.labels), bool)
    confirmed[one.partner[one.partner >= 0]] = True
    for report in np.argsort(-weight, kind="stable"):
        if explained[report] or weight[report] <= 0:
            continue
        if any(_overlap(one.reports, int(report), int(other)) >= SAME_PLACE for other in np.flatnonzero(explained)):
            explained[report] = True  # the second box of an object that is accounted for
            continue
        explained[report] = True
        label = _displaced(one, int(report), confirmed | doubted)
        if label is not None:
            doubted[label] = True
            score = float(weight[report]) ** _UNCONFIRMED * _off(one, int(report), label)
            if score > 0:
                found.append(LabelSuspicion(image, "misplaced", score, label, int(report)))
        elif not len(one.labels) or one.iou[report].max() < _TOUCHING:
            found.append(LabelSuspicion(image, "overlooked", float(weight[report]), None, int(report)))
    return found


def _displaced(one: _Compared, report: int, taken: NDArray[np.bool_]) -> int | None:
    """The nearest label of the report's class that nothing confirms and that may be meant for the same object."""
    x1, y1, x2, y2 = one.reports.xyxy[report].astype(np.float64)
    boxes = one.labels.xyxy.astype(np.float64)
    centres = np.stack([boxes[:, 0] + boxes[:, 2], boxes[:, 1] + boxes[:, 3]], axis=1) / 2
    far = np.linalg.norm(centres - [(x1 + x2) / 2, (y1 + y2) / 2], axis=1)
    open_ = one.same[report] & ~taken & (far <= NEAR * max(x2 - x1, y2 - y1))
    return int(np.where(open_, far, np.inf).argmin()) if open_.any() else None


def _off(one: _Compared, report: int, label: int) -> float:
    """How surely a box lies elsewhere than the report, or is of another size: 0 to 1."""
    boxes = np.stack([one.reports.xyxy[report], one.labels.xyxy[label]]).astype(np.float64)
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1.0)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    shifted = float((np.abs(centres[0] - centres[1]) / sides.mean(axis=0)).max())
    larger = abs(float(np.log(sides[0].prod() / sides[1].prod())))
    low, high = np.log(_OTHER_SIZE)
    signs = ((shifted - _SHIFTED[0]) / (_SHIFTED[1] - _SHIFTED[0]), (larger - low) / (high - low))
    return float(np.clip(max(signs), 0, 1))


def _without_confusion(found: Sequence[LabelSuspicion], compared: Sequence[_Compared]) -> list[LabelSuspicion]:
    """Swaps count less, the more others of the same two classes there are beyond what people's slips explain."""

    def pair(one: LabelSuspicion) -> tuple[int, int] | None:
        if one.kind != "swapped" or one.label is None or one.report is None:
            return None
        sides = compared[one.image]
        return int(sides.labels.class_id[one.label]), int(sides.reports.class_id[one.report])

    of_pair: dict[tuple[int, int], float] = {}
    for one in found:
        if (classes := pair(one)) is not None:
            of_pair[classes] = of_pair.get(classes, 0.0) + one.score
    labels = Counter(int(kind) for one in compared for kind in one.labels.class_id)

    def others(one: LabelSuspicion, classes: tuple[int, int]) -> float:
        return max(of_pair[classes] - one.score - _SLIPS * labels[classes[0]], 0.0)

    return [
        replace(one, score=one.score / (1 + others(one, classes))) if (classes := pair(one)) else one for one in found
    ]


def _overlap(boxes: Detections, first: int, second: int) -> float:
    pair = boxes.xyxy[[first, second]].astype(np.float64)
    return float(iou_matrix(pair[:1], pair[1:])[0, 0])


def _with_rounds(
    image: int, one: _Compared, found: list[LabelSuspicion], before: Detections, has_model: bool
) -> list[LabelSuspicion]:
    """Surer where the earlier round agrees with the model; where it has no say, what the rounds differ in comes too."""
    iou = iou_matrix(before.xyxy.astype(np.float64), one.labels.xyxy.astype(np.float64))
    same = before.class_id[:, None] == one.labels.class_id
    kept = match(np.where(same, iou, 0.0), SAME_PLACE) >= 0
    told = list(found)
    for box in np.flatnonzero(~kept):
        overlap = iou[box] if iou.size else np.empty(0)
        label = int(overlap.argmax()) if len(overlap) and overlap.max() >= _TOUCHING else None
        kind: SuspectKind = "overlooked"
        if label is not None:
            kind = "misplaced" if same[box, label] else "swapped"
        agrees = [place for place, doubt in enumerate(told) if _says(one, doubt, before, int(box))]
        for place in agrees:
            doubt = told[place]
            told[place] = replace(doubt, score=1 - (1 - doubt.score) * (1 - _OTHER_ROUND), earlier=int(box))
        # A correction that the model agrees with is settled: the label that it reports, the box that it does not.
        settled = has_model and (label is None or label in one.partner)
        if not agrees and not settled and not any(doubt.label == label is not None for doubt in told):
            told.append(LabelSuspicion(image, kind, _OTHER_ROUND, label, None, int(box)))
    return told


def _says(one: _Compared, doubt: LabelSuspicion, before: Detections, box: int) -> bool:
    """Whether the report behind a suspicion is the box of the earlier round."""
    if doubt.report is None or one.reports.class_id[doubt.report] != before.class_id[box]:
        return False
    pair = np.stack([one.reports.xyxy[doubt.report], before.xyxy[box]]).astype(np.float64)
    return bool(iou_matrix(pair[:1], pair[1:])[0, 0] >= SAME_PLACE)
