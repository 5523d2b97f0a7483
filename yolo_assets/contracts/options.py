"""Option files that people write: TOML, YAML or JSON, as they like; the ending of the name says which."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import orjson

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.strict_yaml import parse_yaml
from yolo_assets.contracts.text import decode_text


def read_options(path: Path, what: str) -> Any:
    """The content of an option file, not validated.

    Args:
        path: ends in ``.toml``, ``.yaml``, ``.yml`` or ``.json``.
        what: what the file is, for messages.

    Raises:
        BadInputError: it cannot be read, or is not in its format.
    """
    try:
        text = decode_text(path.read_bytes(), str(path))
    except OSError as error:
        raise BadInputError(f"cannot read the {what} {path}: {error}") from None
    match path.suffix.lower():
        case ".toml":
            try:
                return tomllib.loads(text)
            except tomllib.TOMLDecodeError as error:
                raise BadInputError(f"{path} is not TOML: {error}") from None
            except (RecursionError, ValueError):  # a number of 5,000 digits is TOML, and no number of Python
                raise BadInputError(f"{path} is not TOML: it is nested too deeply, or a number is too long") from None
        case ".json":
            try:
                return orjson.loads(text)
            except orjson.JSONDecodeError as error:
                raise BadInputError(f"{path} is not JSON: {error}") from None
        case ".yaml" | ".yml":
            return parse_yaml(text, str(path)) or {}
        case _:
            raise BadInputError(f"{path} has no ending that shows its format; name it .toml, .yaml or .json")
