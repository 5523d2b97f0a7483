"""The option ``--classes``, and what the file that it names says about the classes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
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
