"""Makes archives immutable, and reports when one is not: retention, legal hold, what was written over the original.

Belongs here: what is required of the store's object lock, and proof that it was done. The requests are in
``storage.base``. Nothing here shortens a retention, deletes a version or writes an object.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.originals import oldest_version
from yolo_assets.archive.part import ArchivedPart
from yolo_assets.contracts.copies import CopiedArchive
from yolo_assets.contracts.errors import BadInputError, IntegrityError, SignatureError, UserError
from yolo_assets.contracts.names import ArchiveName, receipts_prefix
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.signing import unverified_content
from yolo_assets.contracts.times import Hour, format_time, utc_now
from yolo_assets.storage.base import (
    NoObjectLockError,
    ObjectInfo,
    ObjectLock,
    ObjectNotFoundError,
    ObjectStore,
    Retention,
    StoreUnavailableError,
)


@dataclass(frozen=True)
class HeldObject:
    """One object whose legal hold was set or released, as the store confirmed it.

    Attributes:
        key: of the object.
        version_id: the version; the original, whatever lies over it.
        on: held, or released.
    """

    key: str
    version_id: str
    on: bool


def protect(store: ObjectStore, key: str, version_id: str | None, retention: Retention) -> Retention:
    """Give one version at least this retention and prove it: look, set when missing or shorter, look again.

    Args:
        store: the archive root.
        key: of the object.
        version_id: as the store answered when it was written; None: the newest version.
        retention: the least that is asked for. One that is there already and longer or stricter stays.

    Returns:
        What the store confirms.

    Raises:
        UserError: there is no object lock, or the store did not take the retention: the object is not write-once.
        ObjectNotFoundError: no such object or version.
        StoreUnavailableError: the store cannot be asked.
    """
    if retention.until <= utc_now():
        raise BadInputError(f"{key} cannot be made write-once until {format_time(retention.until)}: that time is past")
    lock = _lock_of(store)
    if version_id is None:
        version_id = _newest(store, key)
    try:
        current = lock.get_retention(key, version_id)
        if current is None or not current.covers(retention):
            needed = retention if current is None else retention.joined(current)
            _set(lock, key, version_id, needed, current)
            current = lock.get_retention(key, version_id)
    except NoObjectLockError as error:
        raise UserError(f"{key} cannot be made write-once: {error}; or set YOLO_ASSETS_RETENTION_DAYS=0") from None
    if current is None or not current.covers(retention):
        has = "no retention" if current is None else _words(current)
        raise UserError(
            f"{store.url} accepted a retention of {key} ({_words(retention)}) and shows {has}; it does not keep "
            "what it promises: use another store, or set YOLO_ASSETS_RETENTION_DAYS=0"
        )
    return current


def hold(archive: Archive, name: ArchiveName, on: bool) -> list[HeldObject]:
    """Put a legal hold on all of one camera-hour, or release it: archive, index and receipt of every part.

    The original versions are held, also where something was written over them or hides them.

    Args:
        archive: the archive.
        name: any part of the hour.
        on: hold or release.

    Raises:
        UserError: there is no object lock, or the store did not do it.
        ObjectNotFoundError: there is no such archive.
        IntegrityError: an original is not there any more; nothing was changed.
        StoreUnavailableError: the store cannot be asked; what was done stays done, run again.
    """
    lock = _lock_of(archive.store)
    listed = list(archive.names(camera_id=name.camera_id, hour=name.hour))
    hidden = list(_hidden(lock, name.camera_id, name.hour))
    names = {*listed, *(hidden_name for hidden_name, _ in hidden)}
    if name not in names:
        raise ObjectNotFoundError(f"there is no archive {name.stem} in {archive.url}")
    originals = [version for part in sorted(names) for version in _originals(archive, lock, part)]
    held = [HeldObject(key, version_id, on) for key, version_id in originals]
    for entry in held:
        lock.set_legal_hold(entry.key, entry.version_id, on)
        if lock.get_legal_hold(entry.key, entry.version_id) is not on:
            raise UserError(
                f"{archive.url} did not {'set' if on else 'release'} the legal hold of {entry.key}; run again"
            )
    return held


def hidden_archives(archive: Archive, *, date: str | None = None) -> Iterator[tuple[ArchiveName, ObjectInfo]]:
    """Archives that no reader finds, because a delete marker hides their receipt; with the marker, in key order.

    Reads the names of all versions of all receipts, or of those of one day. A store without versions hides nothing.
    """
    lock = archive.store.object_lock
    if lock is not None:
        yield from _names(lock, receipts_prefix(date=date))


def protection_problems(part: ArchivedPart, copied: CopiedArchive | None = None) -> list[str]:
    """What is wrong with the write-once protection of one archive: a line each, none means it is as its receipt says.

    Looks at archive, index and receipt: retention missing, shorter or weaker than the receipt says; versions and delete
    markers over the original, or older ones under it. A receipt that promises nothing, from a store without versions,
    has no problems.

    Args:
        part: the archive.
        copied: what a statement says of it as it lies in this store; None: it was archived here.

    Raises:
        StoreUnavailableError: the store cannot be asked, so nothing can be said.
    """
    receipt, store = part.receipt, part.store
    lock = store.object_lock
    if receipt.version_id is None and receipt.retention_until is None:
        return []
    if copied is not None and not copied.locked:
        return []  # a copy without locks, as its statement says
    if lock is None:
        return [
            f"{receipt.archive_key} should be write-once, but {store.url} keeps no versions and locks nothing; "
            "this is a copy, or the objects were moved"
        ]
    problems: list[str] = []
    for key in (receipt.archive_key, receipt.index_key, part.name.receipt_key):
        versions = lock.versions(key)
        pinned = _pinned(part, key, versions, copied)
        if pinned is None:
            remaining = f"{len(versions)} other versions lie there" if versions else "nothing is left of it"
            problems.append(f"{key}: the original is not in the store any more; {remaining}")
            continue
        problems.extend(_overlaid(store, key, versions, pinned))
        if receipt.retention_until is not None and receipt.retention_mode is not None:
            promised = Retention(receipt.retention_until, receipt.retention_mode)
            problems.extend(_unprotected(lock, key, pinned, promised))
    return problems


def _lock_of(store: ObjectStore) -> ObjectLock:
    lock = store.object_lock
    if lock is None:
        raise UserError(
            f"{store.url} keeps no versions and locks nothing; write-once archives need a bucket with object lock "
            "(else set YOLO_ASSETS_RETENTION_DAYS=0)"
        )
    return lock


def _newest(store: ObjectStore, key: str) -> str | None:
    info = store.head(key)
    if info is None:
        raise ObjectNotFoundError(f"there is no object {key} in {store.url}")
    return info.version_id


def _set(lock: ObjectLock, key: str, version_id: str | None, needed: Retention, current: Retention | None) -> None:
    try:
        lock.set_retention(key, version_id, needed)
    except StoreUnavailableError as error:
        if error.transient or current is None or current.mode == needed.mode:
            raise
        raise UserError(
            f"{key} is already under {_words(current)}, the bucket's default, and the store does not change that to "
            f"{needed.mode} ({error}); change the default, or set YOLO_ASSETS_RETENTION_MODE={current.mode}"
        ) from None


def _words(retention: Retention) -> str:
    return f"{retention.mode} retention until {format_time(retention.until)}"


def _hidden(lock: ObjectLock, camera_id: str, hour: Hour) -> Iterator[tuple[ArchiveName, ObjectInfo]]:
    first = ArchiveName(camera_id, hour)
    for name, marker in _names(lock, receipts_prefix(hour) + first.stem):
        if name.camera_id == camera_id:  # another camera's id may begin like this one
            yield name, marker


def _names(lock: ObjectLock, prefix: str) -> Iterator[tuple[ArchiveName, ObjectInfo]]:
    for marker in lock.hidden(prefix):
        try:
            name = ArchiveName.parse(marker.key)
        except BadInputError:
            continue
        if name.receipt_key == marker.key:
            yield name, marker


def _originals(archive: Archive, lock: ObjectLock, name: ArchiveName) -> Iterator[tuple[str, str]]:
    """Key and version id of archive, index and receipt of one part."""
    original = archive.original_receipt(name)
    if original is None:
        raise IntegrityError(f"no version of {name.receipt_key} has a good signature by a trusted key")
    receipt, version = original
    part = archive.part(receipt)
    index = part.original_index()
    if index is None:
        raise IntegrityError(f"no version of {name.index_key} is the one its receipt was written for")
    pinned = _pinned(part, name.archive_key, lock.versions(name.archive_key))
    if pinned is None:
        raise IntegrityError(f"{name.archive_key} is not in the store in the version that its receipt names")
    for info in (pinned, index[1], version):
        yield info.key, info.version_id or ""


def _pinned(
    part: ArchivedPart, key: str, versions: list[ObjectInfo], copied: CopiedArchive | None = None
) -> ObjectInfo | None:
    """The version of one of an archive's three objects that the receipt speaks of."""
    receipt = part.receipt
    readable = [version for version in versions if not version.deleted]
    if key == receipt.archive_key:
        # What was written before the bucket kept versions is listed as version "null".
        version_id = (receipt.version_id if copied is None else copied.version_id) or "null"
        return next((version for version in readable if version.version_id == version_id), None)
    if len(readable) == 1:
        return readable[0]  # whether it holds the right bytes is checked where it is read
    if key == receipt.index_key:
        original = part.original_index()
        return None if original is None else original[1]
    return oldest_version(part.store, key, lambda data: _is_receipt(data, receipt))


