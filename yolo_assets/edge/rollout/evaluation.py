"""Evaluation of a new model on live frames: how far it agrees with the old one, and when it has failed.

Belongs here: the comparison of two models on the same frames, the shadow run before a switch, the trial after it. Does
not belong here: threads and what follows from a failure (``watch``), switching (``controller``).
"""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from yolo_assets.contracts.model import ExpectedChange, ModelManifest
from yolo_assets.edge.config.rollout import Shadow, WatchWindow
from yolo_assets.edge.rollout.headroom import out_of_memory
from yolo_assets.edge.rollout.request import UnfitError
from yolo_assets.edge.rollout.scenes import SceneChanges
from yolo_assets.edge.rollout.tap import FrameTap, InferenceFailure, LiveTap
from yolo_assets.edge.serving.loaded_model import LoadedModel
from yolo_assets.edge.serving.slot import Slot
from yolo_assets.edge.types import Picture, Result
from yolo_assets.vision.detections import Detections
from yolo_assets.vision.matching import class_overlaps, match

SAME_IOU = 0.5
"""Boxes of one class that overlap so far are the same object."""
_SURE = 3.0  # standard errors between the means: about one in a thousand by chance
_BY_CHANCE = 10.0  # on so few boxes nothing is sure
_MIX_BOXES = 50  # a mix of classes means nothing on fewer boxes
_SLACK_MS = 5.0  # a p99 that grows by less is noise
_PAIRS = 10  # frames on which a suspected slowness is confirmed
_FAILURES_CHECKED = 3  # at a time: each costs an inference of the old model
_MIN_FAILURES = 3  # own failures before any share counts


def agreeing_pairs(old: Detections, new: Detections) -> int:
    """How many objects both report: pairs of one class with an IoU of at least ``SAME_IOU``, best pairs first."""
    return int((match(class_overlaps(old, new), SAME_IOU, first="pairs") >= 0).sum())


class CommonClasses:
    """The classes in which two models can be compared, under the newer of the two class lists that they name.

    What only one of them knows (a class that was added) or reports (one that was retired) is not compared; boxes of a
    class that was merged count as the class that it is part of now.

    Args:
        old: the model that is compared with.
        new: the one that is evaluated.
    """

    def __init__(self, old: ModelManifest, new: ModelManifest) -> None:
        lists = [one for one in (old.class_list, new.class_list) if one is not None]
        newest = max(lists, key=lambda one: one.version, default=None)
        size = max(len(old.record_names), len(new.record_names))
        now = list(newest.current_ids()) if newest is not None else []
        self._now = np.array([*now, *range(len(now), size)], np.int32)
        both = self._reported(old) & self._reported(new)
        self._common = np.array([number in both for number in range(len(self._now))], bool)
        self.names = newest.names if newest is not None else new.class_names

    def _reported(self, model: ModelManifest) -> set[int]:
        return {int(self._now[number]) for number in model.reported_ids if number >= 0} - {-1}

    def of(self, found: Detections) -> Detections:
        """What either model found, without the classes that are not compared."""
        ids = self._now[found.class_id]
        kept = (ids >= 0) & self._common[ids]
        return Detections(found.xyxy[kept], ids[kept], found.confidence[kept])


