"""The classes of a plant that has no list of classes yet: what labels may use, and what the first list is made of.

Does not belong here: the list itself (``classes``), what a name means in it (``contracts.class_list``).
"""

from __future__ import annotations

from yolo_assets.classes.stored import read_class_list
from yolo_assets.contracts.model import MANIFEST, ChannelPointer, ModelManifest
from yolo_assets.contracts.names import channel_key, model_key
from yolo_assets.contracts.settings import Settings
from yolo_assets.learning.dataset import latest_dataset
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


def _served(store: ObjectStore, model_name: str) -> tuple[str, ...]:
    """Only the order of classes is taken from it, which the person who makes the list sees: it need not be signed."""
    key = channel_key(model_name, "stable")
    try:
        pointer = ChannelPointer.from_json(store.get(key), key)
        key = model_key(pointer.name, pointer.version, MANIFEST)
        return ModelManifest.from_json(store.get(key), key).class_names
    except ObjectNotFoundError:
        return ()
