"""The append-only record of a channel: one signed object a release number, written before the pointer moves.

Writing it is how a promotion claims its number: the key is created or it is taken, so no two promotions ever sign
pointers with the same number, and a lost or interrupted one leaves its number burnt rather than free to be used again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import orjson
from pydantic import Field

from yolo_assets.contracts.base import Record, canonical_json
from yolo_assets.contracts.errors import BadInputError, SignatureError
from yolo_assets.contracts.model import ChannelPointer
from yolo_assets.contracts.names import channel_history_key
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.storage.base import AlreadyExistsError, ObjectStore

Kind = Literal["promote", "rollback"]

State = Literal["serving", "served", "unconfirmed"]
"""``unconfirmed``: signed, but not on the chain that leads to the pointer. The promotion was interrupted or lost a
race, or somebody put an older pointer back."""


class HistoryEntry(Record):
    """One release of a channel; its pointer nests, so that this signature never passes for one of a pointer."""

    schema_version: Literal[1] = 1
    kind: Kind
    pointer: ChannelPointer
    replaces: int | None = Field(default=None, description="release that the channel served; None for the first")


@dataclass(frozen=True)
class Release:
    """A history entry and what became of it."""

    entry: HistoryEntry
    state: State


@dataclass(frozen=True)
class History:
    """What happened to a channel.

    Attributes:
        releases: by number, oldest first.
        rejected: objects that are no good history, with the reason. Never empty by accident: somebody wrote them.
    """

    releases: tuple[Release, ...]
    rejected: dict[str, str]


def claim(
    store: ObjectStore, signer: Signer, name: str, channel: str, first: int, make: Callable[[int], HistoryEntry]
) -> HistoryEntry:
    """Record a release under the first free number from ``first`` on, which from then on is its own.

    Args:
        store: the store root.
        signer: of the promotion.
        name: of the model.
        channel: of the model.
        first: the smallest number that may be used.
        make: builds the entry for a number.
    """
    release = first
    while True:
        entry = make(release)
        document = signer.sign_document(entry.model_dump(mode="json"))
        try:
            store.put_if_absent(channel_history_key(name, channel, release), canonical_json(document))
            return entry
        except AlreadyExistsError:
            release += 1


def newest_release(store: ObjectStore, name: str, channel: str, trusted: TrustedKeys) -> int:
    """The highest number that a trusted key ever signed, 0 for none.

    Numbers continue after it even when somebody put an older pointer back or removed it. What nobody trusted signed
    does not count: it cannot use numbers up.
    """
    for key in sorted((info.key for info in store.list(channel_history_key(name, channel))), reverse=True):
        try:
            return _read(store, key, name, channel, trusted).pointer.release
        except (BadInputError, SignatureError):
            continue
    return 0


def read_history(store: ObjectStore, name: str, channel: str, trusted: TrustedKeys, serving: int | None) -> History:
    """Every recorded release, with its state told from ``serving``, the release number of the verified pointer."""
    entries: dict[int, HistoryEntry] = {}
    rejected: dict[str, str] = {}
    for info in store.list(channel_history_key(name, channel)):
        try:
            entry = _read(store, info.key, name, channel, trusted)
            entries[entry.pointer.release] = entry
        except (BadInputError, SignatureError) as error:
            rejected[info.key] = str(error)
    chain = set(_chain(entries, serving))

    def state(release: int) -> State:
        return "serving" if release == serving else "served" if release in chain else "unconfirmed"

    return History(tuple(Release(entries[n], state(n)) for n in sorted(entries)), rejected)


def version_before(history: History) -> HistoryEntry | None:
    """The release to go back to from the one that is serving, or None.

    A promotion puts a version on top, a roll-back takes off what is above the version it went back to: rolling back
    twice goes back two versions rather than to the bad one just left.
    """
    stack: list[HistoryEntry] = []
    for release in history.releases:
        if release.state == "unconfirmed":
            continue
        entry = release.entry
        versions = [below.pointer.version for below in stack]
        if entry.kind == "rollback" and entry.pointer.version in versions:
            del stack[len(versions) - versions[::-1].index(entry.pointer.version) :]
        else:
            stack.append(entry)
    return next((entry for entry in reversed(stack) if entry.pointer.version != stack[-1].pointer.version), None)


def _chain(entries: dict[int, HistoryEntry], serving: int | None) -> Iterator[int]:
    while serving is not None and serving in entries:
        yield serving
        before = entries[serving].replaces
        serving = before if before is not None and before < serving else None


def _read(store: ObjectStore, key: str, name: str, channel: str, trusted: TrustedKeys) -> HistoryEntry:
    try:
        document = orjson.loads(store.get(key))
    except orjson.JSONDecodeError:
        raise BadInputError(f"{key} is not JSON") from None
    if not isinstance(document, dict):
        raise BadInputError(f"{key} is not a history entry")
    trusted.verify_document(document, key)
    del document["signature"]
    entry = HistoryEntry.from_json(canonical_json(document), key)
    # The key is not signed: a good entry of another channel or number must not count in this place.
    if channel_history_key(entry.pointer.name, entry.pointer.channel, entry.pointer.release) != key:
        raise BadInputError(f"{key} holds release {entry.pointer.release} of another place; it was copied there")
    return entry
