"""Composes ``defs/`` and its resources; nothing else."""

from pathlib import Path

import dagster as dg

from yolo_assets.defs.locations import Locations


@dg.definitions
def defs() -> dg.Definitions:
    """Everything that Dagster shows and runs."""
    return dg.Definitions.merge(
        dg.load_from_defs_folder(path_within_project=Path(__file__).parent),
        dg.Definitions(resources={"locations": Locations.from_env()}),
    )
