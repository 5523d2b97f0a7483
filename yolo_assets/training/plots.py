"""Pictures of an evaluation for people: precision and recall by class, confusion, the gain over the champion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from yolo_assets.contracts.model import Interval
from yolo_assets.training.metrics import FrameBoxes, Matches, average_precision, iou_matrix

_DPI = 90


def pr_curves(path: Path, matches: Matches, names: Sequence[str], title: str) -> None:
    """One curve a class at IoU 0.5, with its AP in the legend."""
    figure, axes = _axes(title, "recall", "precision")
    ap = average_precision(matches, thresholds=1)[0, :, 0]
    for c, name in enumerate(names):
        truth = int(matches.truth[:, c].sum())
        if not truth:
            continue
        hits = np.cumsum(matches.correct[matches.class_id == c, 0])
        precision = hits / np.arange(1, len(hits) + 1)
        axes.plot(hits / truth, precision, label=f"{name}: AP50 {ap[c]:.2f} of {truth}", drawstyle="steps-post")
    axes.set(xlim=(0, 1.01), ylim=(0, 1.02))
    axes.legend(loc="lower left", fontsize="small")
    figure.savefig(path, dpi=_DPI)


def confusion_counts(
    found: Sequence[FrameBoxes], truth: Sequence[FrameBoxes], classes: int, confidence: float
) -> NDArray[np.int64]:
    """What was seen as what, at IoU 0.5: ``[classes + 1, classes + 1]``, rows truth, columns reported.

    The last row counts reports of nothing, the last column overlooked objects.
    """
    counts = np.zeros((classes + 1, classes + 1), np.int64)
    for f, t in zip(found, truth, strict=True):
        shown = f.confidence >= confidence
        xyxy, ids = f.xyxy[shown], f.class_id[shown]
        overlap = iou_matrix(xyxy, t.xyxy) if len(xyxy) and len(t.class_id) else np.zeros((len(xyxy), len(t.class_id)))
        free_found, free_truth = set(range(len(xyxy))), set(range(len(t.class_id)))
        for i, j in sorted(np.argwhere(overlap >= 0.5).tolist(), key=lambda pair: -overlap[pair[0], pair[1]]):
            if i in free_found and j in free_truth:
                counts[t.class_id[j], ids[i]] += 1
                free_found.remove(i)
                free_truth.remove(j)
        for i in free_found:
            counts[classes, ids[i]] += 1
        for j in free_truth:
            counts[t.class_id[j], classes] += 1
    return counts


def confusion(
    path: Path, found: Sequence[FrameBoxes], truth: Sequence[FrameBoxes], names: Sequence[str], confidence: float
) -> None:
    """The confusion matrix at the operating point."""
    counts = confusion_counts(found, truth, len(names), confidence)
    figure, axes = _axes(f"confusion at confidence {confidence:g}", "reported", "truth")
    axes.imshow(counts, cmap="Blues")
    axes.set_xticks(range(len(names) + 1), [*names, "overlooked"], rotation=40, ha="right")
    axes.set_yticks(range(len(names) + 1), [*names, "nothing"])
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if count > counts.max() / 2 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour)
    figure.savefig(path, dpi=_DPI)


def gain(path: Path, samples: NDArray[np.float64], found: Interval | None) -> None:
    """How the gain in mAP50 varies over resamples of the test frames."""
    figure, axes = _axes("candidate - champion on the same resampled frames", "gain in mAP50", "resamples")
    axes.hist(samples, bins=30, color="steelblue")
    axes.axvline(0, color="black", linewidth=1)
    if found is not None:
        for x, style in ((found.low, "--"), (found.value, "-"), (found.high, "--")):
            axes.axvline(x, color="darkorange", linestyle=style)
    figure.savefig(path, dpi=_DPI)


def _axes(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=x, ylabel=y)
    return figure, axes
