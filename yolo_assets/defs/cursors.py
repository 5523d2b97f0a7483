"""What every sensor's cursor shares: JSON that is read forgivingly, packed when it is long.

Dagster keeps a copy of the cursor with every tick.

Belongs here: reading a cursor. Does not belong here: what a sensor remembers, which is defined next to the sensor.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

_LONG = 4096
_PACKED = "zlib:"


class SensorCursor(BaseModel):
    """A sensor's memory between ticks. Losing one costs a sensor a repeated look and never work."""

    model_config = ConfigDict(extra="ignore")

    @classmethod
    def load(cls, text: str | None) -> Self:
        """Read a cursor; an unreadable one is an empty one."""
        try:
            if text and text.startswith(_PACKED):
                return cls.model_validate_json(zlib.decompress(base64.b64decode(text.removeprefix(_PACKED))))
            return cls.model_validate_json(text) if text else cls()
        except (ValidationError, binascii.Error, zlib.error):
            return cls()

    def dump(self) -> str:
        """The text for Dagster to keep; ``load`` reads it."""
        text = self.model_dump_json()
        if len(text) <= _LONG:
            return text
        return _PACKED + base64.b64encode(zlib.compress(text.encode())).decode()
