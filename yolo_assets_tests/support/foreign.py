"""Content of other people's tools, as they write it: the folder ``yolo_assets_tests/foreign``. No test lives here."""

from __future__ import annotations

import shutil
from pathlib import Path

FOREIGN = Path(__file__).parents[1] / "foreign"
SPOOLS = sorted(path.name for path in (FOREIGN / "spool").iterdir())


def spool_case(case: str, folder: Path) -> Path:
    """A copy of one foreign spool, because archiving deletes frames: ``<folder>/spool``."""
    return Path(shutil.copytree(FOREIGN / "spool" / case, folder / "spool"))
