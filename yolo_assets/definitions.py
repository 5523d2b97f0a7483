"""Composes ``defs/`` and its resources; nothing else."""

import dagster as dg

from yolo_assets import defs as stages
from yolo_assets.defs.locations import Locations


@dg.definitions
def defs() -> dg.Definitions:
    """Everything that Dagster shows and runs."""
    return dg.Definitions.merge(
        dg.load_definitions_from_package_module(stages),
        dg.Definitions(resources={"locations": Locations.from_env()}),
    )
