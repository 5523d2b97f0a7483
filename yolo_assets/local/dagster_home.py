"""``DAGSTER_HOME`` of this installation: ``<home>/dagster``, made from the shipped ``dagster.yaml``."""

from __future__ import annotations

import shutil
from pathlib import Path

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
