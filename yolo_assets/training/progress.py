"""The epochs of a training, as its progress file has them: which figures people are shown, and the curve over them.

Belongs here: reading and drawing. Does not belong here: what the trainer reports (``trainer``), and who is told
(``pipes``).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.runtime.files import write_atomic
from yolo_assets.training.jobs import TrainingEvent

SCORE = "metrics/mAP50-95"
"""By which trainings are compared while they run; on the val split."""
_SHOWN = {"metrics/mAP50": "mAP50", SCORE: "mAP50-95", "metrics/recall": "recall", "metrics/precision": "precision"}


def figures(event: TrainingEvent) -> dict[str, float]:
    """The figures of an epoch by the names that people read; accuracy only where the epoch was validated."""
    accuracy = {name: event.metrics.get(key) for key, name in _SHOWN.items()}
    losses = {name if name.endswith("loss") else f"{name} loss": value for name, value in event.losses.items()}
    return {name: round(value, 5) for name, value in {**accuracy, **losses}.items() if value is not None}


def epochs_of(path: Path) -> list[TrainingEvent]:
    """The epochs of a progress file in order; of one that several attempts trained, the newest."""
    found: dict[int, TrainingEvent] = {}
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        try:
            event = TrainingEvent.from_json(line, str(path))
        except BadInputError:  # the last line of a process that was killed
            continue
        if event.event == "epoch":
            found[event.epoch] = event
    return [found[number] for number in sorted(found)]


def draw_curve(epochs: Iterable[TrainingEvent], out: Path) -> None:
    """A PNG with accuracy above and losses below, by epoch.

    Args:
        epochs: in order.
        out: appears complete or not at all.
    """
    import io

    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    rows = [(event.epoch, figures(event)) for event in epochs]
    figure = Figure(figsize=(6.4, 4.8), dpi=80, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    for name in dict.fromkeys(name for _, row in rows for name in row):
        axis = below if name.endswith("loss") else above
        points = [(epoch, row[name]) for epoch, row in rows if name in row]
        axis.plot(*zip(*points, strict=True), marker="o", markersize=3, label=name)
    above.set(ylabel="on the val split", ylim=(0, 1))
    below.set(ylabel="loss", xlabel="epoch")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis in (above, below):
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend(fontsize=8)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    write_atomic(out, picture.getvalue())
