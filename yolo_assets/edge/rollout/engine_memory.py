"""Which engine was measured to be the best, kept so that a restart serves at once. Its loss costs one measurement."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import asdict
from pathlib import Path

from pydantic import Field

from yolo_assets.contracts.base import Record, canonical_json
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.spool.files import SpoolFullError, write_atomic
from yolo_assets.vision.engines.interface import EngineSetup
from yolo_assets.vision.hardware import fingerprint
from yolo_assets.vision.selection import EngineOptions, EngineSelection

log = logging.getLogger(__name__)

_KEEP = 32


class _Kept(Record):
    choices: dict[str, EngineSelection] = Field(default_factory=dict)


class EngineMemory:
    """Choices by model, device, library versions and everything asked for. One process writes."""

    def __init__(self, file: Path, wanted: EngineOptions, setup: EngineSetup) -> None:
        """Read nothing yet.

        Args:
            file: where they are kept.
            wanted: what the configuration allows; another one is another measurement.
            setup: what engines may use; the same.
        """
        self._file = file
        self._asked = {"wanted": asdict(wanted), "setup": {**asdict(setup), "cache": None}}

    def recall(self, model_sha256: str) -> EngineSelection | None:
        """What was chosen for just this before; None when nothing was, or the file cannot be read."""
        found = self._read().get(self._key(model_sha256))
        return found.model_copy(update={"remembered": True}) if found is not None else None

    def keep(self, model_sha256: str, choice: EngineSelection) -> None:
        """Remember; the oldest are forgotten. A folder that cannot be written is said, and is no error."""
        choices = {**self._read(), self._key(model_sha256): choice}
        self._write(dict(sorted(choices.items(), key=lambda item: item[1].measured_at)[-_KEEP:]))

    def forget(self, model_sha256: str) -> None:
        """It does not work any more."""
        gone = self._key(model_sha256)
        self._write({key: choice for key, choice in self._read().items() if key != gone})

    def _key(self, model_sha256: str) -> str:
        facts = {"model": model_sha256, "machine": fingerprint(), **self._asked}
        return hashlib.sha256(canonical_json(facts)).hexdigest()

    def _read(self) -> dict[str, EngineSelection]:
        try:
            return _Kept.from_json(self._file.read_bytes(), str(self._file)).choices
        except FileNotFoundError:
            return {}
        except (OSError, BadInputError) as error:
            log.warning("engines are measured again: %s", error)
            return {}

    def _write(self, choices: dict[str, EngineSelection]) -> None:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self._file, _Kept(choices=choices).to_json())
        except (OSError, SpoolFullError) as error:
            log.warning("what was measured cannot be kept in %s: %s", self._file, error)
