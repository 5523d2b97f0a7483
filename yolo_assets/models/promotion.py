"""Moving release channels: compare-and-swap of signed pointers, forward only in number.

The order in ``_move``, and what a crash after each step leaves:

    verify bundle → run it → sign manifest → record release → add signatures → move pointer → check them
                             (harmless)      (number lost)    (unused)         (done)

Until the pointer moves the old one serves and verifies; the same request again completes it. The loser of a race gets
``CasConflictError``. Does not belong here: whether a version is good enough (``gate``, ``gated_release``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from importlib.util import find_spec
from typing import Any, get_args

from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.model import MANIFEST, ONNX, ChannelPointer, ExpectedChange, ReleaseWave
from yolo_assets.contracts.names import channel_history_key, channel_statement_key, model_key
from yolo_assets.contracts.releasing import ChannelStatement, People, RolloutSettings
from yolo_assets.contracts.signing import Signer
from yolo_assets.contracts.times import utc_now
from yolo_assets.models.approvals import Approvals, proposal_of
from yolo_assets.models.bundle import VerifiedBundle
from yolo_assets.models.channels import Channel, HistoryEntry, MoveKind, StoredPointer
from yolo_assets.models.registry import Registry
from yolo_assets.storage.base import AlreadyExistsError, CasConflictError
from yolo_assets.vision.contract import file_problems
from yolo_assets.vision.onnx_file import read_onnx


@dataclass(frozen=True)
class ReleaseRequest:
    """Which version a channel is to serve, on whose request, and why.

    Attributes:
        name: of the model.
        version: a committed bundle of it; every file is verified first.
        channel: ``stable``, ``canary`` …; made when it does not exist.
        by: who moves it.
        reason: why, for the readers of the history.
        expected_release: refuse unless the channel is at this release; 0 for a channel that does not exist.
        manifest_sha256: the manifest that was evaluated, when one was.
        expected: what the gate measured that changes in the results; agents allow for it.
        forced: the gate refused it; recorded in the pointer.
        unjudged: no gate judged it; recorded in the pointer.
        replace_untrusted: replace a pointer whose signature cannot be verified, instead of refusing. Numbers still
            continue after the highest one that the history proves.
    """

    name: str
    version: str
    channel: str
    by: str
    reason: str
    expected_release: int | None = None
    manifest_sha256: str | None = None
    expected: ExpectedChange | None = None
    forced: bool = False
    unjudged: bool = False
    replace_untrusted: bool = False


@dataclass(frozen=True)
class RollbackRequest:
    """Which channel is to serve an earlier version again, on whose request, and why.

    Attributes:
        name: of the model.
        channel: an existing channel.
        by: who moves it.
        reason: why.
        to_version: one that the channel served; by default the one before the present one. Each rollback without it
            goes one further back, so a caller that retries should give it or ``expected_release``.
        expected_release: refuse unless the channel is at this release.
    """

    name: str
    channel: str
    by: str
    reason: str
    to_version: str | None = None
    expected_release: int | None = None


class ExportRefusedError(UserError):
    """The exported file is not what its manifest promises: no agent would take it."""


BundleCheck = Callable[[VerifiedBundle, bool], None]
"""Raises an error of the user's kind when a bundle may not be released; True: run it, too."""


def check_reason(by: str, reason: str) -> None:
    """Refuse a move of a channel that nobody stands for.

    Raises:
        BadInputError: no name, or no reason.
    """
    if not by.strip() or not reason.strip():
        raise BadInputError("state who moves the channel and why; the history keeps both")


def check_exported_file(bundle: VerifiedBundle, run: bool = True) -> None:
    """Open a bundle's file and run its golden frames, on the first engine of the edge here that can.

    The engine runs in a process of its own, so that a file that crashes it is refused like any other.

    Args:
        bundle: with its ONNX file and golden frames.
        run: False looks only at what the file declares, which needs no engine.

    Raises:
        ExportRefusedError: the file contradicts its manifest, does not load, or finds other boxes; one line.
        UserError: no engine is installed on this machine.
    """
    model = bundle.manifest.model_version
    try:
        contradictions = file_problems(bundle.manifest, read_onnx(bundle.files[ONNX]))
    except BadInputError as error:
        raise ExportRefusedError(f"{model} is not released: {_line(error)}; export it again") from None
    if contradictions:
        raise ExportRefusedError(
            f"{model} is not released: its file is not what its manifest says: {'; '.join(contradictions)}; "
            "export it again"
        )
    if run:
        _run_golden_frames(bundle)


