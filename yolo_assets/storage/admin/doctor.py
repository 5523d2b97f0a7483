"""Examines the archive root and the store root by trying what they enforce, and evaluates them together.

Belongs here: which roots, and the examination of a folder. The examination of a bucket is ``bucket_examination``, what
was found and what follows from it ``findings``.
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from yolo_assets.contracts.errors import UsageError, UserError
from yolo_assets.contracts.locations import parse_file_url
from yolo_assets.runtime.files import lock
from yolo_assets.storage.admin.findings import Examined, Facts, Role, StoreFinding, Verdict, unsafe
from yolo_assets.storage.open import open_store, parse_s3_url

_NETWORK = ("nfs", "cifs", "smb", "fuse.sshfs", "9p", "ceph", "glusterfs")
_GB = 1e9


@dataclass(frozen=True)
class Examination:
    """What was found.

    Attributes:
        roots: the archive root, then the store root when it was asked for.
        unsafe: combinations in which something would be lost; empty means that these roots can be used.
    """

    roots: tuple[Examined, ...]
    unsafe: tuple[StoreFinding, ...]


def examine(archive_url: str, store_url: str | None, retention_days: int) -> Examination:
    """Try what the roots enforce.

    Args:
        archive_url: of the archive root.
        store_url: of the store root; None: not examined.
        retention_days: what the operator asks for; 0: nothing.

    A root that cannot be reached is a finding of its own: the other one is examined all the same.

    Raises:
        UsageError: a location is none.
    """
    archive = _examine(archive_url, "archive")
    store = None if store_url is None else _examine(store_url, "store")
    together = list(unsafe(archive.facts, None if store is None else store.facts, retention_days))
    roots = (archive,) if store is None else (archive, store)
    alone = [found for root in roots for found in root.findings if found.verdict == "unsafe"]
    covered = [found for root in roots for found in _covered(root, retention_days)]
    return Examination(roots, (*(found for found in alone if found not in covered), *together))


def _covered(root: Examined, retention_days: int) -> Iterator[StoreFinding]:
    """The findings of one root that ``unsafe`` tells together with what follows from them."""
    facts = root.facts
    told = {
        "compare-and-swap": facts.swap is False,
        "object lock": bool(facts.lock),
        "retention": retention_days > 0 and facts.retention_proven is False,
        "deleting a version under retention": facts.held_against_delete is False,
    }
    for found in root.findings:
        if told.get(found.question) or (found.question.startswith("rule ") and facts.expires is not None):
            yield found


def _examine(url: str, role: Role) -> Examined:
    """One root; that it cannot be reached is then the one finding."""
    try:
        return _reached(url, role)
    except UsageError:
        raise
    except UserError as error:
        what, _, advice = str(error).partition("; ")
        return Examined(role, url, "generic", [StoreFinding("reach", what, "unsafe", advice)])


def _reached(url: str, role: Role) -> Examined:
    if url.startswith("s3://"):
        # boto3 takes a third of a second to import: a check of folders does not pay for it.
        from yolo_assets.storage.admin.bucket_examination import examine_bucket
        from yolo_assets.storage.s3_client import make_client

        bucket, prefix = parse_s3_url(url)
        return examine_bucket(make_client(), bucket, prefix, role, url)
    return _examine_folder(parse_file_url(url), role, url)


def _examine_folder(root: Path, role: Role, url: str) -> Examined:
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
        examined.findings.append(StoreFinding(question, answer, verdict, advice))

    scratch = root / ".doctor" / uuid.uuid4().hex[:12]
    scratch.mkdir(parents=True)
    try:
        kind = _kind(root)
        network = kind.startswith(_NETWORK)
        outcome = f"{kind}, over a network" if network else kind
        found(
            "file system",
            outcome,
            "note" if network else "ok",
            "its server must keep fsync's promise" if network else "",
        )
        free = shutil.disk_usage(root).free
        found(
            "free space",
            f"{free / _GB:.1f} GB free",
            "ok" if free > 10 * _GB else "warn",
            "" if free > 10 * _GB else f"make room, or name another folder by YOLO_ASSETS_{role.upper()}",
        )
        exclusive = _exclusive(scratch)
        examined.facts.conditional_put = exclusive
        advice = "" if exclusive else "use a file system with hard links or locks"
        found(
            "put-if-absent on a taken key",
            "refused" if exclusive else "overwritten",
            "ok" if exclusive else "warn",
            advice,
        )
        examined.facts.swap = _locks(scratch)
        outcome = "work between processes" if examined.facts.swap else "do nothing"
        advice = "" if examined.facts.swap else "mount it with locks (nfs: without nolock)"
        found("locks", outcome, "ok" if examined.facts.swap else "warn", advice)
        folds = (scratch / "EXCLUSIVE").exists()
        outcome = "one name" if folds else "two names"
        found("upper and lower case", outcome, "note" if folds else "ok")
        long = _takes_long_names(scratch)
        advice = "" if long else "use a file system that takes them: long camera names do not fit here"
        found("names of 255 bytes", "kept" if long else "refused", "ok" if long else "warn", advice)
        examined.facts.may_delete = True
        if role == "archive":
            found(
                "who may write may delete",
                "a folder has no versions, no object lock and no lifecycle",
                "note",
                "use a bucket with object lock where write-once is required; protect the folder by its owner's rights",
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
    """Whether a file gets a name only when it is free."""
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
            return lock(one.fileno()) and not lock(other.fileno())
        except OSError:
            return False


def _takes_long_names(scratch: Path) -> bool:
    try:
        (scratch / ("n" * 255)).touch()
    except OSError:
        return False
    return True