def _is_receipt(data: bytes, receipt: Receipt) -> bool:
    try:
        return unverified_content(data, receipt.name).record(Receipt, receipt.name) == receipt
    except (BadInputError, SignatureError):
        return False


def _overlaid(store: ObjectStore, key: str, versions: list[ObjectInfo], pinned: ObjectInfo) -> Iterator[str]:
    """What lies over the original, and under it; the same bytes once more (an answer was lost) are no problem."""
    place = [version.version_id for version in versions].index(pinned.version_id)
    others = [
        (at < place, version)
        for at, version in enumerate(versions)
        if at != place and (version.deleted or (version.size, version.etag) != (pinned.size, pinned.etag))
    ]
    if not others:
        return
    readable = store.head(key, version_id=pinned.version_id) is not None
    original = f"the original, version {pinned.version_id}, {'is still readable' if readable else 'cannot be read'}"
    for over, version in others:
        when = f"{version.version_id} of {format_time(version.modified_at)}"
        if over and version.deleted:
            yield f"{key} was deleted: delete marker {when} hides it; {original}"
        elif over:
            yield f"{key} was overwritten: version {when}, {version.size} bytes, lies over it; {original}"
        elif not version.deleted:
            yield f"{key} lies over an older version, {when}, {version.size} bytes; {original}"


def _unprotected(lock: ObjectLock, key: str, pinned: ObjectInfo, promised: Retention) -> Iterator[str]:
    try:
        current = lock.get_retention(key, pinned.version_id)
    except NoObjectLockError as error:
        yield f"{key} should be under {_words(promised)}: {error}"
        return
    if current is None:
        yield f"{key} version {pinned.version_id} has no retention, its receipt says {_words(promised)}"
    elif not current.covers(promised):
        yield f"{key} version {pinned.version_id} is under {_words(current)}, its receipt says {_words(promised)}"