class Promoter:
    """A registry with the promotion key. Only code that moves channels has one; agents and training never do.

    Args:
        registry: its trusted keys are those that the present pointer may be signed with.
        signer: the promotion key.
        check: raises when an exported file is not what its manifest promises; a channel never points to such a one.
        approvals: people who must agree before a channel moves to another version; None: nobody must.
        valid_for: how long the statement of the newest release holds; None: none is made.
    """

    def __init__(
        self,
        registry: Registry,
        signer: Signer,
        *,
        check: BundleCheck = check_exported_file,
        approvals: Approvals | None = None,
        valid_for: timedelta | None = None,
    ) -> None:
        self.registry = registry
        self.signer = signer
        self._check = check
        self._approvals = approvals
        self._valid_for = valid_for

    @classmethod
    def of_plant(
        cls, registry: Registry, signer: Signer, people: People | None, rollout: RolloutSettings | None
    ) -> Promoter:
        """A promoter that keeps what ``plant.yaml`` says of people and of how long a pointer holds.

        Raises:
            SignatureError: the key of a person cannot be read.
        """
        approvals = Approvals(registry.store, people, registry.trusted) if people is not None else None
        hours = rollout.pointer_hours if rollout is not None else None
        return cls(registry, signer, approvals=approvals, valid_for=timedelta(hours=hours) if hours else None)

    def promote(self, request: ReleaseRequest, wave: ReleaseWave | None = None) -> ChannelPointer:
        """Make a channel serve a version. A version that it serves already is verified, and nothing changes.

        Args:
            request: what to serve.
            wave: the devices that get it, and what the others keep; None: it is for every device. A further wave of
                the version that is served is a release of its own, and its file is not run again.

        Returns:
            The pointer that the channel now has.

        Raises:
            ObjectNotFoundError: no such bundle.
            IntegrityError: the bundle is damaged or not the one that was evaluated.
            SignatureError: the present pointer cannot be verified.
            CasConflictError: another process moved the channel; nothing was changed.
            BadInputError: a bad name, or no ``by`` or ``reason``.
            ExportRefusedError: the exported file is not what its manifest promises.
            ApprovalsMissingError: people must approve it first; it is proposed to them.
        """
        channel = self.registry.channel(request.name, request.channel)
        current = channel.stored(accept_untrusted=request.replace_untrusted)
        served = current.pointer if current.pointer and current.pointer.version == request.version else None
        if served is not None and served.wave != wave:
            return self._move("promote", channel, current, replace(request, **_flags(served)), wave, widens=True)
        if current.pointer is not None and served is not None:
            sha256 = current.pointer.manifest_sha256
            self.registry.verify_bundle(request.name, request.version, manifest_sha256=sha256)
            return current.pointer
        return self._move("promote", channel, current, request, wave)

    def roll_back(self, request: RollbackRequest) -> ChannelPointer:
        """Make a channel serve an earlier version again, as a new release of it.

        Raises:
            BadInputError: the channel does not exist, or never served such a version.
            ObjectNotFoundError, IntegrityError, SignatureError, CasConflictError: as in ``promote``.
        """
        name, to_version = request.name, request.to_version
        channel = self.registry.channel(name, request.channel)
        current = channel.stored()
        if current.pointer is None:
            raise BadInputError(f"{name} has no channel {request.channel}; promote a version to it first")
        if current.pointer.version == to_version:
            return current.pointer
        history = channel.history_before(current.release)
        target = history.version_before() if to_version is None else history.newest_of(to_version)
        if target is None:
            missing = f"served {to_version}" if to_version else f"served anything before {current.pointer.version}"
            raise BadInputError(
                f"channel {name}/{request.channel} never {missing}; see: yolo-assets models history {name}"
            )
        release = ReleaseRequest(
            name=name,
            version=target.pointer.version,
            channel=request.channel,
            by=request.by,
            reason=request.reason,
            expected_release=request.expected_release,
            # What was released then, not what lies under that name now.
            manifest_sha256=target.pointer.manifest_sha256,
            forced=target.pointer.forced,
            unjudged=target.pointer.unjudged,
        )
        return self._move("rollback", channel, current, release)

    def _move(
        self,
        kind: MoveKind,
        channel: Channel,
        current: StoredPointer,
        request: ReleaseRequest,
        wave: ReleaseWave | None = None,
        *,
        widens: bool = False,
    ) -> ChannelPointer:
        check_reason(request.by, request.reason)
        label = f"channel {channel.name}/{channel.channel}"
        if request.expected_release is not None and current.release != request.expected_release:
            raise CasConflictError(
                f"{label} is at release {current.release} and not at {request.expected_release}: "
                "it was moved in between; inspect it and decide again"
            )
        objects = self.registry.objects
        stored = self.registry.verify_bundle(
            request.name, request.version, signed=False, manifest_sha256=request.manifest_sha256
        )
        bundle = self.registry.read_bundle(request.name, request.version, signed=False, manifest_sha256=stored.sha256)
        # A rollback leads to what was run when it was promoted, and is urgent; so does a further wave.
        self._check(bundle, kind == "promote" and not widens)
        if self._approvals is not None and kind == "promote" and not widens:
            asked = proposal_of(
                request.name,
                request.channel,
                request.version,
                manifest_sha256=stored.sha256,
                replaces=current.release,
                by=request.by.strip(),
                reason=request.reason.strip(),
            )
            approved = self._approvals.require(asked, self.signer)
            request = replace(request, reason=f"{request.reason} (signed by {approved.in_words()})")
        objects.sign(model_key(request.name, request.version, MANIFEST), stored.data, "model-manifest", self.signer)
        newest = channel.newest_release()
        draft = ChannelPointer(
            name=request.name,
            channel=request.channel,
            version=request.version,
            manifest_sha256=stored.sha256,
            release=max(current.release, newest) + 1,
            previous_version=current.pointer.version if current.pointer else None,
            moved_at=utc_now(),
            moved_by=request.by.strip(),
            reason=request.reason.strip(),
            expected=request.expected,
            forced=request.forced,
            unjudged=request.unjudged,
            wave=wave,
        )
        pointer = self._reserve(HistoryEntry(kind=kind, pointer=draft, replaces=current.release or newest or None))
        data = pointer.to_json()
        objects.sign(channel.key, data, "channel-pointer", self.signer, keep=current.data)
        try:
            objects.store.compare_and_swap(channel.key, data, current.etag)
        except CasConflictError:
            # A store that retries, or answers too late, may refuse a swap that it has made.
            if channel.stored(accept_untrusted=True).data == data:
                return pointer
            raise CasConflictError(
                f"{label} was moved by another process while {request.version} was being released; it was not "
                f"released. Inspect the channel and decide again; see: yolo-assets models history {request.name}"
            ) from None
        # Many racing losers may have pushed our signature out of the set between the two steps above.
        objects.sign(channel.key, data, "channel-pointer", self.signer)
        self.state_newest(pointer)
        return pointer

    def state_newest(self, pointer: ChannelPointer) -> None:
        """Sign that this pointer is the newest, for as long as the plant says; nothing where it does not say.

        A statement of a newer release stays as it is.
        """
        if self._valid_for is None:
            return
        now, key = utc_now(), channel_statement_key(pointer.name, pointer.channel)
        statement = ChannelStatement(
            name=pointer.name,
            channel=pointer.channel,
            release=pointer.release,
            at=now,
            expires_at=now + self._valid_for,
        )
        before = self.registry.channel(pointer.name, pointer.channel).statement()
        if before is None or before.release <= pointer.release:
            self.registry.store.put(key, self.signer.seal(statement.to_json(), "channel-statement").to_json())

    def renew(self, name: str, channel: str, now: datetime) -> bool:
        """Renew the statement of a channel when a third of its time is over. Returns whether it was."""
        found = self.registry.channel(name, channel)
        pointer, before = found.pointer(), found.statement()
        if pointer is None or self._valid_for is None:
            return False
        if (
            before is not None
            and before.release == pointer.release
            and before.expires_at - now > self._valid_for * 2 / 3
        ):
            return False
        self.state_newest(pointer)
        return True

    def _reserve(self, entry: HistoryEntry) -> ChannelPointer:
        """Record a release under the first free number from its own on, which from then on is its own."""
        pointer = entry.pointer
        while True:
            envelope = self.signer.seal(entry.to_json(), "channel-release")
            key = channel_history_key(pointer.name, pointer.channel, pointer.release)
            try:
                self.registry.store.put_if_absent(key, envelope.to_json())
                return pointer
            except AlreadyExistsError:
                pointer = pointer.model_copy(update={"release": pointer.release + 1, "moved_at": utc_now()})
                entry = entry.model_copy(update={"pointer": pointer})


