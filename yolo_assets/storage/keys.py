"""Which keys, ranges and parts are legal, decided once for every store: the same on a folder as on S3.

Belongs here: the rules. Does not belong here: what a key means, which is ``contracts.names``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.storage.base import UploadedPart

RESERVED = ".yolo_store"
"""First part of the folder store's own files: locks, unfinished writes and uploads. No key begins with it."""

MAX_KEY_BYTES = 1024
"""S3's limit, prefix included; the rule is checked on the relative key, S3 itself refuses the rest."""

MAX_PART_BYTES = 255
"""The limit of a file name on every common file system."""

_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\]")


def key_problem(key: str) -> str | None:
    """What is wrong with a key, for a message, or None when it is legal."""
    if not key:
        return "it is empty"
    if _FORBIDDEN.search(key):
        return "it holds a backslash or a control character"
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    if size > MAX_KEY_BYTES:
        return f"it is longer than {MAX_KEY_BYTES} bytes"
    parts = key.split("/")
    if parts[0] == RESERVED:
        return f"{RESERVED}/ is the store's own"
    for part in parts:
        if not part:
            return "it has an empty part: a leading, trailing or doubled '/'"
        if part in (".", ".."):
            return f"it has a part {part!r}"
        if len(part.encode()) > MAX_PART_BYTES:
            return f"a part of it is longer than {MAX_PART_BYTES} bytes"
    return None


def check_key(key: str) -> str:
    """Return ``key`` when it is legal: relative, ``/``-separated, without empty, ``.`` or ``..`` parts.

    Raises:
        BadInputError: it is not; the message gives the reason.
    """
    problem = key_problem(key)
    if problem:
        raise BadInputError(f"{key!r} cannot be an object key: {problem}")
    return key


def check_prefix(prefix: str) -> str:
    """Return ``prefix`` when some legal key can start with it; it may end anywhere, also in the middle of a part.

    Raises:
        BadInputError: no legal key can.
    """
    # Completed by one letter a legal prefix is a legal key; ".." in the last part may still become "..x".
    problem = key_problem(prefix + "x") if prefix not in ("", RESERVED) else None
    if problem:
        raise BadInputError(f"{prefix!r} cannot be the beginning of an object key: {problem}")
    return prefix


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
