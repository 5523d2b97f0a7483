"""The option ``--classes``, and class names from the file that it names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ClassesOption = Annotated[
    Path | None,
    typer.Option("--classes", metavar="FILE", help="Class names, one a line or a data.yaml; default: the file's."),
]


def class_names_of(path: Path) -> tuple[str, ...]:
    """Class names in the order of their ids, from a text with one a line or a ``data.yaml``.

    Raises:
        BadInputError: it cannot be read, or leaves open which id a name has.
    """
    from yolo_assets.contracts.errors import BadInputError
    from yolo_assets.learning.formats.class_list import read_class_names

    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInputError(f"cannot read {path}: {error.strerror}") from None
    return read_class_names(str(path), data)
