"""Checks of the learning stage: their specs, and how each is decided from a dataset's manifest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

from yolo_assets.defs.failures import RETRY_POLICY, by_kind
from yolo_assets.defs.resources import Locations

if TYPE_CHECKING:
    from yolo_assets.archive.archive import Archive
    from yolo_assets.learning.records import DatasetManifest

NO_LEAK_BETWEEN_SPLITS = dg.AssetCheckSpec(
    "no_leak_between_splits",
    asset="training_dataset",
    blocking=True,
    description="No two splits show the same object, or frames too near to each other; no frame left its split.",
)
EVERY_CLASS_IN_EVERY_SPLIT = dg.AssetCheckSpec(
    "every_class_in_every_split",
    asset="training_dataset",
    description="Every class has boxes in the train, val and test splits.",
)
EVERY_LABEL_ACCEPTED = "every_label_accepted"
_SHOWN = 100
_LONGEST = 300


@dg.asset_check(
    asset="labels",
    name=EVERY_LABEL_ACCEPTED,
    description=(
        "Everything in labels/inbox/ was accepted. Red until it is mended by a later file or an answer beside it, or "
        "the file is taken out of the inbox. The labels sensor reports it; run by hand, it judges the inbox again."
    ),
    retry_policy=RETRY_POLICY,
)
@by_kind
def every_label_accepted(locations: Locations) -> dg.AssetCheckResult:
    """Judge the inbox, as the labels sensor does at each change."""
    from yolo_assets.learning.labels import import_inbox
    from yolo_assets.learning.plant_classes import allowed_class_names

    store = locations.store()
    classes = allowed_class_names(store, locations.settings)
    return label_problems(import_inbox(store, classes, archive=archive_within_reach(locations)).open_problems)


def archive_within_reach(locations: Locations) -> Archive | None:
    """The archive, or None while it is away: labels of frames that a batch holds need no archive."""
    from yolo_assets.storage import StoreUnavailableError

    try:
        return locations.archive()
    except StoreUnavailableError:
        return None


def label_problems(problems: Sequence[str]) -> dg.AssetCheckResult:
    """Failed when something was not accepted, each by name; it keeps no good label from the dataset.

    Args:
        problems: one sentence each, with file and image.
    """
    return dg.AssetCheckResult(
        check_name=EVERY_LABEL_ACCEPTED,
        passed=not problems,
        description=f"not accepted in the inbox: {len(problems)}" if problems else "all was accepted",
        metadata={"problems": [problem[:_LONGEST] for problem in problems[:_SHOWN]], "count": len(problems)},
    )


def no_leak_between_splits(manifest: DatasetManifest, before: DatasetManifest | None) -> dg.AssetCheckResult:
    """Failed when two splits show one object or frames too near to each other, or when a frame changed its split.

    Leaks are looked for in the frames themselves, not in the groups that the split made. Those among frames of the
    version before cannot be mended, because assignments stay: of them it only warns.
    """
    from yolo_assets.learning.leaks import find_leaks

    earlier = {item.sha256: item.split for item in before.items} if before else {}
    moved = sorted(item.image_path for item in manifest.items if earlier.get(item.sha256, item.split) != item.split)
    leaks = find_leaks(manifest.items)
    old = [leak for leak in leaks if leak.one.sha256 in earlier and leak.other.sha256 in earlier]
    new = [leak for leak in leaks if leak not in old]
    told = f"{len(new)} leaks between splits, {len(moved)} frames moved"
    return dg.AssetCheckResult(
        check_name=NO_LEAK_BETWEEN_SPLITS.name,
        passed=not leaks and not moved,
        severity=dg.AssetCheckSeverity.ERROR if new or moved else dg.AssetCheckSeverity.WARN,
        description=f"{told}; {len(old)} leaks of earlier versions stay" if old else told,
        metadata={"leaks": [str(leak) for leak in [*new, *old][:20]], "moved": moved[:20]},
    )


def every_class_in_every_split(manifest: DatasetManifest) -> dg.AssetCheckResult:
    """A warning that names each class a split lacks."""
    missing = [
        f"{split} has no {name}"
        for split in ("train", "val", "test")
        for name in manifest.names_in_use
        if not manifest.counts.get(f"{split}.{name}")
    ]
    return dg.AssetCheckResult(
        check_name=EVERY_CLASS_IN_EVERY_SPLIT.name,
        passed=not missing,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(missing) or "every class is in every split",
    )
