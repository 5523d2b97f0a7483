"""Addresses of the pages, for whoever writes a link: built here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from yolo_assets.contracts.times import Hour

Root = Literal["archive", "store"]
"""Which of the two roots an object lies in."""


@dataclass(frozen=True)
class PageLinks:
    """Addresses below one base.

    Attributes:
        base: the address of the pages without a slash at its end, or a path that leads to them, like ``../..``.
    """

    base: str

    def front(self) -> str:
        """What there is."""
        return f"{self.base}/"

    def today(self) -> str:
        """The wall page."""
        return f"{self.base}/today"

    def hour(self, hour: Hour, camera_id: str | None = None) -> str:
        """The cameras of an hour; the page opens at one of them."""
        return f"{self.base}/hours/{hour.key}{f'#{camera_id}' if camera_id is not None else ''}"

    def sheet(self, hour: Hour, camera_id: str | None = None) -> str:
        """A picture of a few frames with their boxes: of one camera, or of the hour."""
        return f"{self.base}/hours/{hour.key}/{f'{camera_id}/' if camera_id is not None else ''}samples.webp"

    def camera(self, hour: Hour, camera_id: str) -> str:
        """Frames of a camera in an hour."""
        return f"{self.base}/hours/{hour.key}/{camera_id}"

    def frame(self, hour: Hour, camera_id: str, name: str) -> str:
        """One frame with its boxes.

        Args:
            hour: of its folder.
            camera_id: the camera.
            name: as the tables write it.
        """
        return f"{self.base}/hours/{hour.key}/{camera_id}/frames/{quote(name)}"

    def model(self, model_version: str) -> str:
        """The gate report and the plots of ``<name>/<version>``."""
        return f"{self.base}/models/{quote(model_version)}"

    def batch_sheet(self, batch: str) -> str:
        """A picture of frames of an annotation batch, with boxes and the reasons for which they were chosen."""
        return f"{self.base}/batches/{quote(batch)}/sheet.webp"

    def lineage(self, word: str) -> str:
        """What a frame, label, version or archive came from, and what rests on it."""
        return f"{self.base}/lineage/{quote(word)}"

    def stored(self, root: Root, key: str) -> str:
        """One object; a key that ends with ``/`` is a folder."""
        return f"{self.base}/objects/{root}/{quote(key)}"