@dataclass
class ModelComparison:
    """What two models reported on the same frames, summed. One writer.

    Both models see the very same pictures: a scene that changes (another product, an empty belt, night) changes the
    figures of both and does not count against a candidate.

    Attributes:
        class_names: of both models, ordered.
    """

    class_names: tuple[str, ...]
    frames: int = 0
    old_boxes: int = 0
    new_boxes: int = 0
    agreeing: int = 0
    squares: tuple[int, int, int] = (0, 0, 0)
    old_classes: Counter[int] = field(default_factory=Counter[int])
    new_classes: Counter[int] = field(default_factory=Counter[int])

    def add(self, old: Detections, new: Detections) -> None:
        """Take one frame."""
        before, after, (old_2, both, new_2) = len(old), len(new), self.squares
        self.frames += 1
        self.old_boxes += before
        self.new_boxes += after
        self.agreeing += agreeing_pairs(old, new)
        self.squares = old_2 + before * before, both + before * after, new_2 + after * after
        self.old_classes.update(old.class_id.tolist())
        self.new_classes.update(new.class_id.tolist())

    @property
    def agreement(self) -> float:
        """Share of all reported boxes that both report, 0 to 1; 1 when neither reports any."""
        total = self.old_boxes + self.new_boxes
        return 2 * self.agreeing / total if total else 1.0

    @property
    def class_shift(self) -> float:
        """Share of the boxes that would have to change their class to make the mixes equal, 0 to 1."""
        if not self.old_boxes or not self.new_boxes:
            return 0.0
        return 0.5 * sum(abs(move) for move in _moves(self.old_classes, self.new_classes).values())

    def outside_limits(
        self,
        *,
        min_frames: int,
        detections_band: float,
        max_class_shift: float,
        expected: ExpectedChange | None = None,
    ) -> str | None:
        """What is outside its limits and by how much; None while nothing is, or on too few frames.

        The number of boxes is compared frame by frame: a difference counts when it is larger than the limit *and* three
        times its standard error over the frames, so that a few unlucky frames decide nothing. Where the gate measured
        that the old model is wrong, disagreement with it is not counted: the limits are that much wider.

        Args:
            min_frames: nothing is decided on fewer.
            detections_band: share of the larger number of boxes by which the other may be smaller.
            max_class_shift: share of the boxes that may change their class.
            expected: what the gate measured between just these two.
        """
        if self.frames < min_frames:
            return None
        more, fewer, uncounted = _allowances(expected)
        times = more if self.new_boxes > self.old_boxes else fewer
        least = (1 - detections_band) / times  # what the smaller is of the larger, at least
        small, large = sorted((self.old_boxes, self.new_boxes))
        if small < least * large and self._surely_differ(times):
            return (
                f"detections per frame are outside their limits: {self.new_boxes / self.frames:.2f} against "
                f"{self.old_boxes / self.frames:.2f} of the old model on the same {self.frames} frames "
                f"({_percent(self.new_boxes, self.old_boxes)}, allowed are {1 - least:.0%} of the larger)"
            )
        if min(self.old_boxes, self.new_boxes) < _MIX_BOXES:
            return None
        allowed = max_class_shift + uncounted
        if self.class_shift > allowed:
            moves = _moves(self.old_classes, self.new_classes)
            class_id, move = max(moves.items(), key=lambda pair: abs(pair[1]))
            return (
                f"the mix of classes is outside its limits: {self.class_shift:.0%} of the boxes on the same "
                f"{self.frames} frames changed their class, {allowed:.0%} are allowed; most of all "
                f"{self.class_names[class_id]} by {move:+.0%}"
            )
        return None

    def _surely_differ(self, times: float) -> bool:
        """Whether the larger number of boxes is surely more than ``times`` the smaller one."""
        old_2, both, new_2 = self.squares
        small, large = sorted((self.old_boxes, self.new_boxes))
        small_2, large_2 = (old_2, new_2) if self.new_boxes > self.old_boxes else (new_2, old_2)
        if large / times < _BY_CHANCE:
            return False  # so few in all that chance explains them, and the spread over the frames means nothing
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


def _moves(old: Mapping[int, int], new: Mapping[int, int]) -> dict[int, float]:
    """By class id, by how much its share of the boxes has changed."""
    before, after = sum(old.values()), sum(new.values())
    return {key: new.get(key, 0) / after - old.get(key, 0) / before for key in sorted(old.keys() | new.keys())}


def _allowances(expected: ExpectedChange | None) -> tuple[float, float, float]:
    """Which disagreement with the old model is not counted, by what the gate found it wrong in; chance allows none.

    Returns:
        How many times as many boxes the new model may report, because the old one misses so many; how many times as
        many the old one may, because it invents so many; and the share of the boxes whose class is not compared.
    """
    if expected is None:
        return 1.0, 1.0, 0.0
    more = _times(expected.old_right, expected.new_right)
    fewer = max(_times(expected.new_wrong, expected.old_wrong), _times_invented(expected))
    missed = 1 - expected.old_right / expected.new_right if more > 1 else 0.0
    invented = expected.old_wrong / (expected.old_right + expected.old_wrong) if fewer > 1 else 0.0
    return more, fewer, max(missed, invented)


def _times_invented(expected: ExpectedChange) -> float:
    """How many times what it finds rightly the old model reports in all, at least; 1 unless it is surely less precise.

    A new model may report as few boxes as the old one reports rightly: all others say nothing about it.
    """
    old, new = expected.old_right + expected.old_wrong, expected.new_right + expected.new_wrong
    if not old or not new:
        return 1.0
    right = (expected.old_right + expected.new_right) / (old + new)
    spread = math.sqrt(right * (1 - right) * (1 / old + 1 / new))
    if expected.new_right / new - expected.old_right / old <= _SURE * spread:
        return 1.0
    return 1 / _at_most(expected.old_right, old)


def _times(small: int, large: int) -> float:
    """How many times the one count the other may be; 1 where it is not surely the larger one."""
    if large - small <= _SURE * math.sqrt(large + small):
        return 1.0
    return (large + 1) / (_at_least(small) + 1)


