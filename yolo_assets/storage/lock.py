"""What stores offer that keep versions and can make one unalterable: retention, legal hold, the versions themselves.

Belongs here: the interface and what its words mean. The requests are ``s3_lock``; what an archive asks for is
``archive.retention``. A folder keeps no versions and locks nothing: for it there is no ``ObjectLock``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol, runtime_checkable

from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.storage.base import ObjectInfo, ObjectStore

RetentionMode = Literal["compliance", "governance"]


class NoObjectLockError(UserError):
    """The bucket, or the store as a whole, has no object lock: nothing in it can be made unalterable."""


@dataclass(frozen=True)
class Retention:
    """Until when a version can be neither deleted nor changed.

    Attributes:
        until: aware. Stores keep whole seconds; what is asked of them is rounded up.
        mode: ``compliance``: nobody can shorten it, the owner of the account included; ``governance``: whoever has the
            right to bypass it can.
    """

    until: datetime
    mode: RetentionMode

    def __post_init__(self) -> None:
        if self.until.tzinfo is None:
            raise BadInputError(f"the retention until {self.until.isoformat()} has no zone; give UTC")

    def covers(self, other: Retention) -> bool:
        """Whether this one lasts at least as long as ``other`` and is at least as strict."""
        return self.until >= other.until and (self.mode == "compliance" or other.mode == "governance")

    def joined(self, other: Retention) -> Retention:
        """The weakest retention that covers both."""
        strict = "compliance" in (self.mode, other.mode)
        return Retention(max(self.until, other.until), "compliance" if strict else "governance")


@runtime_checkable
class ObjectLock(Protocol):
    """What a store with versions and locks offers besides ``ObjectStore``.

    A version id may be None: then the newest version is meant. Every method may raise ``StoreUnavailableError``, those
    of retention and hold also ``NoObjectLockError`` (the bucket has no lock) and ``ObjectNotFoundError``.
    """

    def get_retention(self, key: str, version_id: str | None) -> Retention | None:
        """The retention of one version, None when it has none."""
        ...

    def set_retention(self, key: str, version_id: str | None, retention: Retention) -> None:
        """Ask for a retention. The store refuses to shorten one, with ``StoreUnavailableError``, not transient."""
        ...

    def get_legal_hold(self, key: str, version_id: str | None) -> bool:
        """Whether one version is held."""
        ...

    def set_legal_hold(self, key: str, version_id: str | None, on: bool) -> None:
        """Hold one version without an end, or release it; its retention stays as it is."""
        ...

    def versions(self, key: str) -> list[ObjectInfo]:
        """Every version and delete marker of one key, newest first; empty when there never was one.

        Each has a version id, ``null`` for what was written before the bucket kept versions.
        """
        ...

    def hidden(self, prefix: str) -> Iterator[ObjectInfo]:
        """The delete markers that hide a key with ``prefix`` from readers and listings. Reads every version's name."""
        ...


def object_lock(store: ObjectStore) -> ObjectLock | None:
    """The store's versions and locks; None for a store that has none, such as a folder.

    Whether the bucket was made with object lock shows with the first request: ``NoObjectLockError``.
    """
    return store if isinstance(store, ObjectLock) else None
