"""``DAGSTER_HOME`` of this installation: ``<home>/dagster``, made from the shipped ``dagster.yaml``."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from yolo_assets.contracts.errors import UserError
from yolo_assets.shipped import shipped_file


def prepare_dagster_home(home: Path) -> Path:
    """Make ``<home>/dagster`` with the instance's configuration, and return it.

    The file is copied when it differs: an upgrade brings its own ``dagster.yaml``.
    """
    source = shipped_file("dagster.yaml")
    dagster_home = home / "dagster"
    dagster_home.mkdir(parents=True, exist_ok=True)
    target = dagster_home / "dagster.yaml"
    if not target.exists() or target.read_bytes() != source.read_bytes():
        shutil.copyfile(source, target)
    return dagster_home


def find_dagster_home(home: Path) -> Path:
    """The instance that this installation's commands talk to: ``DAGSTER_HOME``, else ``<home>/dagster``.

    Raises:
        UserError: nothing has made it yet.
    """
    named = os.environ.get("DAGSTER_HOME")
    dagster_home = Path(named) if named else home / "dagster"
    if not (dagster_home / "dagster.yaml").is_file():
        raise UserError(
            f"there is no Dagster instance at {dagster_home}; start it with yolo-assets up, or name it in DAGSTER_HOME"
        )
    return dagster_home