def _at_least(count: int) -> float:
    """The smallest mean of which so many are no surprise (Poisson, in Wilson and Hilferty's approximation)."""
    return count * max(0.0, 1 - 1 / (9 * count) - _SURE / (3 * math.sqrt(count))) ** 3 if count else 0.0


def _at_most(count: int, of: int) -> float:
    """The largest share of which so many of so many are no surprise (Wilson)."""
    share, sure = count / of, _SURE**2
    spread = _SURE * math.sqrt(share * (1 - share) / of + sure / (4 * of**2))
    return (share + sure / (2 * of) + spread) / (1 + sure / of)


def _percent(new: int, old: int) -> str:
    return f"{(new - old) / old:+.0%}" if old else "the old model found none"


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value below which ``share`` of them lie (nearest rank); None without values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def run_shadow(
    settings: Shadow,
    tap: LiveTap,
    serving: Slot[LoadedModel],
    candidate: LoadedModel,
    check_requested: Callable[[], None],
    report: Callable[[dict[str, Any]], None],
) -> str:
    """Compare a candidate with the serving model on copies of live frames, before any of its results counts.

    It runs in the staging thread. Both models are timed there, on the same frames, one after the other: a candidate
    timed beside the workers cannot be compared with a serving model timed in them.

    Args:
        settings: how long, and what must come out.
        tap: where frames come from.
        serving: the model whose frames they are.
        candidate: loaded, warm, not serving.
        check_requested: raises when something newer was requested; called between frames.
        report: takes the figures so far, for the status.

    Returns:
        The outcome in words, for the audit log.

    Raises:
        UnfitError: the candidate agrees too little, is too slow, or raises on a live frame.
    """
    common = CommonClasses(serving.model.manifest, candidate.manifest)
    comparison = ModelComparison(common.names)
    old_seconds, new_seconds = list[float](), list[float]()
    frames = tap.open(serving.label)
    end = time.monotonic() + settings.seconds
    try:
        while comparison.frames < settings.frames and time.monotonic() < end:
            check_requested()
            result = frames.take(timeout=0.2)
            frames.take_failures()  # those of the serving model are not the candidate's
            if result is None:
                continue
            with serving.held() as held:
                if not held:
                    break  # it was replaced by hand; nothing to compare with
                old = timed(serving.model, result.frame.for_model, old_seconds)
            try:
                new = timed(candidate, result.frame.for_model, new_seconds)
            except Exception as error:  # a runtime may raise anything
                raise UnfitError(f"in the shadow run it fails on a frame of {result.camera_id}: {error}") from None
            comparison.add(common.of(old), common.of(new))
            report(comparison.figures() | {"latency_ratio": _ratio(old_seconds, new_seconds)})
    finally:
        tap.close(frames)
    if not comparison.frames:
        return f"no live frame came within {settings.seconds:g} s of shadow run, nothing was compared"
    ratio = _ratio(old_seconds, new_seconds)
    outcome = (
        f"agreement {comparison.agreement:.1%} with {serving.label} and {ratio:.2f} times its time "
        f"on {comparison.frames} live frames"
    )
    if comparison.agreement < settings.min_agreement:
        raise UnfitError(f"shadow run: {outcome}; at least {settings.min_agreement:.0%} must agree")
    if ratio > settings.max_latency_ratio:
        raise UnfitError(f"shadow run: {outcome}; at most {settings.max_latency_ratio:g} times is allowed")
    return f"shadow run: {outcome}"


def timed(model: LoadedModel, image: Picture, seconds: list[float]) -> Detections:
    """Predict, and append how long it took."""
    begin = time.perf_counter()
    detections = model.predictor.predict(image)
    seconds.append(time.perf_counter() - begin)
    return detections


def _ratio(old: list[float], new: list[float]) -> float:
    return round(statistics.median(new) / max(statistics.median(old), 1e-9), 3)


