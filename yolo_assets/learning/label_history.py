"""The labels of a store: what was said about each image, by whom and when, and which of it counts.

An image is known by its bytes. Of its labels those count that changed last: by the clock of the labelling tool where
the file tells it, else by the time of the import. So an older export never undoes a correction. What was withdrawn
stays in the history and does not count. Does not belong here: importing and withdrawing (``labels``).
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from yolo_assets.classes.stored import read_class_list
from yolo_assets.contracts.base import canonical_json
from yolo_assets.contracts.class_list import ClassList
from yolo_assets.contracts.names import LABELS_ACCEPTED
from yolo_assets.contracts.times import format_time
from yolo_assets.learning.records import AcceptedLabels, LabelBox, LabelledImage, Rejected
from yolo_assets.storage import ObjectStore

_ACCEPTED = re.compile(r"[0-9a-f]{64}\.json")

ROUNDING = 1.0
"""Pixels by which a side of a box may differ between two files that mean the same: tools round."""

State = Literal["counts", "replaced", "withdrawn"]


def accepted_keys(store: ObjectStore) -> Iterator[str]:
    """Where the imported files of a store lie."""
    for info in store.list(LABELS_ACCEPTED):
        if _ACCEPTED.fullmatch(info.key.removeprefix(LABELS_ACCEPTED)):
            yield info.key


def accepted(store: ObjectStore) -> list[AcceptedLabels]:
    """Every imported file in the order of the imports, withdrawn ones too. ``LabelHistory`` tells which labels count.

    Raises:
        BadInputError: one cannot be read; without it labels would be lost.
    """
    found = [AcceptedLabels.from_json(store.get(key), key) for key in accepted_keys(store)]
    return sorted(found, key=lambda one: (one.imported_at, one.source_sha256))


def read_history(store: ObjectStore) -> LabelHistory:
    """The history of a store's labels, classes by their present names."""
    return LabelHistory(accepted(store), present_names(read_class_list(store)))


def present_names(classes: ClassList | None) -> Callable[[str], str] | None:
    """What turns the name that a class had into the one it has now; None without a list of classes."""
    return None if classes is None else lambda name: classes.resolve(name) or name


def labels_version(labels: Collection[AcceptedLabels]) -> str:
    """A hash that changes whenever labels come or are withdrawn; empty without any.

    Args:
        labels: from ``accepted``.
    """
    parts = [
        [one.source_sha256, [image.model_dump(mode="json", by_alias=True, exclude_none=True) for image in one.images]]
        for one in labels
        if one.images and one.withdrawn is None
    ]
    return hashlib.sha256(canonical_json(parts)).hexdigest() if parts else ""


@dataclass(frozen=True)
class Labelling:
    """What one file says about one image.

    Attributes:
        image: the labels.
        file: the file they came in.
    """

    image: LabelledImage
    file: AcceptedLabels

    @property
    def changed_at(self) -> datetime:
        """When these labels last changed. A tool whose clock is ahead is not believed beyond the import."""
        told = self.image.labelled_at or self.file.updated_at or self.file.imported_at
        return min(told, self.file.imported_at)

    @property
    def by_the_tool(self) -> bool:
        """Whether the tool tells when the labels of this very image changed."""
        return self.image.labelled_at is not None

    @property
    def order(self) -> tuple[datetime, datetime, str]:
        """What sorts the labels of an image: the last counts."""
        return self.changed_at, self.file.imported_at, self.file.source_sha256


@dataclass(frozen=True)
class Conflict:
    """An image about which two files differ, or that waits for an answer although it has labels.

    Attributes:
        counts: the labels that count now.
        other: the labels that differ; None when they wait for an answer.
        why: one sentence: why these count, or what is asked.
        file: the file that differs.
    """

    counts: Labelling
    other: Labelling | None
    why: str
    file: AcceptedLabels


