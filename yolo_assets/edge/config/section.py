"""What every section of the configuration is: strict, frozen, silent about secrets; and how names are checked.

Does not belong here: any option.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

from yolo_assets.contracts import names
from yolo_assets.contracts.base import refuse_unknown_options
from yolo_assets.contracts.errors import BadInputError


def id_field(what: str) -> AfterValidator:
    """Validates a name as ``contracts.names.check_id`` does."""

    def check(value: str) -> str:
        try:
            return names.check_id(value, what)
        except BadInputError as error:
            raise ValueError(str(error)) from None

    return AfterValidator(check)


CameraId = Annotated[str, id_field("camera id")]


class Section(BaseModel):
    """Refuses unknown keys: a misspelt option must not be ignored silently. Errors never quote what may be a secret."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, value: object) -> object:
        refuse_unknown_options(cls, value)
        return value
