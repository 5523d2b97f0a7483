"""Arguments that every store refuses alike, so that a mistake shows on a folder before it shows on S3."""

from __future__ import annotations

from collections.abc import Sequence

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.storage.base import UploadedPart


def check_range(start: int, length: int) -> None:
    """Refuse a negative range: a bug of the caller that slicing would hide."""
    if start < 0 or length < 0:
        raise ValueError(f"a range starts at 0 or later and is not negative, got start={start} length={length}")


def check_part_number(key: str, number: int) -> None:
    """Refuse a part number outside S3's 1 to 10,000.

    Raises:
        BadInputError: it is outside.
    """
    if not 1 <= number <= 10_000:
        raise BadInputError(f"part {number} of {key} is impossible; parts are numbered from 1 to 10000")


def check_parts(key: str, parts: Sequence[UploadedPart]) -> None:
    """Refuse a list of parts that no store should join.

    Raises:
        BadInputError: empty, not 1 to n in order, or uneven sizes before the last.
    """
    if not parts or [part.number for part in parts] != list(range(1, len(parts) + 1)):
        raise BadInputError(f"the parts of {key} are not 1 to n without a gap; upload what is missing first")
    sizes = {part.size for part in parts[:-1]}
    if len(sizes) > 1 or (sizes and parts[-1].size > min(sizes)):
        raise BadInputError(f"the parts of {key} are of uneven size; all but the last must be alike")
