"""``YoloPlant``: these assets inside a Dagster project that exists already, by one ``defs.yaml``.

Belongs here: the component that ``dg`` finds by its entry point, and its scaffolding. Does not belong here: the
definitions, which are those of ``definitions`` and are imported when a plant is built: every ``dg`` command of an
environment loads this module. Our own code location does not load it, see there.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import dagster as dg
from dagster.components.component_scaffolding import scaffold_component
from pydantic import BaseModel, Field

from yolo_assets.contracts.errors import BadInputError, UsageError
from yolo_assets.contracts.locations import location_folder, location_url
from yolo_assets.contracts.settings import PREFIX, variables

_FOLDERS = ("home", "spool", "plant")
_URLS = ("archive", "store")
_FIRST_HOUR = f"{PREFIX}FIRST_HOUR"


class PlantParams(BaseModel):
    """What ``dg scaffold defs`` asks for."""

    home: str = Field(default="var", description="folder for keys, caches and what has no location of its own")
    spool: str | None = Field(default=None, description="where agents write their hours; default: <home>/spool")
    archive: str | None = Field(default=None, description="archive root: a folder, file:///… or s3://bucket/prefix")
    store: str | None = Field(default=None, description="store root: a folder, file:///… or s3://bucket/prefix")


class PlantScaffolder(dg.Scaffolder[PlantParams]):
    """Writes a ``defs.yaml`` with the locations that were given."""

    @classmethod
    def get_scaffold_params(cls) -> type[PlantParams]:
        """The options of the command."""
        return PlantParams

    def scaffold(self, request: dg.ScaffoldRequest[PlantParams]) -> None:
        """Write the file."""
        scaffold_component(request, request.params.model_dump(exclude_none=True))


@dg.scaffold_with(PlantScaffolder)
class YoloPlant(dg.Component, dg.Model, dg.Resolvable):
    """YOLO on the factory floor: archive, catalog, tables, training and release of one plant.

    One plant a code location. The attributes become the ``YOLO_ASSETS_*`` variables of its processes; what is not given
    here comes from their environment. Relative paths count from the project's root.
    """

    home: str = Field(description="folder for keys, caches and what has no location of its own")
    spool: str | None = Field(default=None, description="where agents write their hours")
    archive: str | None = Field(default=None, description="archive root: a folder, file:///… or s3://bucket/prefix")
    store: str | None = Field(default=None, description="store root: a folder, file:///… or s3://bucket/prefix")
    plant: str | None = Field(default=None, description="plant.yaml; by default that of the home")
    first_hour: str | None = Field(default=None, description="first partition, like 2026-01-01-00:00")
    settings: dict[str, str] = Field(
        default={}, description="further settings by their variables, like YOLO_ASSETS_CLASSES: crack,dent"
    )

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Everything of the plant: assets, checks, sensors, schedules and the resource ``locations``.

        Raises:
            BadInputError: this process has the definitions of another plant already.
            UsageError: an attribute is not valid.
        """
        wanted = self.environment(Path(context.project_root))
        differs = any(os.environ.get(name) != value for name, value in wanted.items())
        if differs and "yolo_assets.defs.partitions" in sys.modules:
            raise BadInputError(
                f"the plant of {self.home}: this process has the definitions of another plant; a code location holds "
                "one, so give each its own project, and import nothing of yolo_assets.defs elsewhere"
            )
        os.environ.update(wanted)  # runs and what they start read them too
        from yolo_assets.definitions import plant_definitions

        return plant_definitions()

    def environment(self, root: Path) -> dict[str, str]:
        """The attributes as environment variables.

        Args:
            root: relative paths count from it.

        Raises:
            UsageError: a location cannot be one, or a setting is not known.
        """
        known = {*variables(), _FIRST_HOUR}
        strange = sorted(set(self.settings) - known)
        if strange:
            raise UsageError(f"settings: {strange[0]} is not known; use {', '.join(sorted(known))}")
        folders = {name: str(root / location_folder(getattr(self, name))) for name in _FOLDERS if getattr(self, name)}
        urls = {name: location_url(getattr(self, name), root) for name in _URLS if getattr(self, name)}
        found = {f"{PREFIX}{name.upper()}": value for name, value in {**folders, **urls}.items()}
        return {**self.settings, **found, **({_FIRST_HOUR: self.first_hour} if self.first_hour else {})}
