"""What the targets share: the law about errors, and example files."""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TypeVar

from yolo_assets.contracts.errors import UserError

FOREIGN = Path(__file__).parents[1] / "foreign"
LONGEST_SEED = 64 << 10
T = TypeVar("T")


_UNFORESEEN = re.compile(r"cannot be read \([A-Z]\w+(Error|Exception|Iteration|Warning): ")
"""What a reader's guard against the unforeseen says: the neighbours are safe, and it is a fault all the same."""


def refused_or(read: Callable[[], T]) -> T | None:
    """What a parser gives; None when it refuses in one line that is not empty. Anything else it raises is a fault."""
    try:
        return read()
    except UserError as error:
        if _UNFORESEEN.search(str(error)):
            raise AssertionError(str(error)) from error.__context__
        text = str(error)
        assert text and "\n" not in text, f"not one line: {text!r}"
        return None


@cache
def scratch() -> Path:
    """A folder of this process."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def foreign(folder: str, *endings: str) -> Iterator[bytes]:
    """The files of the foreign folder with these endings, but for long ones."""
    for path in sorted((FOREIGN / folder).rglob("*")):
        if path.is_file() and path.name.endswith(endings) and path.stat().st_size <= LONGEST_SEED:
            yield path.read_bytes()
