"""What the agent must remember across a power cut: which models serve, what it refused, which releases it accepted.

One file, ``state.json``, replaced atomically and fsynced after every change. Every change goes through typed fields and
is validated as a whole before it is written: this is the record that protects against replayed releases. Does not
belong here: when to change it (``controller``).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar, Unpack, cast

import orjson
from pydantic import ConfigDict, Field, ValidationError

from yolo_assets.contracts.base import Record, Time, is_json_object, one_line
from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.model import ReleasedModel
from yolo_assets.contracts.times import utc_now
from yolo_assets.edge.serving.slots import Role
from yolo_assets.spool.files import write_atomic

log = logging.getLogger(__name__)
QUARANTINE_SIZE = 64
_SHA256 = r"^[0-9a-f]{64}$"


class PreparedModel(ReleasedModel):
    """The model that is being prepared."""

    attempts: int = Field(default=1, ge=0, description="preparations that were begun and whose end was not recorded")


class AcceptedRelease(Record):
    """The newest release of a channel that was accepted, once the device follows another one."""

    release: int = Field(ge=0)
    manifest_sha256: str | None = Field(default=None, pattern=_SHA256)


class RoleState(Record):
    """One role: the newest release of its channel that was accepted, and the model that serves in it."""

    channel: str = Field(default="", description="<name>/<channel> whose releases count; empty: of an older agent")
    release: int = Field(default=0, ge=0, description="the highest release accepted; smaller ones are replays")
    manifest_sha256: str | None = Field(default=None, pattern=_SHA256, description="what that release pointed at")
    model: ReleasedModel | None = Field(default=None, description="serves in this role")
    attempts: int = Field(
        default=0, ge=0, description="starts of the model since it last proved itself whose end was not recorded"
    )

    def supersedes(self, model: ReleasedModel) -> bool:
        """Whether a newer release than this one was accepted, or another model under its number."""
        if model.release is None:
            return False
        another = self.manifest_sha256 not in (None, model.manifest_sha256)
        return model.release < self.release or (model.release == self.release and another)


class PrimaryState(RoleState):
    """The model of every camera that has no secondary one, with the way back from it."""

    on_trial: bool = Field(default=False, description="it serves, but was not committed yet")
    previous: ReleasedModel | None = Field(default=None, description="what a rollback or a revert leads to")
    rolled_back: ReleasedModel | None = Field(
        default=None, description="what the last rollback replaced; no rollback leads to it"
    )


class Pin(Record):
    """The device keeps one version until unpinned, or after a rollback until a release newer than ``left_release``."""

    version: str
    left_release: int
    by: str
    at: Time
    hold: bool = Field(default=False, description="set by an operator: newer releases do not lift it either")

    def forbids(self, release: int) -> bool:
        """Whether a release must wait while this pin is set."""
        return self.hold or release <= self.left_release


class Quarantined(Record):
    """A release that failed here and is never tried again: an identical one cannot do better."""

    version: str
    manifest_sha256: str
    release: int | None
    reason: str
    at: Time


class RoleFields(TypedDict, total=False):
    """Fields of `RoleState` that a change may name."""

    channel: str
    release: int
    manifest_sha256: str | None
    model: ReleasedModel | None
    attempts: int


class PrimaryFields(RoleFields, total=False):
    """Fields of `PrimaryState` that a change may name."""

    on_trial: bool
    previous: ReleasedModel | None
    rolled_back: ReleasedModel | None


class StateFields(TypedDict, total=False):
    """Fields of `EdgeState` that a change may name."""

    primary: PrimaryState
    canary: RoleState
    light: RoleState
    prepared: PreparedModel | None
    pinned: Pin | None
    quarantine: tuple[Quarantined, ...]
    left: Mapping[str, AcceptedRelease]


class EdgeState(Record):
    """``state.json``."""

    model_config = ConfigDict(protected_namespaces=())

    schema_version: Literal[2] = 2
    primary: PrimaryState = PrimaryState()
    canary: RoleState = RoleState()
    light: RoleState = RoleState()
    prepared: PreparedModel | None = Field(default=None, description="is being prepared, for whichever role")
    pinned: Pin | None = None
    quarantine: tuple[Quarantined, ...] = ()
    left: dict[str, AcceptedRelease] = Field(
        default_factory=dict, description="by <name>/<channel>, of channels that the configuration named before"
    )

    def role(self, role: Role) -> RoleState:
        """What is remembered of a role."""
        return cast(RoleState, getattr(self, role))

    def changed(self, **fields: Unpack[StateFields]) -> EdgeState:
        """This state with other fields.

        Raises:
            BadInputError: there is no such field, or the value does not fit it.
        """
        return _replaced(self, fields)

    def with_primary(self, **fields: Unpack[PrimaryFields]) -> EdgeState:
        """This state with other fields of the primary role; raises as `changed`."""
        return _replaced(self, {"primary": _replaced(self.primary, fields)})

    def with_role(self, role: Role, **fields: Unpack[RoleFields]) -> EdgeState:
        """This state with other fields of one role; raises as `changed`."""
        return _replaced(self, {role: _replaced(self.role(role), fields)})

    def accepting(self, role: Role, model: ReleasedModel) -> EdgeState:
        """This state after a release was accepted on a role's channel; a model asked for by name accepts none."""
        if model.release is None:
            return self
        return self.with_role(role, release=model.release, manifest_sha256=model.manifest_sha256)

    def following(self, role: Role, channel: str) -> EdgeState:
        """This state when a role follows a channel, ``<name>/<channel>``: each channel counts its own releases.

        A pin that a rollback set ends with its channel; one that an operator holds stays.
        """
        before = self.role(role)
        if before.channel == channel:
            return self
        place = channel.partition("/")[2]
        followed = before.channel or (f"{before.model.name}/{place}" if before.model is not None else channel)
        if followed == channel:  # an older agent wrote it
            return self.with_role(role, channel=channel)
        left = {**self.left, followed: AcceptedRelease(release=before.release, manifest_sha256=before.manifest_sha256)}
        known = left.pop(channel, AcceptedRelease(release=0))
        lifted = role == "primary" and self.pinned is not None and not self.pinned.hold
        state = self.changed(left=left, pinned=None if lifted else self.pinned)
        return state.with_role(role, channel=channel, release=known.release, manifest_sha256=known.manifest_sha256)

    def quarantined(self, manifest_sha256: str, release: int | None) -> Quarantined | None:
        """The entry that forbids this model under this release number, if there is one."""
        for entry in self.quarantine:
            if (entry.manifest_sha256, entry.release) == (manifest_sha256, release):
                return entry
        return None

    def with_quarantined(self, model: ReleasedModel, reason: str) -> EdgeState:
        """This state with one more release that is never tried again."""
        entry = Quarantined(
            version=model.version,
            manifest_sha256=model.manifest_sha256,
            release=model.release,
            reason=reason,
            at=utc_now(),
        )
        return self.changed(quarantine=(*self.quarantine, entry)[-QUARANTINE_SIZE:])

    def without_quarantined(self, manifest_sha256: str) -> EdgeState:
        """This state with no entry against a model."""
        entries = tuple(entry for entry in self.quarantine if entry.manifest_sha256 != manifest_sha256)
        return self.changed(quarantine=entries)

    @property
    def cached(self) -> set[tuple[str, str]]:
        """``(name, version)`` of every model that must stay in the cache."""
        models = (self.primary.model, self.primary.previous, self.prepared, self.canary.model, self.light.model)
        return {(model.name, model.version) for model in models if model is not None}


