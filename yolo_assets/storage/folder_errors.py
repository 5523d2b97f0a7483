"""What an operating system's error means for the person who runs a store in a folder, and what to do about it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.storage.base import StoreUnavailableError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


def store_error(error: OSError, root: Path) -> UserError:
    """The one line for an ``OSError`` that happened in the store at ``root``."""
    place = error.filename if isinstance(error.filename, str) else str(root)
    if error.errno in _FULL:
        limit = "the file-size limit is reached" if error.errno == errno.EFBIG else "the disk or quota is full"
        return StoreUnavailableError(f"cannot write to {root}: {limit}; free space or raise it, then run again")
    if error.errno in (errno.EACCES, errno.EPERM):
        who = f"user id {os.geteuid()}"
        return StoreUnavailableError(f"no permission for {place}; give {who} access to {root}", transient=False)
    if error.errno == errno.EROFS:
        return StoreUnavailableError(f"{root} is mounted read-only; mount it writable to store there", transient=False)
    if error.errno in (errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY):
        return BadInputError(
            f"{place} is in the way: in a folder an object cannot also be the beginning of another one's key; "
            "use another key or remove it"
        )
    if error.errno == errno.EXDEV:
        return StoreUnavailableError(
            f"{place} lies on another file system than {root}, where nothing can be moved into place at once; "
            "use one file system for the whole store",
            transient=False,
        )
    if error.errno in _NO_LOCKS:
        return StoreUnavailableError(
            f"{root} does not support file locks; mount it with locking or use S3", transient=False
        )
    if error.errno == errno.ENOENT:
        return folder_gone(root)
    reason = error.strerror or str(error)
    return StoreUnavailableError(f"{root} does not work: {reason}; check the disk or the network mount, then run again")


def folder_gone(root: Path) -> StoreUnavailableError:
    """The store's folder was there when it was opened and is not now."""
    return StoreUnavailableError(f"the store's folder {root} is gone; mount or restore it, then run again")


@contextmanager
def explained(root: Path) -> Iterator[None]:
    """Turn any ``OSError`` inside into the one line that says what to do."""
    try:
        yield
    except OSError as error:
        raise store_error(error, root) from error
