"""Classes that a running agent takes: what a list of classes declares, and nothing else."""

from functools import partial

import pytest

from yolo_assets.classes import changes
from yolo_assets.contracts.class_list import ClassEntry, ClassList
from yolo_assets.contracts.times import utc_now
from yolo_assets.vision.contract import class_differences

FOUR = ("crack", "porosity", "spatter", "undercut")


def listed(*names: str, version: int = 1, id: str = "plant") -> ClassList:
    entries = tuple(ClassEntry(name=name) for name in names)
    return ClassList(id=id, version=version, classes=entries, by="Li", at=utc_now(), change="")


def renamed(plant: ClassList, old: str, new: str) -> ClassList:
    classes = changes.renamed(plant.classes, old, new)
    return plant.model_copy(update={"classes": classes, "version": plant.version + 1})


FIVE = listed(*FOUR, "dent", version=2)


def test_more_classes_of_the_same_list_are_taken_and_given_back() -> None:
    assert class_differences(FOUR, FIVE.names, known=listed(*FOUR), declared=FIVE) == []
    assert class_differences(FOUR, FIVE.names, declared=FIVE) == []  # a model from before the list
    assert class_differences(FIVE.names, FOUR, known=FIVE, declared=listed(*FOUR)) == []


def test_a_renamed_class_keeps_its_place_in_both_directions() -> None:
    before, after = listed(*FOUR), renamed(listed(*FOUR), "crack", "fissure")
    check = partial(class_differences, known=before, declared=after)
    assert check(before.names, after.names) == []
    assert class_differences(after.names, before.names, known=after, declared=before) == []
    assert class_differences(after.names, before.names, known=after) == []  # back to a model from before the list


@pytest.mark.parametrize(
    ("candidate", "known", "declared"),
    [
        (FIVE.names, None, None),  # nothing declares the class
        (FIVE.names, listed(*FOUR), None),
        (FIVE.names, listed(*FOUR), listed(*FOUR, "dent", version=2, id="other")),
        (FOUR, listed(*FOUR), listed(*FOUR, id="other")),
        (FOUR[:3], listed(*FOUR), None),
        (FOUR[:3], listed(*FOUR), listed(*FOUR[:3], version=2)),  # a class less is no append
        ((*FOUR[:3], "dent", "undercut"), listed(*FOUR), listed(*FOUR[:3], "dent", "undercut", version=2)),
        (("porosity", "crack", *FOUR[2:]), listed(*FOUR), listed("porosity", "crack", *FOUR[2:], version=2)),
        (("fissure", *FOUR[1:]), listed(*FOUR), listed("fissure", *FOUR[1:], version=2)),  # a new name, not declared
    ],
)
def test_all_else_is_refused(candidate: tuple[str, ...], known: ClassList | None, declared: ClassList | None) -> None:
    assert class_differences(FOUR, candidate, known=known, declared=declared)
