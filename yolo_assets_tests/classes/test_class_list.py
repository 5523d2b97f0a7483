"""The list of classes: ids stay, a name keeps its meaning, and writers at the same time lose no change."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from yolo_assets.classes import changes
from yolo_assets.classes.stored import Change, change_class_list, class_list_history, read_class_list
from yolo_assets.contracts.class_list import ClassEntry, ClassList
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import class_list_key
from yolo_assets.storage import ObjectStore, open_store

FIRST = ("crack", "porosity", "spatter")


def change(store: ObjectStore, how: Change, what: str = "as people say") -> ClassList:
    return change_class_list(store, how, by="Li", what=what, first=lambda: FIRST)


def listed(*how: Change) -> ClassList:
    classes = tuple(ClassEntry(name=name) for name in FIRST)
    for one in how:
        classes = one(classes)
    return ClassList.model_validate(
        {"id": "a", "version": 1, "classes": classes, "by": "Li", "at": "2026-01-02T00:00:00Z", "change": ""}
    )


def test_a_class_keeps_its_id_whatever_is_done() -> None:
    plant = listed(
        partial(changes.added, name="dent"),
        partial(changes.renamed, old="crack", new="fissure"),
        partial(changes.aliased, name="porosity", other="pores"),
        partial(changes.retired, name="spatter"),
        partial(changes.merged, source="dent", target="crack"),
    )
    assert plant.names == ("fissure", "porosity", "spatter", "dent")
    assert plant.names_in_use == ("fissure", "porosity")
    assert [plant.id_of(name) for name in ("crack", "fissure", "pores", "dent", "Crack")] == [0, 0, 1, 3, None]
    assert [plant.resolve(name) for name in ("crack", "pores", "dent", "spatter", "Crack")] == [
        "fissure",
        "porosity",
        "fissure",
        "spatter",
        None,
    ]
    assert plant.spellings("crack") == ("fissure", "crack", "dent")
    assert plant.spellings("rust") == ("rust",)


def test_what_was_merged_follows_a_rename_and_a_merge() -> None:
    plant = listed(
        partial(changes.merged, source="spatter", target="porosity"),
        partial(changes.renamed, old="porosity", new="pore"),
        partial(changes.merged, source="pore", target="crack"),
    )
    assert plant.resolve("spatter") == "crack"
    assert set(plant.spellings("crack")) == {"crack", "pore", "porosity", "spatter"}


def test_a_retired_class_and_an_old_name_come_back() -> None:
    plant = listed(
        partial(changes.retired, name="crack"),
        partial(changes.added, name="crack", display_names={"de": "Riss"}, critical=True),
        partial(changes.renamed, old="porosity", new="pore"),
        partial(changes.renamed, old="pore", new="porosity"),
    )
    assert plant.classes[0] == ClassEntry(name="crack", display_names={"de": "Riss"}, critical=True)
    assert plant.classes[1] == ClassEntry(name="porosity", aliases=("pore",))


@pytest.mark.parametrize(
    ("how", "says"),
    [
        (partial(changes.added, name="crack"), "is a class already"),
        (partial(changes.added, name=" crack"), "not a class name"),
        (partial(changes.renamed, old="crak", new="fissure"), "did you mean crack"),
        (partial(changes.renamed, old="crack", new="porosity"), "means class 1"),
        (partial(changes.aliased, name="crack", other="spatter"), "means class 2"),
        (partial(changes.merged, source="crack", target="crack"), "the same class"),
    ],
)
def test_a_change_that_would_give_a_name_two_meanings_is_refused(how: Change, says: str) -> None:
    with pytest.raises(BadInputError, match=says):
        listed(how)


def test_a_mistyped_name_gets_the_nearest_one() -> None:
    plant = listed(partial(changes.renamed, old="porosity", new="pores"))
    assert [plant.nearest(name) for name in ("Crack", "porosoty", "spater", "rust")] == [
        "crack",
        "pores",
        "spatter",
        None,
    ]


def test_each_version_says_who_changed_what_and_stays(tmp_path: Path) -> None:
    store = open_store((tmp_path / "store").as_uri())
    assert read_class_list(store) is None
    first = change(store, partial(changes.added, name="dent"), "added dent")
    second = change(store, partial(changes.renamed, old="crack", new="fissure"), "renamed crack to fissure")
    assert (first.version, second.version, second.parent, second.id) == (1, 2, 1, first.id)
    assert [(one.version, one.by, one.change) for one in class_list_history(store)] == [
        (2, "Li", "renamed crack to fissure"),
        (1, "Li", "added dent"),
    ]
    assert change(store, partial(changes.aliased, name="fissure", other="crack")) == second


def test_writers_at_the_same_time_lose_no_change(tmp_path: Path) -> None:
    store = open_store((tmp_path / "store").as_uri())
    adds: list[Callable[..., tuple[ClassEntry, ...]]] = [partial(changes.added, name=f"new{n}") for n in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(partial(change, store), adds))
    plant = read_class_list(store)
    assert plant is not None
    assert sorted(plant.names) == sorted([*FIRST, *(f"new{n}" for n in range(6))])
    assert len(list(class_list_history(store))) == 6


def test_a_version_of_a_writer_that_died_is_passed_over(tmp_path: Path) -> None:
    store = open_store((tmp_path / "store").as_uri())
    change(store, partial(changes.added, name="dent"))
    store.put_if_absent(class_list_key(2), b"half a list")
    assert change(store, partial(changes.added, name="rust")).version == 3
    assert [one.version for one in class_list_history(store)] == [3, 1]
