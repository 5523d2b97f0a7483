"""A candidate is judged on labels of any age: what was renamed or merged since it was made is still its class."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from yolo_assets.classes import changes
from yolo_assets.contracts.class_list import ClassEntry, ClassList
from yolo_assets.contracts.times import utc_now
from yolo_assets.training.evaluate import candidate_names

Change = Callable[[tuple[ClassEntry, ...]], tuple[ClassEntry, ...]]


def class_list(*names: str, version: int = 1, name: str = "plant") -> ClassList:
    entries = tuple(ClassEntry(name=one) for one in names)
    return ClassList(id=name, version=version, classes=entries, by="A. Berg", at=utc_now(), change="made")


def changed(before: ClassList, change: Change) -> ClassList:
    return before.model_copy(update={"version": before.version + 1, "classes": change(before.classes)})


FIRST = class_list("crack", "dent", "dint")
RENAMED = changed(FIRST, partial(changes.renamed, old="crack", new="fissure"))
MERGED = changed(RENAMED, partial(changes.merged, source="dint", target="dent"))


@pytest.mark.parametrize(
    ("own_list", "newer", "expected"),
    [
        (FIRST, FIRST, {}),
        (FIRST, RENAMED, {"fissure": "crack"}),  # the labels are newer than the candidate
        (RENAMED, FIRST, {"crack": "fissure"}),  # the champion is older
        (FIRST, MERGED, {"fissure": "crack", "dint": "dent"}),
        (None, RENAMED, {"fissure": "crack"}),  # a model that was imported has no list
        (FIRST, None, {}),
        (FIRST, class_list("rust", version=9, name="another plant"), {}),
    ],
)
def test_every_name_of_a_class_is_the_candidates(
    own_list: ClassList | None, newer: ClassList | None, expected: dict[str, str]
) -> None:
    own = own_list.names if own_list is not None else FIRST.names
    assert candidate_names(own, own_list, [newer]) == expected


def test_a_candidate_that_reports_only_what_is_left_gets_the_labels_of_what_was_merged() -> None:
    assert candidate_names(("fissure", "dent"), MERGED, [FIRST, None]) == {"crack": "fissure", "dint": "dent"}
