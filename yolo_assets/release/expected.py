"""What a release is expected to change in the results, from the gate's own figures. Pure.

Where the line has changed, a better model finds other things than the one before it. Whoever compares the two on live
frames must know by how much, or would take the better one back.
"""

from __future__ import annotations

from yolo_assets.contracts.evaluation import ClassResult, Comparison
from yolo_assets.contracts.model import ExpectedChange


def expected_change(comparison: Comparison) -> ExpectedChange | None:
    """The difference between candidate and champion on the test set; None without a champion.

    Args:
        comparison: both, on the same frames.
    """
    if comparison.champion is None:
        return None
    new, old = _reported(comparison.candidate.classes), _reported(comparison.champion.classes)
    shift = 0.0
    if (ours := sum(new.values())) and (theirs := sum(old.values())):
        names = new.keys() | old.keys()
        shift = 0.5 * sum(abs(new.get(name, 0) / ours - old.get(name, 0) / theirs) for name in names)
    return ExpectedChange(
        against=comparison.champion.model_version,
        frames=comparison.candidate.frames,
        old_boxes=sum(old.values()),
        new_boxes=sum(new.values()),
        class_shift=min(1.0, shift),
    )


def _reported(classes: dict[str, ClassResult]) -> dict[str, int]:
    return {name: one.reported for name, one in classes.items()}
