"""Names of classes on the command line: the option ``--classes``, and the other names of a class that is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from yolo_assets.cli.common import note

if TYPE_CHECKING:
    from yolo_assets.contracts.settings import Settings
    from yolo_assets.learning.formats.class_list import GivenClasses

ClassesOption = Annotated[
    Path | None,
    typer.Option(
        "--classes",
        metavar="FILE",
        help="Class names, one a line or a data.yaml, which may hold display_names; default: the file's.",
    ),
]


def given_classes(path: Path | None) -> GivenClasses:
    """What the file says; nothing where none was given.

    Raises:
        BadInputError: it cannot be read, or leaves open which id a name has.
    """
    from yolo_assets.contracts.errors import BadInputError
    from yolo_assets.learning.formats.class_list import GivenClasses, read_given_classes

    if path is None:
        return GivenClasses()
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInputError(f"cannot read {path}: {error.strerror}") from None
    return read_given_classes(str(path), data)


def other_names(where: Settings, class_name: str) -> tuple[str, ...]:
    """Under which other names records may hold a class, by the plant's list; a line on standard error tells them.

    None where the plant has no list, and where the store cannot be read, which is told.
    """
    from yolo_assets.classes.stored import read_class_list
    from yolo_assets.contracts.errors import UserError
    from yolo_assets.storage.open import folder_of, open_store

    folder = folder_of(where.store_url)
    if folder is not None and not folder.is_dir():
        return ()
    try:
        listed = read_class_list(open_store(where.store_url, memory=where.known_stores, remember=False))
    except UserError as error:
        note(f"the list of classes cannot be read, so {class_name} is looked for under this name alone: {error}")
        return ()
    others = tuple(name for name in listed.spellings(class_name) if name != class_name) if listed is not None else ()
    if others:
        note(f"{class_name} is also looked for as {', '.join(others)}")
    return others
