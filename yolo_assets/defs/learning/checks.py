"""Checks of the learning stage: their specs, and how each is decided from a dataset's manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from yolo_assets.learning.records import DatasetManifest

NO_LEAK_BETWEEN_SPLITS = dg.AssetCheckSpec(
    "no_leak_between_splits",
    asset="training_dataset",
    blocking=True,
    description="No group of near-duplicates spans two splits; no frame left the split it was assigned to.",
)
EVERY_CLASS_IN_EVERY_SPLIT = dg.AssetCheckSpec(
    "every_class_in_every_split",
    asset="training_dataset",
    description="Every class has boxes in the train, val and test splits.",
)


def no_leak_between_splits(manifest: DatasetManifest, before: DatasetManifest | None) -> dg.AssetCheckResult:
    """Failed when near-duplicates are in two splits, or a frame changed its split since the version before."""
    groups: dict[str, set[str]] = {}
    for item in manifest.items:
        groups.setdefault(item.group, set()).add(item.split)
    leaking = sorted(group for group, splits in groups.items() if len(splits) > 1)
    earlier = {item.sha256: item.split for item in before.items} if before else {}
    moved = sorted(item.image_path for item in manifest.items if earlier.get(item.sha256, item.split) != item.split)
    return dg.AssetCheckResult(
        check_name=NO_LEAK_BETWEEN_SPLITS.name,
        passed=not leaking and not moved,
        description=f"{len(leaking)} groups in two splits, {len(moved)} frames moved",
        metadata={"groups": leaking[:20], "moved": moved[:20]},
    )


def every_class_in_every_split(manifest: DatasetManifest) -> dg.AssetCheckResult:
    """A warning that names each class a split lacks."""
    missing = [
        f"{split} has no {name}"
        for split in ("train", "val", "test")
        for name in manifest.class_names
        if not manifest.counts.get(f"{split}.{name}")
    ]
    return dg.AssetCheckResult(
        check_name=EVERY_CLASS_IN_EVERY_SPLIT.name,
        passed=not missing,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(missing) or "every class is in every split",
    )