class LabelHistory:
    """The labels of a store, image by image.

    Args:
        labels: every imported file, withdrawn ones too.
        rename: the present name of a class that was renamed since; None: names stay as they are.
    """

    def __init__(self, labels: Collection[AcceptedLabels], rename: Callable[[str], str] | None = None) -> None:
        self.files: list[AcceptedLabels] = []
        self._rename = rename or (lambda name: name)
        self._said: dict[str, list[Labelling]] = {}
        self._counts: dict[str, Labelling] = {}
        for file in labels:
            self.add(file)

    def add(self, file: AcceptedLabels) -> None:
        """Take one more file, which is not in it yet."""
        self.files.append(file)
        self.files.sort(key=lambda one: (one.imported_at, one.source_sha256))
        for image in file.images:
            said = self._said.setdefault(image.sha256, [])
            said.append(Labelling(image, file))
            said.sort(key=lambda one: one.order)
            standing = [one for one in said if one.file.withdrawn is None]
            if standing:
                self._counts[image.sha256] = standing[-1]

    def counting(self) -> dict[str, Labelling]:
        """The labels that count, by the SHA-256 of the image."""
        return dict(self._counts)

    def counts(self, sha256: str) -> Labelling | None:
        """The labels of an image that count; None without any."""
        return self._counts.get(sha256)

    def of(self, sha256: str) -> list[Labelling]:
        """Everything that was said about an image, the oldest first."""
        return list(self._said.get(sha256, ()))

    def state(self, one: Labelling) -> State:
        """Whether labels count, were replaced, or withdrawn."""
        if one.file.withdrawn is not None:
            return "withdrawn"
        return "counts" if self._counts[one.image.sha256] is one else "replaced"

    def find(self, name: str) -> list[str]:
        """The images of a name: our path, the end of one, or the beginning of a SHA-256 of eight digits or more.

        Returns:
            Their SHA-256, in order; several when the name leaves it open.
        """
        wanted = name.replace("\\", "/").strip("/")
        digits = wanted.lower()
        is_hash = 8 <= len(digits) <= 64 and not set(digits) - set("0123456789abcdef")
        found: set[str] = set()
        for sha256, said in self._said.items():
            names = {one.image.image_path for one in said}
            names |= {one.image.copy_key for one in said if one.image.copy_key is not None}
            if any(_ends(known, wanted) for known in names) or (is_hash and sha256.startswith(digits)):
                found.add(sha256)
        return sorted(found)

    def waiting(self, names: Collection[str]) -> list[tuple[AcceptedLabels, Rejected]]:
        """What was rejected or is asked about images of these names, or names that end so, in files that count."""
        return [
            (file, one)
            for file in self.files
            if file.withdrawn is None
            for one in (*file.rejected, *file.questions)
            if any(_ends(known, name) for known in (one.image_path or "", one.image) for name in names)
        ]

    def same(self, one: Sequence[LabelBox], other: Sequence[LabelBox]) -> bool:
        """Whether two lists of boxes mean the same objects: classes alike, sides alike but for rounding."""
        if one == other:
            return True
        left = list(other)
        for box in one:
            name = self._rename(box.class_name)
            match = next(
                (
                    o
                    for o in left
                    if self._rename(o.class_name) == name
                    and all(abs(a - b) <= ROUNDING for a, b in zip(box.bbox, o.bbox, strict=True))
                ),
                None,
            )
            if match is None:
                return False
            left.remove(match)
        return not left

    def replaced_before(self, image: LabelledImage, boxes: Sequence[LabelBox]) -> Labelling | None:
        """Labels of these boxes that stood once and were replaced by others since; None when there are none."""
        counts = self._counts.get(image.sha256)
        if counts is None or self.same(counts.image.boxes, boxes):
            return None
        said = [one for one in self._said[image.sha256] if one.file.withdrawn is None and one is not counts]
        return next((one for one in reversed(said) if self.same(one.image.boxes, boxes)), None)

    def conflicts(self) -> list[Conflict]:
        """Images whose files differ and nobody settled it, and images that have labels and wait, by path.

        Settled is what a person confirmed, and what the same tool says was changed later.
        """
        found: list[Conflict] = []
        by_path: dict[str, Labelling] = {}
        for sha256, counts in self._counts.items():
            by_path |= {one.image.image_path: counts for one in self._said[sha256]}
            if counts.image.confirmed:
                continue
            others: list[Labelling] = []
            for one in reversed(self._said[sha256]):
                if one is counts or one.file.withdrawn is not None or self.same(one.image.boxes, counts.image.boxes):
                    continue
                later_in_the_tool = one.by_the_tool and counts.by_the_tool and one.file.format == counts.file.format
                if not later_in_the_tool and not any(self.same(o.image.boxes, one.image.boxes) for o in others):
                    others.append(one)
            found += [Conflict(counts, one, _why(counts, one), one.file) for one in others]
        for file in self.files:
            for question in file.questions if file.withdrawn is None else ():
                counts = by_path.get(question.image_path or "")
                if counts is not None and counts.file.imported_at <= file.imported_at and counts.file is not file:
                    found.append(Conflict(counts, None, f"waits: {question.reason}", file))
        return sorted(found, key=lambda one: (one.counts.image.image_path, one.file.imported_at))


def _why(counts: Labelling, other: Labelling) -> str:
    def clock(one: Labelling) -> str:
        if one.by_the_tool:
            return f"changed in the tool at {format_time(one.changed_at)}"
        return f"imported at {format_time(one.file.imported_at)}"

    return f"{clock(counts)}, after the other, {clock(other)}"


def _ends(path: str, end: str) -> bool:
    return f"/{path}".endswith(f"/{end}")


def told(boxes: Sequence[LabelBox]) -> str:
    """The boxes of an image in a few words: ``2 crack, 1 dent``, or ``background``."""
    counted = Counter(box.class_name for box in boxes)
    return ", ".join(f"{count} {name}" for name, count in sorted(counted.items())) or "background"
