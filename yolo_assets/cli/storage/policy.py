"""``yolo-assets storage policy``: policies and lifecycle rules as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from yolo_assets.cli.common import out


def policy(
    folder: Annotated[Path, typer.Option("--out", help="Folder to write into.", metavar="DIR")],
) -> None:
    """Write policies and lifecycle rules as files, for whoever sets up stores by other means."""
    from yolo_assets.storage.admin.shipped import write

    for path in write(folder):
        out().print(str(path), markup=False)
