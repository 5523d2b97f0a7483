"""The plots of an evaluation: precision and recall, confusion, thresholds, and what changes against a reference.

Does not belong here: the figures themselves (``measuring``), and where people see the plots (``defs``, ``pages``).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from yolo_assets.contracts.evaluation import Reference
from yolo_assets.training.accuracy import confusion_counts
from yolo_assets.training.measuring import Measured
from yolo_assets.vision.detections import Detections

_DPI = 90


def plot_pr_curves(path: Path, measured: Measured, title: str) -> None:
    """One curve a class at IoU 0.5, with its AP in the legend and its operating point on it."""
    figure, axes = _axes(title, "recall", "precision")
    matches = measured.matches
    for c in np.flatnonzero(measured.occurs & measured.knows).tolist():
        truth = int(matches.truth[:, c].sum())
        of_class = matches.class_id == c
        hits = np.cumsum(matches.correct[of_class, 0])
        precision = hits / np.arange(1, len(hits) + 1)
        label = f"{measured.names[c]}: AP50 {measured.ap[c, 0]:.2f} of {truth}"
        (line,) = axes.plot(hits / truth, precision, label=label, drawstyle="steps-post")
        at_work = int((matches.confidence[of_class] >= measured.confidence[c]).sum())
        if at_work:
            axes.plot(hits[at_work - 1] / truth, precision[at_work - 1], "o", color=line.get_color())
    axes.set(xlim=(0, 1.01), ylim=(0, 1.02))
    axes.legend(loc="lower left", fontsize="small")
    figure.savefig(path, dpi=_DPI)


def plot_confusion(
    path: Path, predictions: Sequence[Detections], truth: Sequence[Detections], measured: Measured, title: str
) -> None:
    """The confusion matrix at the operating point."""
    names = measured.names
    counts = confusion_counts(predictions, truth, len(names), measured.confidence)
    figure, axes = _axes(f"{title}: confusion at the operating point", "reported", "truth")
    axes.imshow(counts, cmap="Blues")
    axes.set_xticks(range(len(names) + 1), [*names, "missed"], rotation=40, ha="right")
    axes.set_yticks(range(len(names) + 1), [*names, "nothing"])
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if count > counts.max() / 2 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour)
    figure.savefig(path, dpi=_DPI)


def plot_sweep(path: Path, measured: Measured, title: str) -> None:
    """Recall by threshold, one curve a class, with the threshold in use on it."""
    figure, axes = _axes(f"{title}: recall by threshold", "confidence", "recall")
    matches = measured.matches
    for c in np.flatnonzero(measured.occurs & measured.knows).tolist():
        hits = (matches.class_id == c) & matches.correct[:, 0]
        recall = np.arange(1, hits.sum() + 1) / matches.truth[:, c].sum()
        (line,) = axes.plot(matches.confidence[hits], recall, label=measured.names[c], drawstyle="steps-pre")
        axes.axvline(measured.confidence[c], color=line.get_color(), linestyle=":", linewidth=1)
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(loc="lower left", fontsize="small")
    figure.savefig(path, dpi=_DPI)


def plot_changes(path: Path, reference: Reference, level: float) -> None:
    """What changes by class in recall, precision and AP50, and in mAP50, each with its interval."""
    reach = NormalDist().inv_cdf((1 + level) / 2)
    figure, axes = _axes(
        f"against the {reference.part} {reference.evaluation.model_version}, on the same objects", "change", ""
    )
    names = sorted(reference.changes.classes)
    for shift, (figure_name, colour) in enumerate(
        (("recall", "steelblue"), ("precision", "darkorange"), ("ap50", "seagreen"))
    ):
        changes = [getattr(reference.changes.classes[name], figure_name) for name in names]
        axes.errorbar(
            [change.value for change in changes],
            np.arange(len(names)) + 0.2 * (shift - 1),
            xerr=[change.se * reach for change in changes],
            fmt="o",
            color=colour,
            label=figure_name.replace("ap50", "AP50"),
            capsize=2,
        )
    gain = reference.map50_gain
    ends = [[gain.value - gain.low], [gain.high - gain.value]]
    axes.errorbar([gain.value], [len(names)], xerr=ends, fmt="s", color="black", label="mAP50", capsize=3)
    axes.axvline(0, color="black", linewidth=1)
    axes.set_yticks(range(len(names) + 1), [*names, "all classes"])
    axes.legend(loc="best", fontsize="small")
    figure.savefig(path, dpi=_DPI)


def _axes(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=x, ylabel=y)
    return figure, axes