R = TypeVar("R", bound=Record)


def _replaced(record: R, fields: Mapping[str, Any]) -> R:
    """The record with other fields, validated, which ``model_copy`` does not do."""
    try:
        return type(record).model_validate({**dict(record), **fields})
    except ValidationError as error:
        raise BadInputError(f"the agent's state cannot be changed like this: {one_line(error)}") from None


def _validated(state: EdgeState) -> EdgeState:
    """The state, when it would be read back as it is; a change that went past `changed` may not be valid."""
    _refuse_unknown_fields(state)
    try:
        checked = EdgeState.model_validate(state.model_dump(warnings=False))
    except ValidationError as error:
        raise BadInputError(f"the agent's state cannot be changed like this: {one_line(error)}") from None
    if checked != state:
        raise BadInputError("the agent's state cannot be changed like this: it would not be read back as it is")
    return state


def _refuse_unknown_fields(record: Record) -> None:
    unknown = sorted(vars(record).keys() - type(record).model_fields.keys())
    if unknown:
        raise BadInputError(
            f"the agent's state cannot be changed like this: {type(record).__name__} has no {unknown[0]}"
        )
    for value in vars(record).values():
        parts = cast("tuple[Any, ...]", value) if isinstance(value, tuple) else (value,)
        for part in parts:
            if isinstance(part, Record):
                _refuse_unknown_fields(part)


