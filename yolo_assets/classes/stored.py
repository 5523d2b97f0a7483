"""``classes/<version>.json``, immutable, and the pointer ``classes/current.json``, moved by compare-and-swap.

A version that was written and never became current (its writer died, or lost a race) is left where it is: the chain of
parents does not hold it, and its number is not used again.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

from yolo_assets.contracts.base import Record
from yolo_assets.contracts.class_list import ClassEntry, ClassList
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import CLASS_LIST_POINTER, class_list_key
from yolo_assets.contracts.times import utc_now
from yolo_assets.storage import AlreadyExistsError, CasConflictError, ObjectNotFoundError, ObjectStore

Change = Callable[[tuple[ClassEntry, ...]], tuple[ClassEntry, ...]]
"""From the classes of one version to those of the next."""

_TRIES = 20
"""Writers that may come in between before a change is given up."""


class ClassListPointer(Record):
    """``classes/current.json``."""

    version: int


def read_class_list(store: ObjectStore, version: int | None = None) -> ClassList | None:
    """The list that counts, or one of its versions; None while the plant has none.

    Raises:
        BadInputError: it cannot be read.
        ObjectNotFoundError: no such version.
    """
    if version is None:
        try:
            pointer = store.get(CLASS_LIST_POINTER)
        except ObjectNotFoundError:
            return None
        version = ClassListPointer.from_json(pointer, CLASS_LIST_POINTER).version
    key = class_list_key(version)
    return ClassList.from_json(store.get(key), key)


def current_names(store: ObjectStore) -> dict[str, str | None]:
    """By every name in the list the name that its class has now; None for a retired class. Empty without a list."""
    listed = read_class_list(store)
    if listed is None:
        return {}
    entries = {name: listed.entry(name) for one in listed.classes for name in (one.name, *one.aliases)}
    return {name: entry.name if entry and not entry.retired else None for name, entry in entries.items()}


def class_list_history(store: ObjectStore) -> Iterator[ClassList]:
    """The versions from the one that counts back to the first."""
    listed = read_class_list(store)
    while listed is not None:
        yield listed
        listed = read_class_list(store, listed.parent) if listed.parent is not None else None


def change_class_list(
    store: ObjectStore, change: Change, *, by: str, what: str, first: Callable[[], tuple[str, ...]] = tuple
) -> ClassList:
    """Make the next version; with others who change the list at the same time, one after the other.

    Args:
        store: the store root.
        change: is called again when somebody else was faster.
        by: who changes it.
        what: in words, for the history.
        first: names of the classes that a plant without a list has, in the order of their ids.

    Returns:
        The version that counts now; the one before when nothing changed.

    Raises:
        BadInputError: from ``change``.
        CasConflictError: too many others changed it.
    """
    for _ in range(_TRIES):
        pointer = store.head(CLASS_LIST_POINTER)
        before = read_class_list(store)
        classes = before.classes if before else tuple(ClassEntry(name=name) for name in first())
        after = change(classes)
        if before is not None and after == classes:
            return before
        if not after:
            raise BadInputError("a list of classes cannot be empty; add one with: yolo-assets classes add NAME")
        try:
            made = ClassList(
                id=before.id if before else secrets.token_hex(8),
                version=_free_version(store, before),
                classes=after,
                parent=before.version if before else None,
                by=by,
                at=utc_now(),
                change=what,
            )
            store.put_if_absent(class_list_key(made.version), made.to_json())
            moved = ClassListPointer(version=made.version).to_json()
            store.compare_and_swap(CLASS_LIST_POINTER, moved, pointer.etag if pointer else None)
        except (AlreadyExistsError, CasConflictError):
            continue
        return made
    raise CasConflictError("others change the list of classes all the time; try again")


def _free_version(store: ObjectStore, before: ClassList | None) -> int:
    version = before.version + 1 if before else 1
    while store.head(class_list_key(version)) is not None:
        version += 1
    return version
