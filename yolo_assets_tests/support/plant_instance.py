"""A plant's home for tests: the shipped configuration over a real PostgreSQL, its variables, what it archived."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from yolo_assets.archive.archive import Archive
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour
from yolo_assets.shipped import plant_dagster_yaml
from yolo_assets.storage import open_store
from yolo_assets_tests.support.postgres_server import Database


def plant_environment(home: Path, database: Database, *, compute_logs: str | None = None) -> dict[str, str]:
    """Write ``<home>/dagster/dagster.yaml`` and return the variables that its processes need.

    Args:
        home: of the installation.
        database: an empty one; Dagster makes its tables.
        compute_logs: bucket for what steps print; None: they lie below ``DAGSTER_HOME``.
    """
    dagster_home = home / "dagster"
    dagster_home.mkdir(parents=True, exist_ok=True)
    text = plant_dagster_yaml()
    if compute_logs is None:
        settings = yaml.safe_load(text)
        del settings["compute_logs"]
        text = yaml.safe_dump(settings, sort_keys=False)
    (dagster_home / "dagster.yaml").write_text(text)
    return {
        "DAGSTER_HOME": str(dagster_home),
        "DAGSTER_POSTGRES_HOST": "127.0.0.1",
        "DAGSTER_POSTGRES_PORT": str(database.port),
        "DAGSTER_POSTGRES_DB": database.name,
        "DAGSTER_POSTGRES_USER": database.user,
        "DAGSTER_POSTGRES_PASSWORD": database.password,
        "DAGSTER_COMPUTE_LOGS_BUCKET": compute_logs or "",
    }


def enter(environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Give this process the variables of the plant's processes, and no other of Dagster or of an installation."""
    for name in [name for name in os.environ if name.startswith(("YOLO_ASSETS_", "DAGSTER_"))]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def archived_hours(home: Path) -> set[tuple[str, Hour]]:
    """Camera-hours with an archive, in the archive root of a home that archives by itself."""
    key = home / "keys" / "archiver"
    if not key.exists():
        return set()
    archive = Archive(open_store((home / "archive").as_uri()), TrustedKeys.of(Signer.load(key)))
    return {(name.camera_id, name.hour) for name in archive.names()}
