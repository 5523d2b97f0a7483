"""Files that are installed with the package: Dagster's instance and workspace, example configurations, service units.

Belongs here: what a person or another program reads as a file, and that a wheel must contain. A checkout shows the same
files at the places where people look for them (``dagster.yaml``, ``deploy/edge``, ``deploy/plant``), as links. Does not
belong here: what the code alone reads (``catalog/prices.toml``, the live page), which is next to it.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

PLANT_FILES = (
    "dagster.env.example",
    "platform.env.example",
    "ui.nginx.conf",
    "workspace.yaml",
    "yolo-assets-code.service",
    "yolo-assets-daemon.service",
    "yolo-assets-events.service",
    "yolo-assets-exporter.service",
    "yolo-assets-pages.service",
    "yolo-assets-ui-readers.service",
    "yolo-assets-ui.service",
)
"""In ``plant/``: what a plant's Dagster needs besides ``dagster.yaml``."""


def shipped_file(name: str) -> Path:
    """The path of a shipped file, like ``dagster.yaml``."""
    return Path(str(files(__name__) / name))


def plant_dagster_yaml() -> str:
    """The ``dagster.yaml`` of a plant: that of one machine, with storage in PostgreSQL and compute logs on S3."""
    return f"{shipped_file('dagster.yaml').read_text()}\n{shipped_file('plant/storage.yaml').read_text()}"
