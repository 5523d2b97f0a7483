"""Content of other people's tools, as they write it: the folder ``yolo_assets_tests/foreign``. No test lives here."""

from __future__ import annotations

import shutil
from pathlib import Path

FOREIGN = Path(__file__).parents[1] / "foreign"
SPOOLS = sorted(path.name for path in (FOREIGN / "spool").iterdir())


def spool_case(case: str, folder: Path) -> Path:
    """A copy of one foreign spool, because archiving deletes frames: ``<folder>/spool``."""
    return Path(shutil.copytree(FOREIGN / "spool" / case, folder / "spool"))


def every_spool(folder: Path) -> Path:
    """All foreign spools in one, ``<folder>/spool``: each camera is named after its case, also in its records."""
    spool = folder / "spool"
    for case in SPOOLS:
        for camera in sorted((FOREIGN / "spool" / case).iterdir()):
            name = f"{case}-{camera.name}"
            shutil.copytree(camera, spool / name)
            for path in spool.joinpath(name).rglob("*json"):
                path.write_bytes(path.read_bytes().replace(camera.name.encode(), name.encode()))
    return spool
