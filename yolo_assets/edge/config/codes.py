"""The option ``codes`` of a camera: what is read from codes in its pictures."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from yolo_assets.edge.config.section import Section

CodeFormat = Literal["datamatrix", "qr"]
_Share = Annotated[float, Field(ge=0, le=1)]


def _pattern(value: str) -> str:
    try:
        groups = re.compile(value).groups
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    if groups != 1:
        raise ValueError(f"it needs one group in parentheses, around the name itself, and has {groups}")
    return value


class Codes(Section):
    """Codes in the picture, read before the picture is judged. A name is what the group of a pattern holds."""

    formats: tuple[CodeFormat, ...] = Field(
        default=("datamatrix", "qr"), min_length=1, description="kinds of codes that are looked for"
    )
    batch_id: Annotated[str, AfterValidator(_pattern)] | None = Field(
        default=None,
        description=r"regular expression for the batch, like \(10\)([^(]+) in GS1; it holds until another one comes",
    )
    part_id: Annotated[str, AfterValidator(_pattern)] | None = Field(
        default=None, description="regular expression for the part, like SN:(.+); it holds for the frames that show it"
    )
    area: tuple[_Share, _Share, _Share, _Share] | None = Field(
        default=None,
        description="where codes are looked for: left, top, right, bottom as shares of the picture; None: everywhere",
    )

    @model_validator(mode="after")
    def _useful(self) -> Codes:
        if self.batch_id is None and self.part_id is None:
            raise ValueError("give batch_id, part_id or both; nothing is read without them")
        if self.area is not None and not (self.area[0] < self.area[2] and self.area[1] < self.area[3]):
            raise ValueError("area is left, top, right, bottom: left must be below right, and top below bottom")
        return self
