"""Two models on the same frames: how far they agree, and whether one may take the other's place. Pure, no threads.

Both models see the very same pictures. So a scene that changes (another product, an empty belt, night) changes the
figures of both, and is never held against a candidate.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.model import ExpectedChange
from yolo_assets.vision.detections import Detections

SAME_IOU = 0.5
"""Boxes of one class that overlap so far are the same object."""
_SURE = 3.0  # standard errors between the means: about one in a thousand by chance
_BY_CHANCE = 10.0  # on so few boxes nothing is sure
_MIX_BOXES = 50  # a mix of classes means nothing on fewer boxes


@dataclass(frozen=True, eq=False)
class Seen:
    """What one model reported on one frame: class names, and boxes float32 ``[n, 4]`` xyxy in pixels."""

    classes: tuple[str, ...]
    xyxy: NDArray[np.float32]

    @classmethod
    def of_boxes(cls, boxes: Detections, class_names: Sequence[str]) -> Seen:
        """From a prediction."""
        names = tuple(class_names[int(number)] for number in boxes.class_id)
        return cls(names, boxes.xyxy)

    @classmethod
    def of_detections(cls, detections: Sequence[Mapping[str, Any]]) -> Seen:
        """From a record's detections."""
        xyxy = np.array([found["bbox"] for found in detections], np.float32).reshape(-1, 4)
        return cls(tuple(str(found["class"]) for found in detections), xyxy)


