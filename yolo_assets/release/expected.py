"""What a release is expected to change in the results, from the gate's own figures. Pure.

Where the line has changed, a better model finds other things than the one before it. Whoever compares the two on live
frames must know by how much, or would take the better one back.
"""

from __future__ import annotations

from yolo_assets.contracts.evaluation import Comparison
from yolo_assets.contracts.model import ExpectedChange


def expected_change(comparison: Comparison) -> ExpectedChange | None:
    """The difference between candidate and champion on the test set; None without a champion.

    Args:
        comparison: both, on the same frames.
    """
    if comparison.champion is None:
        return None
    return ExpectedChange(
        against=comparison.champion.model_version,
        frames=comparison.candidate.frames,
        old_boxes={name: one.reported for name, one in comparison.champion.classes.items()},
        new_boxes={name: one.reported for name, one in comparison.candidate.classes.items()},
    )
