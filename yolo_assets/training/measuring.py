"""From matched predictions to the figures that the gate reads: one model's, and what changes between two.

Belongs here: arithmetic on matches, so that simulations judge by the very same functions. Does not belong here: running
models, records with names and times, plots (``evaluate``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.evaluation import Changes, ClassChange, ClassResult, PairedChange
from yolo_assets.contracts.model import Interval
from yolo_assets.training.accuracy import (
    Influence,
    Matches,
    Units,
    average_precision,
    influence,
    mean_ap,
    operating_point,
    reported,
    standard_error,
)


@dataclass(frozen=True)
class Measured:
    """One model's figures with the influence of each unit on them.

    Attributes:
        matches: predictions against truth.
        units: of the test set.
        names: of the classes of the test set, by id.
        knows: bool ``[classes]``, which of them the model knows.
        confidence: float ``[classes]``, its operating thresholds.
        ap: float ``[classes, 10]``.
        influence: by unit.
    """

    matches: Matches
    units: Units
    names: Sequence[str]
    knows: NDArray[np.bool_]
    confidence: NDArray[np.float64]
    ap: NDArray[np.float64]
    influence: Influence

    @classmethod
    def of(
        cls,
        matches: Matches,
        units: Units,
        names: Sequence[str],
        confidence: NDArray[np.float64],
        knows: NDArray[np.bool_] | None = None,
    ) -> Measured:
        """Measure; ``knows`` is None for a model that knows every class."""
        known = np.ones(len(names), bool) if knows is None else knows
        return cls(
            matches,
            units,
            names,
            known,
            confidence,
            average_precision(matches),
            influence(matches, units, confidence),
        )

    @property
    def occurs(self) -> NDArray[np.bool_]:
        """Which classes ``[classes]`` have truth."""
        return self.matches.truth.sum(axis=0) > 0

    def map50(self, level: float) -> Interval:
        """mAP50 over the classes that it knows and that occur."""
        return self._mean_ap(self.ap[:, :1], self.influence.ap50, level)

    def map50_95(self, level: float) -> Interval:
        """mAP50-95, likewise."""
        return self._mean_ap(self.ap, self.influence.ap50_95, level)

    def _mean_ap(self, ap: NDArray[np.float64], moved: NDArray[np.float64], level: float) -> Interval:
        counted = self.occurs & self.knows
        value = mean_ap(ap[counted]) if counted.any() else 0.0
        return share_interval(value, standard_error(moved[counted].sum(axis=0) / max(counted.sum(), 1)), level)

    def classes(self, level: float) -> dict[str, ClassResult]:
        """Every class that occurs; one that the model does not know is never found."""
        hits, reports, truth = operating_point(self.matches, self.confidence)
        owners = self.matches.truth_class
        said = reported(self.matches, self.confidence)
        unit = self.units.of_prediction(self.matches)
        good = self.matches.truth.sum(axis=1) == 0
        seen = self.matches.found[said & self.matches.correct[:, 0]]
        result: dict[str, ClassResult] = {}
        for c in np.flatnonzero(self.occurs).tolist():
            objects = np.unique(self.units.of_truth[owners == c])
            of_class = self.matches.class_id == c
            recall = float(hits[c] / truth[c])
            precision = float(hits[c] / reports[c]) if reports[c] else 1.0
            alarms = int((said & of_class & good[self.matches.frame]).sum())
            result[self.names[c]] = ClassResult(
                truth=int(truth[c]),
                ap50=float(np.clip(self.ap[c, 0], 0, 1)),
                recall=recall,
                precision=precision,
                objects=len(objects),
                reported=len(np.unique(unit[said & of_class])),
                recall_by_object=len(np.unique(self.units.of_truth[seen[owners[seen] == c]])) / len(objects),
                recall_interval=share_interval(recall, standard_error(self.influence.recall[c]), level),
                precision_interval=share_interval(precision, standard_error(self.influence.precision[c]), level),
                threshold=float(self.confidence[c]),
                false_alarms=1000 * alarms / int(good.sum()) if good.any() else None,
            )
        return result

    def false_alarms(self) -> tuple[float | None, int, int]:
        """Reports for each 1,000 frames without an object (None without such frames), these frames, their units."""
        good = self.matches.truth.sum(axis=1) == 0
        if not good.any():
            return None, 0, 0
        alarms = int((reported(self.matches, self.confidence) & good[self.matches.frame]).sum())
        return 1000 * alarms / int(good.sum()), int(good.sum()), len(np.unique(self.units.of_frame[good]))

    def recall_on(self, frames: NDArray[np.bool_]) -> float | None:
        """Recall over some frames ``[frames]``; None where they hold no truth."""
        hits, _, truth = operating_point(self.matches, self.confidence, frames)
        return float(hits.sum() / truth.sum()) if truth.sum() else None

    def found_in(self) -> NDArray[np.int64]:
        """How many objects it finds in each frame, at its operating thresholds: ``[frames]``."""
        right = reported(self.matches, self.confidence) & self.matches.correct[:, 0]
        return np.bincount(self.matches.frame[right], minlength=len(self.matches.truth))

    def found_by_unit(self, frames: NDArray[np.bool_]) -> NDArray[np.float64]:
        """How much each unit adds to the recall over some frames: ``[units]``."""
        right = reported(self.matches, self.confidence) & self.matches.correct[:, 0] & frames[self.matches.frame]
        truth = max(int(self.matches.truth[frames].sum()), 1)
        return np.bincount(self.units.of_truth[self.matches.found[right]], minlength=self.units.count) / truth


def gain_over(candidate: Measured, reference: Measured, level: float) -> Interval:
    """Gain in mAP50 over the classes that both know, paired by unit."""
    both = candidate.occurs & candidate.knows & reference.knows
    if not both.any():
        return Interval(value=0, low=-1, high=1, level=level)
    value = mean_ap(candidate.ap[both, :1]) - mean_ap(reference.ap[both, :1])
    moved = (candidate.influence.ap50[both] - reference.influence.ap50[both]).sum(axis=0) / both.sum()
    reach = standard_error(moved) * NormalDist().inv_cdf((1 + level) / 2)
    return Interval(value=value, low=max(value - reach, -1.0), high=min(value + reach, 1.0), level=level)


def changes_against(
    candidate: Measured,
    reference: Measured,
    hard: NDArray[np.bool_] | None = None,
) -> Changes:
    """What the candidate does otherwise than a reference.

    Args:
        candidate: measured on the same frames.
        reference: the champion or the anchor.
        hard: ``[frames]``, which are marked hard; None for none.
    """
    both = candidate.occurs & candidate.knows & reference.knows
    ours, theirs = candidate.classes(0.95), reference.classes(0.95)
    classes: dict[str, ClassChange] = {}
    for c in np.flatnonzero(both).tolist():
        name = candidate.names[c]
        changes = {
            figure: PairedChange(
                value=getattr(ours[name], figure) - getattr(theirs[name], figure),
                se=standard_error(getattr(candidate.influence, figure)[c] - getattr(reference.influence, figure)[c]),
            )
            for figure in ("ap50", "recall", "precision")
        }
        classes[name] = ClassChange(**changes)
    on_hard = None
    if hard is not None and candidate.matches.truth[hard].any():
        moved = candidate.found_by_unit(hard) - reference.found_by_unit(hard)
        on_hard = PairedChange(value=float(moved.sum()), se=standard_error(moved))
    return Changes(classes=classes, hard_recall=on_hard)


def share_interval(value: float, se: float, level: float) -> Interval:
    """The interval of a share, inside 0 to 1."""
    reach = se * NormalDist().inv_cdf((1 + level) / 2)
    return Interval(value=value, low=max(value - reach, 0.0), high=min(value + reach, 1.0), level=level)