def matched(old: Seen, new: Seen) -> int:
    """How many objects both report: pairs of one class with an IoU of at least ``SAME_IOU``, best pairs first."""
    if not old.classes or not new.classes:
        return 0
    low = np.maximum(old.xyxy[:, None, :2], new.xyxy[None, :, :2])
    high = np.minimum(old.xyxy[:, None, 2:], new.xyxy[None, :, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(np.clip(seen.xyxy[:, 2:] - seen.xyxy[:, :2], 0, None), axis=1) for seen in (old, new)]
    iou = common / np.maximum(areas[0][:, None] + areas[1][None, :] - common, 1e-9)
    iou[np.array(old.classes)[:, None] != np.array(new.classes)[None, :]] = 0.0
    pairs = 0
    while float(iou.max()) >= SAME_IOU:
        row, column = np.unravel_index(int(iou.argmax()), iou.shape)
        iou[row, :] = iou[:, column] = 0.0
        pairs += 1
    return pairs


@dataclass
class Comparison:
    """The sums over all compared frames. One writer."""

    frames: int = 0
    old_boxes: int = 0
    new_boxes: int = 0
    common: int = 0
    squares: tuple[int, int, int] = (0, 0, 0)
    old_classes: Counter[str] = field(default_factory=Counter)
    new_classes: Counter[str] = field(default_factory=Counter)

    def add(self, old: Seen, new: Seen) -> None:
        """Take one frame."""
        ours, theirs, (old_2, both, new_2) = len(new.classes), len(old.classes), self.squares
        self.frames += 1
        self.old_boxes += len(old.classes)
        self.new_boxes += len(new.classes)
        self.common += matched(old, new)
        self.squares = old_2 + theirs * theirs, both + theirs * ours, new_2 + ours * ours
        self.old_classes.update(old.classes)
        self.new_classes.update(new.classes)

    @property
    def agreement(self) -> float:
        """Share of all reported boxes that both report, 0 to 1; 1 when neither reports any."""
        total = self.old_boxes + self.new_boxes
        return 2 * self.common / total if total else 1.0

    @property
    def class_shift(self) -> float:
        """Share of the boxes that would have to change their class to make the mixes equal, 0 to 1."""
        if not self.old_boxes or not self.new_boxes:
            return 0.0
        return 0.5 * sum(abs(move) for move in _moves(self.old_classes, self.new_classes).values())

    def left_band(
        self,
        *,
        min_frames: int,
        detections_band: float,
        max_class_shift: float,
        expected: ExpectedChange | None = None,
    ) -> str | None:
        """What left its band and by how much; None while all is well, or too little was seen to say.

        The number of boxes is judged frame by frame: a difference counts when it is larger than the band *and* three
        times its standard error over the frames, so that a few unlucky frames decide nothing. Where the
        gate measured that the old model is wrong it is no witness: the bands are that much wider.

        Args:
            min_frames: nothing is judged on fewer.
            detections_band: share of the larger number of boxes by which the other may be smaller.
            max_class_shift: share of the boxes that may change their class.
            expected: what the gate measured between just these two.
        """
        if self.frames < min_frames:
            return None
        more, fewer, blind = _allowances(expected)
        times = more if self.new_boxes > self.old_boxes else fewer
        least = (1 - detections_band) / times  # what the smaller is of the larger, at least
        small, large = sorted((self.old_boxes, self.new_boxes))
        if small < least * large and self._surely_differ(times):
            return (
                f"detections per frame left their band: {self.new_boxes / self.frames:.2f} against "
                f"{self.old_boxes / self.frames:.2f} of the old model on the same {self.frames} frames "
                f"({_percent(self.new_boxes, self.old_boxes)}, allowed are {1 - least:.0%} of the larger)"
            )
        if min(self.old_boxes, self.new_boxes) < _MIX_BOXES:
            return None
        allowed = max_class_shift + blind
        if self.class_shift > allowed:
            moves = _moves(self.old_classes, self.new_classes)
            name, move = max(moves.items(), key=lambda pair: abs(pair[1]))
            return (
                f"the mix of classes left its band: {self.class_shift:.0%} of the boxes on the same {self.frames} "
                f"frames changed their class, {allowed:.0%} may; most of all {name} by {move:+.0%}"
            )
        return None

    def _surely_differ(self, times: float) -> bool:
        """Whether the larger number of boxes is surely more than ``times`` the smaller one."""
        old_2, both, new_2 = self.squares
        small, large = sorted((self.old_boxes, self.new_boxes))
        small_2, large_2 = (old_2, new_2) if self.new_boxes > self.old_boxes else (new_2, old_2)
        if large / times < _BY_CHANCE:
            return False  # so few in all that chance explains them, and the spread over the frames says nothing
        mean = (large / times - small) / self.frames
        spread = (large_2 / times**2 - 2 * both / times + small_2) / self.frames - mean * mean
        return mean > _SURE * math.sqrt(max(spread, 0.0) / max(self.frames - 1, 1))

    def figures(self) -> dict[str, Any]:
        """For the status."""
        frames = max(self.frames, 1)
        return {
            "frames": self.frames,
            "agreement": round(self.agreement, 4),
            "old_detections_per_frame": round(self.old_boxes / frames, 3),
            "new_detections_per_frame": round(self.new_boxes / frames, 3),
            "class_shift": round(self.class_shift, 4),
        }


def _moves(old: Mapping[str, int], new: Mapping[str, int]) -> dict[str, float]:
    before, after = sum(old.values()), sum(new.values())
    return {name: new.get(name, 0) / after - old.get(name, 0) / before for name in sorted(old.keys() | new.keys())}


def _allowances(expected: ExpectedChange | None) -> tuple[float, float, float]:
    """What the old model is no witness of, by what the gate found it wrong in. Chance allows for nothing.

    Returns:
        How many times as many boxes the new model may report, because the old one misses so many; how many times as
        many the old one may, because it invents so many; and the share of the boxes whose class says nothing.
    """
    if expected is None:
        return 1.0, 1.0, 0.0
    more = _times(expected.old_right, expected.new_right)
    fewer = _times(expected.new_wrong, expected.old_wrong)
    missed = 1 - expected.old_right / expected.new_right if more > 1 else 0.0
    invented = expected.old_wrong / (expected.old_right + expected.old_wrong) if fewer > 1 else 0.0
    return more, fewer, max(missed, invented)


def _times(small: int, large: int) -> float:
    """How many times the one count the other may be; 1 where it is not surely the larger one."""
    if large - small <= _SURE * math.sqrt(large + small):
        return 1.0
    return (large + 1) / (_at_least(small) + 1)


def _at_least(count: int) -> float:
    """The smallest mean of which so many are no surprise (Poisson, in Wilson and Hilferty's approximation)."""
    return count * max(0.0, 1 - 1 / (9 * count) - _SURE / (3 * math.sqrt(count))) ** 3 if count else 0.0


def _percent(new: int, old: int) -> str:
    return f"{(new - old) / old:+.0%}" if old else "the old model found none"


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value below which ``share`` of them lie (nearest rank); None without values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None
