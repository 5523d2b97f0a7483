"""Making the key pairs of a site. Reading and using them is ``contracts.signing``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.signing import Signer


@dataclass(frozen=True)
class KeyPair:
    """A private key, with ``<path>.pub`` beside it.

    Attributes:
        path: of the private key, mode 0600.
        key_id: as signatures name it.
        created: False when the pair was there and was left as it is.
    """

    path: Path
    key_id: str
    created: bool


def create_key_pairs(paths: Sequence[Path]) -> list[KeyPair]:
    """Make the pairs that are missing; a key that is there is never replaced.

    Raises:
        BadInputError: nothing is missing, or a public key is there without its private one: a new private key would
            not fit it, and what was signed so far would no longer verify.
        SignatureError: a private key that is there cannot be read.
    """
    for path in paths:
        public = path.with_name(path.name + ".pub")
        if public.exists() and not path.exists():
            raise BadInputError(
                f"{public} is there without its private key {path}: that key is kept elsewhere or lost; "
                "move the .pub file away to start with a new pair"
            )
    missing = {path for path in paths if not path.exists()}
    if not missing:
        raise BadInputError(
            f"{' and '.join(str(path) for path in paths)} exist already and are not overwritten; move them away to "
            "start with new pairs"
        )
    return [KeyPair(path, Signer.load_or_create(path).key_id, path in missing) for path in paths]
