"""``DAGSTER_HOME`` of this installation: ``<home>/dagster``, made from the project's ``dagster.yaml``."""

from __future__ import annotations

import shutil
from pathlib import Path

from yolo_assets.contracts.errors import UserError

PROJECT = Path(__file__).parents[2]
"""The checkout: ``dagster.yaml`` and ``workspace.yaml`` lie at its top."""


def prepare_dagster_home(home: Path) -> Path:
    """Make ``<home>/dagster`` with the instance's configuration, and return it.

    The file is copied when it differs, so that a change of the project's ``dagster.yaml`` takes effect.

    Raises:
        UserError: the project's ``dagster.yaml`` is not where a checkout has it.
    """
    source = PROJECT / "dagster.yaml"
    if not source.exists():
        raise UserError(f"{source} is missing; run this from a checkout of the project")
    dagster_home = home / "dagster"
    dagster_home.mkdir(parents=True, exist_ok=True)
    target = dagster_home / "dagster.yaml"
    if not target.exists() or target.read_bytes() != source.read_bytes():
        shutil.copyfile(source, target)
    return dagster_home