def _run_golden_frames(bundle: VerifiedBundle) -> None:
    # Only here: everything else that promotion does runs on a machine without an engine.
    from yolo_assets.vision.engines.interface import EngineName, EngineSetup
    from yolo_assets.vision.model import Model

    model = bundle.manifest.model_version
    engines = [name for name in reversed(get_args(EngineName)) if find_spec(name) is not None]
    if not engines:
        raise UserError(
            f"{model} is not released: its file must be run first, and no engine is installed here; run: "
            "pip install 'yolo-assets[edge]'"
        )
    problems: list[str] = []
    for engine in engines:
        try:
            loaded = Model.load(bundle.manifest, bundle.files, engine=engine, setup=EngineSetup(process=True))
        except BadInputError as error:
            raise ExportRefusedError(f"{model} is not released: {_line(error)}; export it again") from None
        except UserError as error:
            problems.append(f"{engine}: {_line(error)}")
            continue
        try:
            loaded.warm_up(1)
            found = loaded.check_golden(bundle.files)
        except UserError as error:
            found = [_line(error)]
        finally:
            loaded.close()
        if not found:
            return
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        problems.append(f"{engine}: {found[0]}{more}")
    raise ExportRefusedError(f"{model} is not released: {'; '.join(problems)}; export it again")


def _flags(served: ChannelPointer) -> dict[str, Any]:
    """What the gate said of a version holds for its further waves as well."""
    return {"expected": served.expected, "forced": served.forced, "unjudged": served.unjudged}


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
