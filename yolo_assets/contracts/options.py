"""Option files that people write: TOML, YAML or JSON, as they like; the ending of the name says which."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import orjson

from yolo_assets.contracts.errors import BadInputError


def read_options(path: Path, what: str) -> Any:
    """The content of an option file, not validated.

    Args:
        path: ends in ``.toml``, ``.yaml``, ``.yml`` or ``.json``.
        what: what the file is, for messages.

    Raises:
        BadInputError: it cannot be read, or is not in its format.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"cannot read the {what} {path}: {error}") from None
    match path.suffix.lower():
        case ".toml":
            try:
                return tomllib.loads(text)
            except tomllib.TOMLDecodeError as error:
                raise BadInputError(f"{path} is not TOML: {error}") from None
        case ".json":
            try:
                return orjson.loads(text)
            except orjson.JSONDecodeError as error:
                raise BadInputError(f"{path} is not JSON: {error}") from None
        case ".yaml" | ".yml":
            import yaml  # comes with the extras that have option files; the base can do without it

            try:
                return yaml.safe_load(text) or {}
            except yaml.YAMLError as error:
                raise BadInputError(f"{path} is not YAML: {error}") from None
        case _:
            raise BadInputError(f"{path} has no ending that shows its format; name it .toml, .yaml or .json")
