"""Files that are installed with the package: Dagster's instance and workspace, an example configuration, service units.

Belongs here: what a person or another program reads as a file, and that a wheel must contain. A checkout shows the same
files at the places where people look for them (``dagster.yaml``, ``deploy/edge``), as links. Does not belong here: what
the code alone reads (``catalog/prices.toml``, the live page), which is next to it.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def shipped_file(name: str) -> Path:
    """The path of a shipped file, like ``dagster.yaml``."""
    return Path(str(files(__name__) / name))
