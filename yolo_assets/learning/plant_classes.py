"""The classes of a plant that has no list of classes yet: what labels may use, and what the first list is made of.

Does not belong here: the list itself (``classes``), what a name means in it (``contracts.class_list``).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from yolo_assets.classes.changes import added
from yolo_assets.classes.stored import change_class_list, read_class_list
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.model import MANIFEST, ChannelPointer, ModelManifest
from yolo_assets.contracts.names import channel_key, model_key
from yolo_assets.contracts.settings import Settings
from yolo_assets.learning.dataset import latest_dataset
from yolo_assets.learning.records import AcceptedLabels
from yolo_assets.storage import ObjectNotFoundError, ObjectStore


def first_class_names(store: ObjectStore, settings: Settings) -> tuple[str, ...]:
    """Classes for the first list of a plant: those of the model that serves, of the newest dataset, of the settings.

    In this order, so that the model that serves keeps its ids.
    """
    dataset = latest_dataset(store)
    trained = dataset.manifest.class_names if dataset is not None else ()
    return tuple(dict.fromkeys([*_served(store, settings.model_name), *trained, *settings.class_names]))


def allowed_class_names(store: ObjectStore, settings: Settings) -> tuple[str, ...] | None:
    """Names that labels may use; None: any that is well-formed.

    All names in the list of classes; while there is none, those of ``YOLO_ASSETS_CLASSES``, else those of the newest
    dataset: a name that none of its labels has is a slip more often than a new class.
    """
    if settings.new_classes == "add":
        return None
    listed = read_class_list(store)
    if listed is not None:
        return tuple(name for entry in listed.classes for name in (entry.name, *entry.aliases))
    if settings.class_names:
        return settings.class_names
    dataset = latest_dataset(store)
    return dataset.manifest.class_names if dataset is not None else None


def offered_class_names(store: ObjectStore, settings: Settings) -> tuple[str, ...]:
    """Classes that people may choose when they label: those of the list that are in use, else those of the settings."""
    listed = read_class_list(store)
    return listed.names_in_use if listed is not None else settings.class_names


def add_new_classes(store: ObjectStore, settings: Settings, labels: Iterable[AcceptedLabels]) -> tuple[str, ...]:
    """Where the plant wants it (``YOLO_ASSETS_NEW_CLASSES=add``): put names that the list does not have at its end.

    A name that differs from one of the list in case alone is left out: datasets then name its images.

    Args:
        store: the store root.
        settings: the plant's.
        labels: those that were accepted.

    Returns:
        The names that were added; none without a list, which is then made of all names.
    """
    listed = read_class_list(store) if settings.new_classes == "add" else None
    if listed is None:
        return ()
    used = {box.class_name for one in labels for image in one.images for box in image.boxes}
    made: list[str] = []
    for name in sorted(name for name in used if listed.id_of(name) is None):
        try:
            change_class_list(store, partial(added, name=name), by="labels", what=f"added {name}")
        except BadInputError:
            continue
        made.append(name)
    return tuple(made)


def _served(store: ObjectStore, model_name: str) -> tuple[str, ...]:
    """Only the order of classes is taken from it, which the person who makes the list sees: it need not be signed."""
    key = channel_key(model_name, "stable")
    try:
        pointer = ChannelPointer.from_json(store.get(key), key)
        key = model_key(pointer.name, pointer.version, MANIFEST)
        return ModelManifest.from_json(store.get(key), key).class_names
    except ObjectNotFoundError:
        return ()
