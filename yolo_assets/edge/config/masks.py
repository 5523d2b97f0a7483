"""The option ``mask`` of a camera: areas of its picture that nobody may see."""

from __future__ import annotations

import hashlib
from typing import Annotated

from pydantic import Field

from yolo_assets.contracts.base import canonical_json
from yolo_assets.edge.config.section import Section

Share = Annotated[float, Field(ge=0, le=1)]
Point = tuple[Share, Share]
Polygon = Annotated[tuple[Point, ...], Field(min_length=3, max_length=200)]


class Mask(Section):
    """Areas that are painted black before anything else sees the picture."""

    polygons: Annotated[tuple[Polygon, ...], Field(min_length=1, max_length=100)] = Field(
        description="each a list of corners [x, y], as shares of the width and height of the picture; "
        "all that a polygon encloses is painted over"
    )
    hide_from_model: bool = Field(
        default=True, description="false: the model alone sees the whole picture, so boxes may lie in the mask"
    )

    @property
    def version(self) -> str:
        """Names these areas: records and seals carry it. Other areas, another version."""
        return hashlib.sha256(canonical_json([self.polygons, self.hide_from_model])).hexdigest()[:12]
