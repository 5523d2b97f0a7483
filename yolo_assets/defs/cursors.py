"""What every sensor's cursor shares: JSON that is read forgivingly.

Belongs here: reading a cursor. Does not belong here: what a sensor remembers, which is defined next to the sensor.
"""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError


class SensorCursor(BaseModel):
    """A sensor's memory between ticks. Losing one costs a sensor a repeated look and never work."""

    model_config = ConfigDict(extra="ignore")

    @classmethod
    def load(cls, text: str | None) -> Self:
        """Read a cursor; an unreadable one is an empty one."""
        try:
            return cls.model_validate_json(text) if text else cls()
        except ValidationError:
            return cls()
