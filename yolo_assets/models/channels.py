"""Release channels: signed pointers that move by compare-and-swap, forward only in number.

The order in ``_move``, and what a crash after each step leaves:

    verify bundle → sign manifest → record release → add signature → move pointer → see that the signature is there
                    (harmless)      (number burnt)   (unused)        (done)

Until the pointer moves the old one serves and verifies; run it again and it ends right. The loser of a race gets
``CasConflictError``. Does not belong here: whether a version is good enough (``gate``, ``candidate``).
"""

from __future__ import annotations

from dataclasses import dataclass

from yolo_assets.contracts.errors import BadInputError, SignatureError
from yolo_assets.contracts.model import MANIFEST, ChannelPointer, ExpectedChange
from yolo_assets.contracts.names import channel_key, model_key
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import utc_now
from yolo_assets.models.history import History, HistoryEntry, Kind, claim, newest_release, read_history, version_before
from yolo_assets.models.registry import verify_bundle
from yolo_assets.models.signatures import sign_object, verify_object
from yolo_assets.storage.base import CasConflictError, ObjectNotFoundError, ObjectStore


@dataclass(frozen=True)
class _Current:
    """What lies under the channel's key; ``pointer`` is None when there is nothing, or nothing to be trusted."""

    pointer: ChannelPointer | None = None
    etag: str | None = None
    data: bytes | None = None

    @property
    def release(self) -> int:
        return self.pointer.release if self.pointer else 0


def read_pointer(
    store: ObjectStore, name: str, channel: str, trusted: TrustedKeys
) -> tuple[ChannelPointer, str] | None:
    """The verified pointer and its etag, or None when the channel does not exist.

    A good signature does not make a pointer new: whoever acts on it must refuse a release number below the last one
    accepted, or an attacker could put an old pointer back.

    Raises:
        SignatureError: not signed by a trusted key.
        BadInputError: not a pointer, or the pointer of another channel.
    """
    current = _read(store, name, channel, trusted)
    return None if current.pointer is None or current.etag is None else (current.pointer, current.etag)


def promote(
    store: ObjectStore,
    signer: Signer,
    *,
    name: str,
    version: str,
    channel: str,
    by: str,
    reason: str,
    expected_release: int | None = None,
    trusted: TrustedKeys | None = None,
    manifest_sha256: str | None = None,
    replace_untrusted: bool = False,
    expected: ExpectedChange | None = None,
) -> ChannelPointer:
    """Make a channel serve a version. A version that it serves already is verified and left as it is.

    Args:
        store: the store root.
        signer: holds the promotion key.
        name: of the model.
        version: a committed bundle of it; every file is verified first.
        channel: ``stable``, ``canary`` …; made when it does not exist.
        by: who moves it.
        reason: why, for the people who read the history.
        expected_release: refuse unless the channel stands here; 0 for a channel that does not exist.
        trusted: keys that the present pointer may be signed with; by default the signer's own.
        manifest_sha256: the manifest that was judged, when one was.
        replace_untrusted: move on from a pointer that cannot be verified (changed, or signed by a lost key) instead
            of refusing. Numbers still continue after the highest one that the history vouches for.
        expected: what the gate measured that changes in the results; agents allow for it.

    Returns:
        The pointer that the channel now has.

    Raises:
        ObjectNotFoundError: no such bundle.
        IntegrityError: the bundle is damaged or not the one that was judged.
        SignatureError: the present pointer cannot be verified.
        CasConflictError: somebody else moved the channel; nothing was changed.
        BadInputError: a bad name, or no ``by`` or ``reason``.
    """
    trusted = trusted or TrustedKeys.of(signer)
    current = _read(store, name, channel, trusted, forgive=replace_untrusted)
    if current.pointer is not None and current.pointer.version == version:
        verify_bundle(store, name, version, trusted, manifest_sha256=current.pointer.manifest_sha256)
        return current.pointer
    return _move(
        store,
        signer,
        current,
        kind="promote",
        name=name,
        version=version,
        channel=channel,
        by=by,
        reason=reason,
        expected_release=expected_release,
        trusted=trusted,
        manifest_sha256=manifest_sha256,
        expected=expected,
    )


