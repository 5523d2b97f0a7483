"""The plant's classes: an ordered list with versions, in which a class keeps its id for ever.

Belongs here: the record ``classes/<version>.json`` and what a name means in it. Does not belong here: changing it, and
the store (``classes``).

A name means one class for ever, also after it was given up: old records are read by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from yolo_assets.contracts.base import Record, Time
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import check_class_name


class ClassEntry(Record):
    """One class. Its id is its position in the list.

    A retired class is no longer labelled, trained or reported; a merged one is reported as another one. Both keep
    their ids.
    """

    name: str = Field(description="what records, labels and models call it")
    display_names: dict[str, str] = Field(
        default_factory=dict[str, str], description="what people call it, by language (en, zh, de …)"
    )
    aliases: tuple[str, ...] = Field(default=(), description="other spellings, and names that it had before")
    retired: bool = False
    merged_into: str | None = Field(default=None, description="name of the class that it is part of now")
    critical: bool = Field(default=False, description="overlooking it does harm")

    @property
    def in_use(self) -> bool:
        """Whether it is labelled, trained and reported under its own name."""
        return not self.retired and self.merged_into is None

    @field_validator("name", "merged_into", "aliases")
    @classmethod
    def _names(cls, value: Any) -> Any:
        try:
            for name in (value,) if isinstance(value, str) else value or ():
                check_class_name(name)
        except BadInputError as error:
            raise ValueError(str(error)) from None
        return value


class ClassList(Record):
    """One version of the plant's list of classes."""

    schema_version: Literal[1] = 1
    id: str = Field(min_length=1, description="of the list; all its versions have it")
    version: int = Field(ge=1, description="only grows")
    classes: tuple[ClassEntry, ...] = Field(min_length=1, description="position is the class id and never moves")
    parent: int | None = Field(default=None, description="the version that this one was made from")
    by: str = Field(description="who made this version")
    at: Time
    change: str = Field(description="what differs from the parent")

    @model_validator(mode="after")
    def _one_meaning_each(self) -> Self:
        seen: set[str] = set()
        for entry in self.classes:
            for name in (entry.name, *entry.aliases):
                if name in seen:
                    raise ValueError(f"{name!r} names two classes")
                seen.add(name)
        current = {entry.name for entry in self.classes if entry.merged_into is None}
        for entry in self.classes:
            if entry.merged_into is not None and entry.merged_into not in current:
                raise ValueError(f"{entry.name!r} is merged into {entry.merged_into!r}, which is no class of its own")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all classes in the order of their ids; those of retired and merged ones too."""
        return tuple(entry.name for entry in self.classes)

    @property
    def names_in_use(self) -> tuple[str, ...]:
        """Names of the classes that are labelled, trained and reported, in the order of their ids."""
        return tuple(entry.name for entry in self.classes if entry.in_use)

    @property
    def display_names(self) -> dict[str, str | dict[str, str]]:
        """By class name what people call it, by language; classes that nobody described are left out."""
        return {entry.name: dict(entry.display_names) for entry in self.classes if entry.display_names}

    @property
    def label(self) -> str:
        """``<id>/<version>``, as records carry it."""
        return f"{self.id}/{self.version}"

    def current_ids(self) -> tuple[int, ...]:
        """By class id the id that is reported: that of the class it was merged into; -1 for a retired one."""
        found = (self.entry(name) for name in self.names)
        return tuple(-1 if entry is None or entry.retired else self.id_of(entry.name) or 0 for entry in found)

    def id_of(self, name: str) -> int | None:
        """The class id of a name, an alias or an old name; of a merged class its own. None: no such class."""
        return id_in(self.classes, name)

    def entry(self, name: str) -> ClassEntry | None:
        """The class that a name, an alias or an old name means now: of a merged one the class it is part of."""
        own = self.id_of(name)
        if own is None:
            return None
        entry = self.classes[own]
        return entry if entry.merged_into is None else self.entry(entry.merged_into)

    def resolve(self, name: str) -> str | None:
        """The current name for a name, an alias or an old name; None when the list does not know it.

        A retired class resolves to its name.
        """
        entry = self.entry(name)
        return entry.name if entry is not None else None

    def current_names(self, names: Iterable[str]) -> tuple[str, ...]:
        """The names that classes have now; those that the list does not know as they are."""
        return tuple(dict.fromkeys(self.resolve(name) or name for name in names))

    def spellings(self, name: str) -> tuple[str, ...]:
        """Every name under which records may hold a class, its current name first; the name alone where it is unknown.

        Names, aliases and old names of the class, and of all that were merged into it.
        """
        current = self.resolve(name)
        if current is None:
            return (name,)
        parts = [entry for entry in self.classes if current in (entry.name, entry.merged_into)]
        return tuple(dict.fromkeys([current, *(n for entry in parts for n in (entry.name, *entry.aliases))]))

    def nearest(self, name: str) -> str | None:
        """The current name of the class that a mistyped name most likely means; None when nothing is like it."""
        near = nearest_name(name, (n for entry in self.classes for n in (entry.name, *entry.aliases)))
        return self.resolve(near) if near is not None else None


def id_in(classes: Sequence[ClassEntry], name: str) -> int | None:
    """Position of the class that has a name, an alias or an old name; None: no such class."""
    return next((i for i, entry in enumerate(classes) if name == entry.name or name in entry.aliases), None)


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """The one of several names that is most like a mistyped one, whatever the case; None when nothing is like it."""
    by_folded = {one.casefold(): one for one in known}
    near = get_close_matches(name.casefold(), by_folded, 1)
    return by_folded[near[0]] if near else None
