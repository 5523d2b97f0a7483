"""Whether a dataset's test or val frames show what a training frame shows: looked for without the groups of the split.

Belongs here: the search over the frames of a manifest. Does not belong here: how splits are made (``split``), which
leak turns a check red (``defs.learning.checks``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from yolo_assets.learning.records import DatasetItem, Split
from yolo_assets.learning.series import Series, SplitFrame, in_series

Kind = Literal["object", "time"]
"""``object``: both show the same one; ``time``: they were taken too near to each other to show different ones."""


@dataclass(frozen=True)
class Leak:
    """Two frames of different splits with something in common.

    Attributes:
        kind: what.
        one: the earlier frame.
        other: the later one.
    """

    kind: Kind
    one: DatasetItem
    other: DatasetItem

    def __str__(self) -> str:
        what = "show the same object" if self.kind == "object" else "were taken too near to each other"
        return f"{self.one.image_path} ({self.one.split}) and {self.other.image_path} ({self.other.split}) {what}"


def split_frame(item: DatasetItem) -> SplitFrame:
    """What a split needs of an item of a dataset."""
    return SplitFrame(
        key=item.sha256,
        camera=item.camera_id or "",
        captured_at=item.captured_at,
        dhash=item.dhash,
        path=item.file_name or item.image_path,
        boxes=tuple(box.bbox for box in item.boxes),
        object_ids=item.object_ids,
        batch_id=item.batch_id,
        golden=item.golden,
    )


def find_leaks(items: Sequence[DatasetItem]) -> list[Leak]:
    """Leaks between splits, one for each frame that has one with an earlier frame; objects before time.

    Args:
        items: of a dataset version.
    """
    by_key = {item.sha256: item for item in items}
    series, _ = in_series([split_frame(item) for item in items])
    return [leak for one in series for leak in _leaks(one, [by_key[frame.key] for frame in one.frames])]


def _leaks(series: Series, items: Sequence[DatasetItem]) -> list[Leak]:
    seen: dict[int, dict[Split, int]] = {}
    started: dict[int, float] = {}
    latest: dict[Split, int] = {}
    found: list[Leak] = []
    for place, item in enumerate(items):
        leak: Leak | None = None
        for number in np.unique(series.objects[place]).tolist():
            at = float(series.at[place])
            if at - started.setdefault(number, at) > series.longest:
                continue  # a part of the scene
            earlier = seen.setdefault(number, {})
            other = next((p for split, p in earlier.items() if split != item.split), None)
            if other is not None and leak is None:
                leak = Leak("object", items[other], item)
            earlier[item.split] = place
        near = [p for s, p in latest.items() if s != item.split and series.at[place] - series.at[p] < series.apart]
        if leak is None and near:
            leak = Leak("time", items[max(near)], item)
        if leak is not None:
            found.append(leak)
        latest[item.split] = place
    return found
