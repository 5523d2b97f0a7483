"""Tries what a folder or NAS really gives: links, renames, locks, room. With files of its own that it removes again.

A folder has no policies, versions or locks: who may write in it may delete. What it does have is tried here.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import uuid
from pathlib import Path

from yolo_assets.storage.admin.findings import Examined, Facts, Role, Verdict
from yolo_assets.storage.admin.findings import Finding as _Finding
from yolo_assets.storage.open import open_store

_NETWORK = ("nfs", "cifs", "smb", "fuse.sshfs", "9p", "ceph", "glusterfs")
_GB = 1e9


def examine_folder(root: Path, role: Role, url: str) -> Examined:
    """Ask everything of one folder.

    Args:
        root: absolute; created when its parent exists, as opening the store does.
        role: what it is used for.
        url: as a person wrote it.

    Raises:
        UserError: it cannot be opened at all.
    """
    open_store(url)
    examined = Examined(role, url, "folder", facts=Facts(versions=False, lock=False, encrypted_line=True))

    def found(question: str, answer: str, verdict: Verdict, advice: str = "") -> None:
        examined.findings.append(_Finding(question, answer, verdict, advice))

    scratch = root / ".doctor" / uuid.uuid4().hex[:12]
    scratch.mkdir(parents=True)
    try:
        kind = _kind(root)
        network = kind.startswith(_NETWORK)
        said = f"{kind}, at the end of a network" if network else kind
        found(
            "file system", said, "note" if network else "ok", "its server must keep fsync's promise" if network else ""
        )
        free = shutil.disk_usage(root).free
        found(
            "room",
            f"{free / _GB:.1f} GB free",
            "ok" if free > 10 * _GB else "warn",
            "" if free > 10 * _GB else "it fills soon",
        )
        exclusive = _exclusive(scratch)
        examined.facts.conditional_put = exclusive
        found("put-if-absent on a taken key", "refused" if exclusive else "overwritten", "ok" if exclusive else "warn")
        examined.facts.swap = _locks(scratch)
        said = "work between processes" if examined.facts.swap else "do nothing"
        advice = "" if examined.facts.swap else "mount it with locks (nfs: without nolock)"
        found("locks", said, "ok" if examined.facts.swap else "warn", advice)
        folds = (scratch / "EXCLUSIVE").exists()
        said = "one name" if folds else "two names"
        found("upper and lower case", said, "note" if folds else "ok")
        long = _takes_long_names(scratch)
        found("names of 255 bytes", "kept" if long else "refused", "ok" if long else "warn")
        examined.facts.may_delete = True
        if role == "archive":
            found(
                "who may write may delete",
                "a folder has no versions, no object lock and no lifecycle",
                "note",
                "use a bucket with object lock where write-once is asked for; protect the folder by its owner's rights",
            )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        if scratch.exists():
            examined.left.append(str(scratch))
        elif not any(scratch.parent.iterdir()):
            scratch.parent.rmdir()
    return examined


def _kind(root: Path) -> str:
    """The type of the file system that holds ``root``, as the kernel calls it."""
    best, kind = -1, "unknown"
    resolved = root.resolve()
    for line in Path("/proc/self/mounts").read_text("utf-8", "replace").splitlines():
        fields = line.split(" ")
        mounted = Path(fields[1].encode().decode("unicode_escape"))
        if resolved.is_relative_to(mounted) and len(mounted.parts) > best:
            best, kind = len(mounted.parts), fields[2]
    return kind


def _exclusive(scratch: Path) -> bool:
    """Whether a file gets a name only when nobody has it."""
    (scratch / "exclusive").write_bytes(b"first")
    (scratch / "second").write_bytes(b"second")
    try:
        os.link(scratch / "second", scratch / "exclusive")
    except FileExistsError:
        return (scratch / "exclusive").read_bytes() == b"first"
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise
        return _locks(scratch)  # without hard links the store takes a lock and looks first
    return False


def _locks(scratch: Path) -> bool:
    """Whether a lock taken through one opening is seen through another."""
    with (scratch / "lock").open("w") as one, (scratch / "lock").open("w") as other:
        try:
            fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
    return False


def _takes_long_names(scratch: Path) -> bool:
    try:
        (scratch / ("n" * 255)).touch()
    except OSError:
        return False
    return True