def rollback(
    store: ObjectStore,
    signer: Signer,
    *,
    name: str,
    channel: str,
    by: str,
    reason: str,
    to_version: str | None = None,
    expected_release: int | None = None,
    trusted: TrustedKeys | None = None,
) -> ChannelPointer:
    """Make a channel serve an earlier version again, as a new release of it.

    Args:
        store: the store root.
        signer: holds the promotion key.
        name: of the model.
        channel: an existing channel.
        by: who moves it.
        reason: why.
        to_version: one that the channel served; by default the one before the present one. Each roll-back without it
            goes one further back, so a caller that retries should give it or ``expected_release``.
        expected_release: refuse unless the channel stands here.
        trusted: as in ``promote``.

    Raises:
        BadInputError: the channel does not exist, or never served such a version.
        ObjectNotFoundError, IntegrityError, SignatureError, CasConflictError: as in ``promote``.
    """
    trusted = trusted or TrustedKeys.of(signer)
    current = _read(store, name, channel, trusted)
    if current.pointer is None:
        raise BadInputError(f"{name} has no channel {channel}; promote a version to it first")
    if current.pointer.version == to_version:
        return current.pointer
    past = read_history(store, name, channel, trusted, current.release)
    target = version_before(past) if to_version is None else _served(past, to_version)
    if target is None:
        wish = f"served {to_version}" if to_version else f"served anything before {current.pointer.version}"
        raise BadInputError(f"channel {name}/{channel} never {wish}; see: yolo-assets models history {name}")
    return _move(
        store,
        signer,
        current,
        kind="rollback",
        name=name,
        version=target.pointer.version,
        channel=channel,
        by=by,
        reason=reason,
        expected_release=expected_release,
        trusted=trusted,
        # What was released then, not what lies under that name now.
        manifest_sha256=target.pointer.manifest_sha256,
        expected=None,
    )


def history(store: ObjectStore, name: str, channel: str, trusted: TrustedKeys) -> History:
    """Every release of a channel, oldest first.

    Raises:
        SignatureError, BadInputError: the pointer cannot be verified.
    """
    pointer = _read(store, name, channel, trusted).pointer
    return read_history(store, name, channel, trusted, pointer.release if pointer else None)


def list_channels(store: ObjectStore, name: str) -> list[str]:
    """Channels that a model has a pointer for, trusted or not, by name."""
    prefix = channel_key(name, "_").removesuffix("_.json")
    names = (info.key.removeprefix(prefix) for info in store.list(prefix))
    return [file.removesuffix(".json") for file in names if file.endswith(".json") and "/" not in file]


def _move(
    store: ObjectStore,
    signer: Signer,
    current: _Current,
    *,
    kind: Kind,
    name: str,
    version: str,
    channel: str,
    by: str,
    reason: str,
    expected_release: int | None,
    trusted: TrustedKeys,
    manifest_sha256: str | None,
    expected: ExpectedChange | None,
) -> ChannelPointer:
    if not by.strip() or not reason.strip():
        raise BadInputError("say who moves the channel and why; the history keeps both")
    key = channel_key(name, channel)
    if expected_release is not None and current.release != expected_release:
        raise CasConflictError(
            f"channel {name}/{channel} is at release {current.release} and not at {expected_release}: "
            "somebody moved it since; look at it and decide again"
        )
    stored = verify_bundle(store, name, version, None, manifest_sha256=manifest_sha256)
    sign_object(store, model_key(name, version, MANIFEST), stored.data, signer)
    newest = newest_release(store, name, channel, trusted)

    def entry_of(release: int) -> HistoryEntry:
        pointer = ChannelPointer(
            name=name,
            channel=channel,
            version=version,
            manifest_sha256=stored.sha256,
            release=release,
            previous_version=current.pointer.version if current.pointer else None,
            moved_at=utc_now(),
            moved_by=by.strip(),
            reason=reason.strip(),
            expected=expected,
        )
        return HistoryEntry(kind=kind, pointer=pointer, replaces=current.release or newest or None)

    pointer = claim(store, signer, name, channel, max(current.release, newest) + 1, entry_of).pointer
    data = pointer.to_json()
    sign_object(store, key, data, signer, keep=current.data)
    try:
        store.compare_and_swap(key, data, current.etag)
    except CasConflictError:
        # A store that retries, or answers too late, may refuse a swap that it has made.
        if _read(store, name, channel, trusted, forgive=True).data == data:
            return pointer
        raise CasConflictError(
            f"channel {name}/{channel} was moved by somebody else while {version} was being released; it was not "
            f"released. Look at the channel and decide again; see: yolo-assets models history {name}"
        ) from None
    # Many racing losers may have pushed our signature out of the set between the two steps above.
    sign_object(store, key, data, signer)
    return pointer


def _served(past: History, version: str) -> HistoryEntry | None:
    served = [r.entry for r in past.releases if r.state != "unconfirmed" and r.entry.pointer.version == version]
    return served[-1] if served else None


def _read(store: ObjectStore, name: str, channel: str, trusted: TrustedKeys, *, forgive: bool = False) -> _Current:
    key = channel_key(name, channel)
    try:
        data, info = store.get_with_info(key)
    except ObjectNotFoundError:
        return _Current()
    try:
        # Read after the pointer: signatures are added first, so the set holds one for whatever pointer was read.
        verify_object(store, key, data, trusted)
        pointer = ChannelPointer.from_json(data, key)
        if (pointer.name, pointer.channel) != (name, channel):
            raise BadInputError(f"{key} points for {pointer.name}/{pointer.channel}; it was copied there")
    except (BadInputError, SignatureError):
        if not forgive:
            raise
        return _Current(None, info.etag, data)
    return _Current(pointer, info.etag, data)
