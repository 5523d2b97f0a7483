"""The code version of an asset: a hash of the sources that its result depends on.

Dagster shows an asset as stale when this version is another one than that of its newest materialization. No condition
reads it: a new release would otherwise make everything of years again. What is to be made again is a person's decision,
with ``yolo-assets backfill``.

Belongs here: hashing. Does not belong here: what an asset depends on, which stands at the asset.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).parents[1]


def code_version(*sources: str) -> str:
    """Twelve digits that change with any of the sources. They are read, not imported.

    Args:
        sources: folders and files below the package, like ``tables`` or ``tables/health.py``.

    Raises:
        FileNotFoundError: a source is not there.
    """
    digest = hashlib.sha256()
    for source in sources:
        digest.update(f"{source} {_hash(_ROOT / source)}\n".encode())
    return digest.hexdigest()[:12]


@cache
def _hash(source: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(source.rglob("*.py")) if source.is_dir() else [source]:
        digest.update(f"{file.relative_to(source.parent).as_posix()} ".encode() + file.read_bytes())
    return digest.hexdigest()
