"""What the agent must remember across a power cut: which models it serves, what it refused, and how far it has come.

One file, ``state.json``, replaced atomically and fsynced after every change. Belongs here: its record and its rules
about reading. Does not belong here: when to change it (``control``).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field

from yolo_assets.contracts.base import Record, Time
from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.model import ReleasedModel
from yolo_assets.contracts.times import utc_now
from yolo_assets.edge.serving.slots import SecondaryRole
from yolo_assets.spool.files import write_atomic

log = logging.getLogger(__name__)
KEPT_QUARANTINE = 64


class Candidate(ReleasedModel):
    """A model on its way in, or on trial. ``attempts`` counts its starts that no end was recorded for."""

    attempts: int = Field(default=1, ge=0)


class Pin(Record):
    """The box stays on one version: until unpinned, or after a rollback until a release newer than ``left_release``."""

    version: str
    left_release: int
    by: str
    at: Time
    hold: bool = Field(default=False, description="asked for as such: newer releases do not lift it either")

    def forbids(self, release: int) -> bool:
        """Whether a release must wait while this pin stands."""
        return self.hold or release <= self.left_release


class Quarantined(Record):
    """A release that failed here and is never tried again: an identical one cannot do better."""

    version: str
    manifest_sha256: str
    release: int | None
    reason: str
    at: Time


class EdgeState(Record):
    """``state.json``."""

    model_config = ConfigDict(protected_namespaces=())

    schema_version: Literal[1] = 1
    current: ReleasedModel | None = None
    previous: ReleasedModel | None = None
    candidate: Candidate | None = Field(default=None, description="is being prepared")
    trial: Candidate | None = Field(default=None, description="serves as current, but was not committed yet")
    canary: Candidate | None = Field(default=None, description="serves the canary's cameras")
    light: Candidate | None = Field(default=None, description="serves cameras while the box has too much to do")
    left: ReleasedModel | None = Field(
        default=None, description="what the last rollback left; no rollback leads back to it"
    )
    last_release: int = Field(default=0, ge=0, description="the highest release accepted; smaller ones are replays")
    last_manifest_sha256: str | None = Field(default=None, description="what that release pointed at")
    canary_release: int = Field(default=0, ge=0, description="as last_release, of the canary's channel")
    canary_manifest_sha256: str | None = None
    light_release: int = Field(default=0, ge=0, description="as last_release, of the light model's channel")
    light_manifest_sha256: str | None = None
    pinned: Pin | None = None
    quarantine: tuple[Quarantined, ...] = ()

    def quarantined(self, manifest_sha256: str, release: int | None) -> Quarantined | None:
        """The entry that forbids this model under this release number, if there is one."""
        for entry in self.quarantine:
            if (entry.manifest_sha256, entry.release) == (manifest_sha256, release):
                return entry
        return None

    def with_quarantined(self, ref: ReleasedModel, reason: str) -> EdgeState:
        """This state with one more release that is never tried again."""
        entry = Quarantined(
            version=ref.version,
            manifest_sha256=ref.manifest_sha256,
            release=ref.release,
            reason=reason,
            at=utc_now(),
        )
        return self.model_copy(update={"quarantine": (*self.quarantine, entry)[-KEPT_QUARANTINE:]})

    def without_quarantined(self, manifest_sha256: str) -> EdgeState:
        """This state with nothing held against a model: a person asked for it by name."""
        kept = tuple(entry for entry in self.quarantine if entry.manifest_sha256 != manifest_sha256)
        return self.model_copy(update={"quarantine": kept})

    @property
    def needed(self) -> set[tuple[str, str]]:
        """``(name, version)`` of every model that must stay in the cache."""
        refs = (self.current, self.previous, self.trial, self.candidate, self.canary, self.light)
        return {(ref.name, ref.version) for ref in refs if ref is not None}

    def beside(self, role: SecondaryRole) -> Candidate | None:
        """What serves beside the box's own model."""
        return self.canary if role == "canary" else self.light

    def release_of(self, role: SecondaryRole) -> int:
        """The highest release of the role's channel that was accepted."""
        return self.canary_release if role == "canary" else self.light_release

    def manifest_of(self, role: SecondaryRole) -> str | None:
        """What that release pointed at."""
        return self.canary_manifest_sha256 if role == "canary" else self.light_manifest_sha256

    def as_channel_of(self, role: SecondaryRole) -> EdgeState:
        """This state as the role's channel sees it: its own numbers, and any pin keeps everything as it is."""
        pin = self.pinned.model_copy(update={"hold": True}) if self.pinned else None
        numbers = {"last_release": self.release_of(role), "last_manifest_sha256": self.manifest_of(role)}
        return self.model_copy(update={**numbers, "pinned": pin})


class StateFile:
    """The state on disk and in memory; every change is durable before ``update`` returns."""

    def __init__(self, path: Path) -> None:
        """Read ``path``; a missing file is an empty state.

        Raises:
            BadInputError: the file is there and cannot be read; it is never overwritten silently, because it holds
                the number that protects against replayed releases.
        """
        self._path = path
        self._lock = threading.RLock()
        self._unwritten = False
        try:
            self._state = EdgeState.from_json(path.read_bytes(), str(path))
        except FileNotFoundError:
            self._state = EdgeState()
        except OSError as error:
            raise BadInputError(f"cannot read the agent's state {path}: {error.strerror}") from None

    @property
    def value(self) -> EdgeState:
        """The present state."""
        return self._state

    def update(self, change: Callable[[EdgeState], EdgeState], *, happened: bool = False) -> EdgeState:
        """Apply a change and make it durable.

        Args:
            change: from the state before to the state after.
            happened: the box did it already, a rollback for example: memory says so whatever the disk does, and
                ``settle`` writes it when the disk takes it again.

        Raises:
            SpoolFullError: no room; the state in memory and on disk stays as it was. Never when it ``happened``.
        """
        with self._lock:
            changed = change(self._state)
            if changed == self._state and not self._unwritten:
                return changed
            if happened:
                self._state, self._unwritten = changed, True
            try:
                write_atomic(self._path, changed.to_json())
            except (UserError, OSError) as error:
                if not happened:
                    raise
                log.error(
                    "%s cannot be written; after a power cut the box would not know of this: %s", self._path, error
                )
            else:
                self._state, self._unwritten = changed, False
            return changed

    def settle(self) -> None:
        """Write what could not be written, if there is something."""
        if not self._unwritten:
            return
        try:
            self.update(lambda state: state)
        except (UserError, OSError):
            pass  # told when it happened; tried again
