"""``yolo-assets storage policy``: policies and lifecycle rules as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from yolo_assets.cli.common import out


def policy(
    folder: Annotated[Path, typer.Option("--out", help="Folder to write into.", metavar="DIR")],
) -> None:
    """Write policies and lifecycle rules as files, for those who set up stores by other means."""
    from yolo_assets.storage.admin.policy import write_policies

    for path in write_policies(folder):
        out().print(str(path), markup=False)
