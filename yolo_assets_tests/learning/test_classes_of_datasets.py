"""Datasets under the list of classes: what is renamed, retired, merged or mistyped stops nobody and leaves no ghost."""

from functools import partial
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest

from yolo_assets.archive.archive import Archive
from yolo_assets.classes import changes
from yolo_assets.classes.stored import Change, change_class_list, current_names
from yolo_assets.contracts.names import LABELS_INBOX
from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.learning.batch import prelabels_from_table
from yolo_assets.learning.dataset import Dataset, build_dataset
from yolo_assets.learning.label_history import accepted
from yolo_assets.learning.labels import FileReport, import_inbox
from yolo_assets.learning.plant_classes import (
    add_new_classes,
    allowed_class_names,
    first_class_names,
    offered_class_names,
)
from yolo_assets.storage import ObjectStore, open_store
from yolo_assets_tests.learning.label_inbox import zipped


class Plant:
    def __init__(self, home: Path) -> None:
        self.settings = Settings(home=home)
        self.store: ObjectStore = open_store(self.settings.store_url)
        self._archive = Archive(open_store(self.settings.archive_url), TrustedKeys.of())
        self._random = np.random.default_rng(5)

    def label(self, *names: str) -> FileReport:
        """A YOLO zip with a picture of noise for each class name, imported as the sensor does."""
        files: dict[str, bytes | str] = {"classes.txt": "\n".join(dict.fromkeys(names))}
        order = list(dict.fromkeys(names))
        for number, name in enumerate(names):
            picture = self._random.integers(0, 255, (64, 96, 3), np.uint8)
            files[f"images/{number}.png"] = cv2.imencode(".png", picture)[1].tobytes()
            files[f"labels/{number}.txt"] = f"{order.index(name)} 0.5 0.5 0.5 0.5\n"
        key = f"{LABELS_INBOX}{self._random.integers(1 << 30)}.zip"
        self.store.put(key, zipped(files))
        found = import_inbox(self.store, allowed_class_names(self.store, self.settings))
        return next(one for one in found.files if one.file == key)

    def build(self) -> Dataset:
        return build_dataset(self.store, self._archive, class_names=self.settings.class_names)

    def change(self, how: Change) -> None:
        change_class_list(self.store, how, by="Li", what="", first=lambda: first_class_names(self.store, self.settings))


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return Plant(tmp_path)


def boxes(dataset: Dataset) -> dict[str, int]:
    found = [box.class_name for item in dataset.manifest.items for box in item.boxes]
    return {name: found.count(name) for name in sorted(set(found))}


def test_a_mistyped_class_is_rejected_with_the_nearest_and_stops_nobody(plant: Plant) -> None:
    assert plant.label(*["crack", "dent"] * 6).problems == []
    before = plant.build()
    refused = plant.label("Crack", "crack")
    assert "'Crack'" in str(refused.problems[0]) and "crack" in str(refused.problems[0]).split("Crack", 1)[1]
    assert refused.images == 1
    after = plant.build()
    assert (before.manifest.class_names, after.manifest.class_names) == (("crack", "dent"),) * 2
    assert boxes(after) == {"crack": 7, "dent": 6}


def test_a_class_that_was_mistyped_before_there_was_a_list_is_merged_away(plant: Plant) -> None:
    plant.label(*["crack", "dent", "Crack"] * 6)
    assert plant.build().manifest.class_names == ("Crack", "crack", "dent")
    plant.change(partial(changes.merged, source="Crack", target="crack"))
    mended = plant.build()
    assert mended.manifest.class_names == ("Crack", "crack", "dent"), "the model that serves keeps its ids"
    assert boxes(mended) == {"crack": 12, "dent": 6}
    assert mended.manifest.names_in_use == ("crack", "dent")
    assert not any("Crack" in warning for warning in mended.manifest.warnings)


def test_datasets_take_order_and_names_from_the_list(plant: Plant) -> None:
    plant.label(*["crack", "dent", "scratch"] * 6)
    plant.build()
    for how in (
        partial(changes.added, name="rust"),
        partial(changes.renamed, old="crack", new="fissure"),
        partial(changes.retired, name="scratch"),
    ):
        plant.change(how)
    built = plant.build()
    assert built.manifest.class_names == ("fissure", "dent", "scratch", "rust")
    assert boxes(built) == {"dent": 6, "fissure": 6}
    assert sum(not item.boxes for item in built.manifest.items) == 6, "what shows only a retired class is a background"
    assert built.manifest.class_list is not None and built.manifest.class_list.version == 3
    assert plant.build() == built
    plant.change(partial(changes.described, name="dent", display_names={"de": "Delle"}))
    assert plant.build() == built, "what people call a class trains nothing"


def test_people_are_shown_classes_by_the_names_of_now(plant: Plant) -> None:
    plant.label(*["crack", "dent", "scratch"] * 6)
    plant.build()
    plant.change(partial(changes.renamed, old="crack", new="fissure"))
    plant.change(partial(changes.retired, name="scratch"))
    assert offered_class_names(plant.store, plant.settings) == ("fissure", "dent")
    path = "cam1/20260102_03/20260102_030405_678.jpg"
    row = {"image_path": path, "confidence": 0.5, "x1": 1.0, "y1": 1.0, "x2": 9.0, "y2": 9.0, "model_version": "line/1"}
    table = pl.DataFrame([row | {"class": name} for name in ("crack", "scratch", "rust")])
    shown = prelabels_from_table(table, current_names(plant.store))[path].predictions
    assert [one.class_name for one in shown] == ["fissure", "rust"]


def test_a_plant_that_wants_it_adds_classes_by_labelling(plant: Plant) -> None:
    plant.settings = Settings(home=plant.settings.home, new_classes="add")
    plant.label(*["crack", "dent"] * 6)
    plant.build()
    assert plant.label("rust").problems == []
    assert plant.build().manifest.class_names == ("crack", "dent", "rust")
    plant.change(partial(changes.renamed, old="crack", new="fissure"))
    plant.label("mould", "Dent", "crack")
    assert add_new_classes(plant.store, plant.settings, accepted(plant.store)) == ("mould",)
    built = plant.build().manifest
    assert built.class_names == ("fissure", "dent", "rust", "mould")
    (why,) = built.excluded.values()
    assert "'Dent' is not in the list of classes; yolo-assets classes alias dent Dent" in why
