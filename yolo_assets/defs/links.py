"""Links and pictures in metadata: to the pages of ``yolo-assets pages``, where ``YOLO_ASSETS_PAGES`` names them.

Dagster's UI shows a picture that Markdown names by its address in place, and costs an event a line; the same picture
inside the Markdown is behind a button and in the event log for ever. Without pages a location is shown as text.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from yolo_assets.contracts.names import annotation_key
from yolo_assets.contracts.plant import load_plant
from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.times import Hour
from yolo_assets.defs.metadata import picture
from yolo_assets.pages.links import PageLinks, Root

_LONGEST = 44
"""Characters of a key that are shown; the link leads to all of it."""


class UiLinks:
    """What an installation can link to.

    Attributes:
        pages: their addresses; None where nobody serves them.
    """

    def __init__(self, settings: Settings) -> None:
        self.pages = PageLinks(settings.pages) if settings.pages is not None else None
        self._settings = settings
        self._urls: dict[Root, str] = {"archive": settings.archive_url, "store": settings.store_url}

    def stored(self, root: Root, key: str) -> dg.MetadataValue[Any]:
        """An object, or a folder whose key ends with ``/``: a link, else its location."""
        if self.pages is not None:
            # Not as an address: one is a long word, and pushes the rest of the panel out of sight.
            shown = key if len(key) <= _LONGEST else f"{key[: _LONGEST // 2]}…{key[-_LONGEST // 2 :]}"
            return dg.MetadataValue.md(f"[{shown}]({self.pages.stored(root, key)})")
        return dg.MetadataValue.path(f"{self._urls[root]}/{key}")

    def samples(self, hour: Hour) -> dict[str, dg.MetadataValue[Any]]:
        """A few frames of an hour with their boxes, in place; the picture leads to all cameras of the hour."""
        if self.pages is None:
            return {}
        frames = f"[![sample frames of {hour}]({self.pages.sheet(hour)})]({self.pages.hour(hour)})"
        return {"samples": dg.MetadataValue.md(frames)}

    def report(self, model_version: str) -> dict[str, dg.MetadataValue[Any]]:
        """The pages of a version: gate report and plots; what it came from, and what rests on it."""
        if self.pages is None:
            return {}
        return {
            "report": dg.MetadataValue.url(self.pages.model(model_version)),
            "lineage": dg.MetadataValue.url(self.pages.lineage(model_version)),
        }

    def batch_sheet(self, batch: str) -> dict[str, dg.MetadataValue[Any]]:
        """Frames of an annotation batch with boxes and reasons, in place; the picture leads to the batch."""
        if self.pages is None:
            return {}
        folder = self.pages.stored("store", annotation_key(batch))
        return {"sheet": dg.MetadataValue.md(f"[![frames of {batch}]({self.pages.batch_sheet(batch)})]({folder})")}

    def label_tool(self) -> dict[str, dg.MetadataValue[Any]]:
        """The project in the labelling tool, where ``plant.yaml`` names it.

        Raises:
            BadInputError: ``plant.yaml`` is wrong.
        """
        address = load_plant(self._settings).label_tool
        return {"label_tool": dg.MetadataValue.url(address)} if address is not None else {}

    def plots(self, files: Mapping[str, Path], keys: Mapping[str, str]) -> dict[str, dg.MetadataValue[Any]]:
        """Plots by name: in place, else inside the Markdown, where they are behind a button.

        Args:
            files: each plot here.
            keys: each plot in the store, where it was put there.
        """

        def shown(name: str, file: Path) -> dg.MetadataValue[Any]:
            if self.pages is None or name not in keys:
                return picture(file, name)
            return dg.MetadataValue.md(f"![{name}]({self.pages.stored('store', keys[name])})")

        return {f"plot_{name}": shown(name, file) for name, file in sorted(files.items())}
