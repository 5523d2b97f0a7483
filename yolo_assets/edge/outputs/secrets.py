"""Reads secrets from files and the environment; never puts one into a message."""

from __future__ import annotations

import os
from pathlib import Path

from yolo_assets.contracts.errors import BadInputError


def read_secret(where: str, file: Path | None, variable: str | None) -> str | None:
    """A secret without the white space around it.

    Args:
        where: what the error should name, for example ``outputs.mes: secret``.
        file: that holds it; wins over ``variable``.
        variable: of the environment.

    Returns:
        None when neither is configured.

    Raises:
        BadInputError: the file cannot be read, the variable is not set, or what is there is empty.
    """
    if file is not None:
        try:
            value = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not text"
            raise BadInputError(f"{where}: cannot read {file}: {why}") from None
        source = str(file)
    elif variable is not None:
        value, source = os.environ.get(variable, "").strip(), f"the variable {variable}"
    else:
        return None
    if not value:
        raise BadInputError(f"{where}: {source} is empty or not set; put the secret there")
    if not value.isprintable():
        raise BadInputError(f"{where}: {source} holds more than one line or signs that cannot be sent")
    return value
