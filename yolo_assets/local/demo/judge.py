"""Both models on the changed line alone: the frames of the test split that were captured after the change.

The test split is frozen before training and never trains, so no model has seen these frames.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path

from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.evaluation import PairedEvaluation
from yolo_assets.learning.dataset import Dataset, latest_dataset
from yolo_assets.models.registry import Registry
from yolo_assets.training.candidates import evaluate_candidate


def compare_after(registry: Registry, new: str, old: str, moment: datetime, work: Path) -> PairedEvaluation:
    """Evaluate the exported files of both models on the test frames captured from ``moment`` on.

    Args:
        registry: where both models lie.
        new: ``<name>/<version>``.
        old: ``<name>/<version>``.
        moment: the change of the line.
        work: local folder.
    """
    dataset = latest_dataset(registry.store)
    if dataset is None:
        raise UserError("there is no dataset to judge on; the demo's labels did not arrive")
    items = tuple(
        item
        for item in dataset.manifest.items
        if item.split == "test" and item.captured_at is not None and item.captured_at >= moment
    )
    part = dataset.manifest.model_copy(update={"items": items})
    only_changed = Dataset(hashlib.sha256(part.to_json()).hexdigest(), part)
    return evaluate_candidate(registry, only_changed, new, old, work).comparison