class Trial:
    """A new model on live frames, compared with the old one *on the same frames*. Used by one thread.

    A torn picture on which both fail, a device that is busy, a belt that is empty do not count against it.

    Args:
        subject: the slot of the new model.
        reference: the slot of the old one, warm.
        frames: frames and failures of the subject.
        old_ms: the old model's recent inference times on live frames.
        limits: of the watch window.
        expected: what the gate measured that changes between the two.
    """

    def __init__(
        self,
        subject: Slot[LoadedModel],
        reference: Slot[LoadedModel],
        frames: FrameTap,
        old_ms: list[float],
        limits: WatchWindow,
        expected: ExpectedChange | None = None,
    ) -> None:
        self.subject = subject
        self.reference = reference
        self.frames = frames
        self._common = CommonClasses(reference.model.manifest, subject.model.manifest)
        self.comparison = ModelComparison(self._common.names)
        self._limits = limits
        self._expected = expected
        self._scenes = SceneChanges()
        self._old_p99 = percentile(old_ms, 0.99) if len(old_ms) >= limits.min_frames else None
        self._checked = self._own_failures = 0
        self._pairs: tuple[list[float], list[float]] | None = None  # seconds of old and new, while confirming
        self._next_latency = limits.min_frames

    def compare(self, result: Result) -> str | None:
        """Run the old model on a frame that the new one has processed; what is outside its limits, or None.

        What a camera still shows counts once: the same scene again says nothing new about either model.
        """
        is_new = self._scenes.is_new(result.camera_id, result.frame.for_model)
        if not is_new and self._pairs is None:
            return None
        with self.reference.held() as held:
            if not held:
                return None
            old = timed(self.reference.model, result.frame.for_model, self._pairs[0] if self._pairs else [])
        if is_new:
            new = Detections.from_records(result.detections, self.subject.model.manifest.record_names)
            self.comparison.add(self._common.of(old), self._common.of(new))
        if self._pairs is not None:
            with self.subject.held() as held:
                if held:
                    timed(self.subject.model, result.frame.for_model, self._pairs[1])
        return self.comparison.outside_limits(
            min_frames=self._limits.min_frames,
            detections_band=self._limits.detections_band,
            max_class_shift=self._limits.max_class_shift,
            expected=self._expected,
        )

    def check_failures(self, failures: list[InferenceFailure]) -> str | None:
        """Check inferences that raised. Out of memory ends the trial at once, all else by its share of the frames."""
        for failure in failures:
            if out_of_memory(failure.error):
                return f"out of memory on a frame of {failure.camera_id}: {failure.error}"
        for failure in failures[-_FAILURES_CHECKED:]:
            self._checked += 1
            self._own_failures += self._old_succeeds(failure)
        if not failures or self._own_failures < _MIN_FAILURES:
            return None
        total = self.frames.frames + self.frames.failures
        share = self.frames.failures * (self._own_failures / self._checked) / total
        if share <= self._limits.max_error_rate:
            return None
        return (
            f"errors are outside their limits: {share:.1%} of {total} frames fail, {self._limits.max_error_rate:.1%} "
            f"are allowed, and the old model does not fail on them; the last: {failures[-1].error}"
        )

    def check_latency(self) -> str | None:
        """Compare the p99 on live frames with the old model's. Slowness must show on the same frames, too."""
        if self._old_p99 is None or self.frames.frames < self._next_latency:
            return None
        p99, ratio = percentile(list(self.frames.milliseconds), 0.99), self._limits.max_latency_ratio
        assert p99 is not None
        if self._pairs is None:
            if p99 > ratio * self._old_p99 + _SLACK_MS:
                self._pairs = ([], [])
            return None
        old, new = self._pairs
        if min(len(old), len(new)) < _PAIRS:
            return None
        self._pairs = None
        slower = statistics.median(new) / max(statistics.median(old), 1e-9)
        if slower > 1 + (ratio - 1) / 2:
            return (
                f"latency is outside its limits: p99 {p99:.1f} ms against {self._old_p99:.1f} ms of the old model, "
                f"{ratio:g} times is allowed; on the same {_PAIRS} frames it takes {slower:.2f} times as long"
            )
        self.frames.milliseconds.clear()  # the device was busy; check again on the frames to come
        self._next_latency = self.frames.frames + self._limits.min_frames
        return None

    def figures(self) -> dict[str, Any]:
        """For the status."""
        p99 = percentile(list(self.frames.milliseconds), 0.99)
        return {
            "model": self.subject.label,
            "against": self.reference.label,
            "live_frames": self.frames.frames,
            "errors": self.frames.failures,
            "p99_ms": round(p99, 2) if p99 is not None else None,
            "old_p99_ms": round(self._old_p99, 2) if self._old_p99 is not None else None,
            "compared": self.comparison.figures(),
            "expected": self._expected.model_dump(mode="json") if self._expected else None,
        }

    def _old_succeeds(self, failure: InferenceFailure) -> bool:
        """Whether the old model processes the frame. When it is gone, too, that is unknown, and the failure counts."""
        with self.reference.held() as held:
            if not held:
                return True
            try:
                self.reference.model.predictor.predict(failure.image)
            except Exception:
                return False
            return True


class CpuShare:
    """Limits work to a share of one core: after work of ``t`` seconds more begins ``t / share`` after its start."""

    def __init__(self, share: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._share = share
        self._clock = clock
        self._next = clock()

    def wait(self) -> float:
        """Seconds until more work may begin."""
        return max(0.0, self._next - self._clock())

    def spent(self, begin: float) -> None:
        """Work that began at ``begin`` has ended now."""
        self._next = begin + (self._clock() - begin) / self._share
