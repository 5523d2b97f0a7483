"""CloudEvents 1.0 in the JSON format: what every event has that this product sends or takes.

Does not belong here: what is told, by announcements (``contracts.announcements``) and by the agent's outputs
(``edge.outputs.events``).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from yolo_assets.contracts.base import Record


class CloudEvent(Record):
    """The attributes that CloudEvents requires, ``type`` apart, and the form of ``data``."""

    specversion: Literal["1.0"] = "1.0"
    id: str = Field(min_length=1, max_length=256, description="unique for its source, the same in every repetition")
    source: str = Field(
        min_length=1, max_length=256, description="who sends it, like /devices/box1/cameras/cam1 or /archivers/nas"
    )
    datacontenttype: Literal["application/json"] = "application/json"