class _ModelV1(ReleasedModel):
    attempts: int = Field(default=1, ge=0)


class _StateV1(Record):
    """``state.json`` as agents wrote it until commit 8516435: read once, after the agent of a device was upgraded."""

    schema_version: Literal[1] = 1
    current: ReleasedModel | None = None
    previous: ReleasedModel | None = None
    candidate: _ModelV1 | None = None
    trial: _ModelV1 | None = None
    canary: _ModelV1 | None = None
    light: _ModelV1 | None = None
    left: ReleasedModel | None = None
    last_release: int = Field(default=0, ge=0)
    last_manifest_sha256: str | None = Field(default=None, pattern=_SHA256)
    canary_release: int = Field(default=0, ge=0)
    canary_manifest_sha256: str | None = Field(default=None, pattern=_SHA256)
    light_release: int = Field(default=0, ge=0)
    light_manifest_sha256: str | None = Field(default=None, pattern=_SHA256)
    pinned: Pin | None = None
    quarantine: tuple[Quarantined, ...] = ()

    def upgraded(self) -> EdgeState:
        """The same facts in the present form."""
        trial = self.trial
        if trial is not None and (self.current is None or trial.identity != self.current.identity):
            trial = None
        primary = PrimaryState(
            release=self.last_release,
            manifest_sha256=self.last_manifest_sha256,
            model=trial.released if trial else self.current,
            attempts=trial.attempts if trial else 0,
            on_trial=trial is not None,
            previous=self.previous,
            rolled_back=self.left,
        )
        prepared = self.candidate
        return EdgeState(
            primary=primary,
            canary=_role_v1(self.canary_release, self.canary_manifest_sha256, self.canary),
            light=_role_v1(self.light_release, self.light_manifest_sha256, self.light),
            prepared=PreparedModel(**prepared.model_dump()) if prepared else None,
            pinned=self.pinned,
            quarantine=self.quarantine,
        )


def _role_v1(release: int, manifest_sha256: str | None, model: _ModelV1 | None) -> RoleState:
    return RoleState(
        release=release,
        manifest_sha256=manifest_sha256,
        model=model.released if model else None,
        attempts=model.attempts if model else 0,
    )


def read_state(data: bytes, source: str) -> EdgeState:
    """The state from the bytes of a file, of this or of the earlier form.

    Raises:
        BadInputError: it is neither.
    """
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        document = None  # reported below
    if is_json_object(document) and document.get("schema_version") == 1:
        return _StateV1.from_json(data, source).upgraded()
    return EdgeState.from_json(data, source)


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
            self._state = read_state(path.read_bytes(), str(path))
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
            happened: the device did it already, a rollback for example: memory holds it whatever the disk does, and
                ``persist_pending`` writes it when the disk takes it again.

        Raises:
            SpoolFullError: no space; the state in memory and on disk stays as it was. Never when it ``happened``.
            BadInputError: the changed state is not valid; it stays as it was.
        """
        with self._lock:
            changed = _validated(change(self._state))
            if changed == self._state and not self._unwritten:
                return changed
            if happened:
                self._state, self._unwritten = changed, True
            try:
                write_atomic(self._path, changed.to_json())
            except (UserError, OSError) as error:
                if not happened:
                    raise
                log.error("%s cannot be written; a power cut would undo this on the device: %s", self._path, error)
            else:
                self._state, self._unwritten = changed, False
            return changed

    def persist_pending(self) -> None:
        """Write what could not be written, if there is something."""
        if not self._unwritten:
            return
        try:
            self.update(lambda state: state)
        except (UserError, OSError):
            pass  # logged when it happened; tried again
