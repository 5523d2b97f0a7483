"""Release channels, read: the signed pointer of a channel, and its append-only history.

A history holds one signed object for each release number, written before the pointer moves. Writing it reserves the
number: the key is created or it is taken, so no two promotions ever sign pointers with the same number, and the number
of an interrupted one is never used again. Does not belong here: moving a channel (``promotion``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from yolo_assets.contracts.base import Record
from yolo_assets.contracts.errors import BadInputError, SignatureError
from yolo_assets.contracts.model import ChannelPointer
from yolo_assets.contracts.names import channel_history_key, channel_key, channel_statement_key
from yolo_assets.contracts.releasing import ChannelStatement
from yolo_assets.models.signed_objects import SignedObjects
from yolo_assets.storage.base import ObjectNotFoundError

MoveKind = Literal["promote", "rollback"]

ReleaseState = Literal["serving", "served", "unconfirmed"]
"""``unconfirmed``: signed, but not on the chain that leads to the pointer. The promotion was interrupted or lost a
race, or an older pointer was put back."""


class HistoryEntry(Record):
    """One release of a channel; signed as a whole, its pointer in it."""

    schema_version: Literal[1] = 1
    kind: MoveKind
    pointer: ChannelPointer
    replaces: int | None = Field(default=None, description="release that the channel served; None for the first")


@dataclass(frozen=True)
class PastRelease:
    """A history entry and what became of it."""

    entry: HistoryEntry
    state: ReleaseState


@dataclass(frozen=True)
class ChannelHistory:
    """The releases of a channel.

    Attributes:
        releases: by number, oldest first.
        rejected: objects that are not a sound history entry, with the reason. Never empty by accident: something other
            than a promotion wrote them.
    """

    releases: tuple[PastRelease, ...]
    rejected: dict[str, str]

    def version_before(self) -> HistoryEntry | None:
        """The release to go back to from the one that is serving, or None.

        A promotion puts a version on top, a rollback takes off what is above the version it went back to: rolling back
        twice goes back two versions rather than to the bad one just replaced.
        """
        stack: list[HistoryEntry] = []
        for release in self.releases:
            if release.state == "unconfirmed":
                continue
            entry = release.entry
            versions = [below.pointer.version for below in stack]
            if entry.kind == "rollback" and entry.pointer.version in versions:
                del stack[len(versions) - versions[::-1].index(entry.pointer.version) :]
            else:
                stack.append(entry)
        return next((entry for entry in reversed(stack) if entry.pointer.version != stack[-1].pointer.version), None)

    def newest_of(self, version: str) -> HistoryEntry | None:
        """The newest release that served a version, or None."""
        served = [
            release.entry
            for release in self.releases
            if release.state != "unconfirmed" and release.entry.pointer.version == version
        ]
        return served[-1] if served else None


@dataclass(frozen=True)
class StoredPointer:
    """What lies under a channel's key.

    Attributes:
        pointer: verified; None when there is nothing, or nothing to be trusted.
        etag: None when there is nothing.
        data: the bytes, trusted or not; None when there are none.
    """

    pointer: ChannelPointer | None = None
    etag: str | None = None
    data: bytes | None = None

    @property
    def release(self) -> int:
        """The release number, 0 without a pointer."""
        return self.pointer.release if self.pointer else 0


class Channel:
    """One release channel of one model, as ``Registry.channel`` gives it. Reads only.

    A good signature does not make a pointer new: a caller that acts on one must refuse a release number below the last
    one accepted, or an attacker could put an old pointer back.
    """

    def __init__(self, objects: SignedObjects, name: str, channel: str) -> None:
        """Raises BadInputError on a name that cannot be a model's or a channel's."""
        self.name = name
        self.channel = channel
        self.key = channel_key(name, channel)
        self._objects = objects

    def etag(self) -> str | None:
        """Of the pointer, trusted or not; None when the channel does not exist."""
        info = self._objects.store.head(self.key)
        return info.etag if info is not None else None

    def pointer(self) -> ChannelPointer | None:
        """The verified pointer, or None when the channel does not exist. Errors as in ``stored``."""
        return self.stored().pointer

    def stored(self, *, accept_untrusted: bool = False) -> StoredPointer:
        """The verified pointer with its etag and bytes.

        Args:
            accept_untrusted: give a pointer that cannot be verified as bytes only, instead of raising.

        Raises:
            SignatureError: not signed by a trusted key.
            BadInputError: not a pointer, or the pointer of another channel.
        """
        try:
            data, info = self._objects.store.get_with_info(self.key)
        except ObjectNotFoundError:
            return StoredPointer()
        try:
            # Read after the pointer: signatures are added first, so the set holds one for whatever pointer was read.
            self._objects.verify(self.key, data, "channel-pointer")
            pointer = ChannelPointer.from_json(data, self.key)
            if (pointer.name, pointer.channel) != (self.name, self.channel):
                raise BadInputError(
                    f"{self.key} is the pointer of {pointer.name}/{pointer.channel}; it was copied there"
                )
        except (BadInputError, SignatureError):
            if not accept_untrusted:
                raise
            return StoredPointer(None, info.etag, data)
        return StoredPointer(pointer, info.etag, data)

    def statement(self) -> ChannelStatement | None:
        """Which release promotion says is the newest, and until when; None where there is no trusted statement.

        One that is missing or forged proves nothing; what a reader saw before still holds.
        """
        key = channel_statement_key(self.name, self.channel)
        try:
            found = ChannelStatement.from_json(self._objects.document(key, "channel-statement"), key)
        except (ObjectNotFoundError, BadInputError, SignatureError):
            return None
        return found if (found.name, found.channel) == (self.name, self.channel) else None

    def history(self) -> ChannelHistory:
        """Every recorded release, oldest first.

        Raises:
            SignatureError, BadInputError: the pointer cannot be verified.
        """
        pointer = self.pointer()
        return self.history_before(pointer.release if pointer else None)

    def history_before(self, serving: int | None) -> ChannelHistory:
        """Every recorded release, with its state derived from the release number of the verified pointer."""
        entries: dict[int, HistoryEntry] = {}
        rejected: dict[str, str] = {}
        for info in self._objects.store.list(channel_history_key(self.name, self.channel)):
            try:
                entry = self._entry(info.key)
                entries[entry.pointer.release] = entry
            except (BadInputError, SignatureError) as error:
                rejected[info.key] = str(error)
        chain = set(_chain(entries, serving))

        def state(release: int) -> ReleaseState:
            return "serving" if release == serving else "served" if release in chain else "unconfirmed"

        return ChannelHistory(tuple(PastRelease(entries[n], state(n)) for n in sorted(entries)), rejected)

    def newest_release(self) -> int:
        """The highest release number that a trusted key ever signed, 0 for none.

        Numbers continue after it even when an older pointer was put back or the pointer was removed. Entries without a
        trusted signature do not count: they cannot use numbers up.
        """
        keys = (info.key for info in self._objects.store.list(channel_history_key(self.name, self.channel)))
        for key in sorted(keys, reverse=True):
            try:
                return self._entry(key).pointer.release
            except (BadInputError, SignatureError):
                continue
        return 0

    def _entry(self, key: str) -> HistoryEntry:
        entry = HistoryEntry.from_json(self._objects.document(key, "channel-release"), key)
        # The key is not signed: a good entry of another channel or number must not count in this place.
        if channel_history_key(entry.pointer.name, entry.pointer.channel, entry.pointer.release) != key:
            raise BadInputError(
                f"{key} holds release {entry.pointer.release} of another channel or number; it was copied there"
            )
        return entry


def _chain(entries: dict[int, HistoryEntry], serving: int | None) -> Iterator[int]:
    while serving is not None and serving in entries:
        yield serving
        before = entries[serving].replaces
        serving = before if before is not None and before < serving else None
