"""What the examination of a store found, and which combinations are unsafe. Pure: no requests are made here.

A store is evaluated by what it did when it was tried, not by its name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Verdict = Literal["ok", "note", "warn", "unsafe"]
Role = Literal["archive", "store"]


@dataclass(frozen=True)
class StoreFinding:
    """One question to a store.

    Attributes:
        question: what was tried.
        answer: what happened.
        verdict: ``ok``; ``note``: good to know; ``warn``: it works, at a risk; ``unsafe``: do not use it like this.
        advice: what to do, where something is to be done.
    """

    question: str
    answer: str
    verdict: Verdict
    advice: str = ""


@dataclass
class Facts:
    """What a root really enforces. None: it could not be tried.

    Attributes:
        conditional_put: a put-if-absent on a key that is taken was refused.
        swap: a compare-and-swap worked with the right etag and was refused with a wrong one.
        digest_checked: bytes that do not fit their Content-MD5 were refused.
        versions: the bucket keeps versions.
        lock: the bucket has object lock.
        retention_proven: a retention that was set is shown again.
        held_against_delete: the store refused to delete a version under retention.
        may_delete: these credentials deleted a plain object for good.
        encrypted_line: TLS, or it never leaves this host.
        bucket: where it lies; two roots of one bucket share its settings.
    """

    conditional_put: bool | None = None
    swap: bool | None = None
    digest_checked: bool | None = None
    versions: bool | None = None
    lock: bool | None = None
    retention_proven: bool | None = None
    held_against_delete: bool | None = None
    may_delete: bool | None = None
    encrypted_line: bool | None = None
    bucket: str | None = None


@dataclass
class Examined:
    """One root after the examination.

    Attributes:
        role: what it is used for.
        url: as a person wrote it.
        profile: ``aws``, ``ceph``, ``minio``, ``oss``, ``folder`` or ``generic``.
        findings: in the order in which they were tried.
        facts: the same, for ``unsafe``.
        left: what the examination could not remove again.
    """

    role: Role
    url: str
    profile: str
    findings: list[StoreFinding] = field(default_factory=list)
    facts: Facts = field(default_factory=Facts)
    left: list[str] = field(default_factory=list)


def unsafe(archive: Facts, store: Facts | None, retention_days: int) -> Iterator[StoreFinding]:
    """The combinations in which frames, proofs or pointers would be lost.

    Args:
        archive: of the archive root.
        store: of the store root, when it was examined.
        retention_days: what the operator asks for; 0: nothing.
    """
    asked = f"retention of {retention_days} days"
    if retention_days and archive.lock is False:
        yield StoreFinding(
            f"{asked} is requested",
            "the archive root has no object lock",
            "unsafe",
            "make a bucket with object lock (storage init --create), or set YOLO_ASSETS_RETENTION_DAYS=0",
        )
    if retention_days and archive.lock and archive.retention_proven is False:
        yield StoreFinding(
            f"{asked} is requested",
            "a retention that was set is not shown again",
            "unsafe",
            "give the right PutObjectRetention and GetObjectRetention, or use a store that keeps it",
        )
    if archive.lock and archive.held_against_delete is False:
        yield StoreFinding(
            "object lock is on",
            "a version under retention was deleted all the same",
            "unsafe",
            "nothing here is write-once: take away the right to bypass it, or use another store",
        )
    if archive.conditional_put is False and archive.versions is False:
        yield StoreFinding(
            "archives are never overwritten",
            "a put-if-absent overwrote an object, and there are no versions to find it in",
            "unsafe",
            "switch on versioning for the bucket of the archive root",
        )
    if archive.digest_checked is False:
        yield StoreFinding(
            "bytes damaged on the way are refused",
            "they were stored",
            "unsafe",
            "archive with --verify full, or use another store",
        )
    if store is None:
        return
    if store.swap is False:
        same = archive.bucket is not None and archive.bucket == store.bucket
        where = "the store root lies in the archive root's bucket, where" if same else "on the store root"
        yield StoreFinding(
            "pointers move by compare-and-swap",
            f"{where} it does not work",
            "unsafe",
            "give the store root a plain bucket of its own: no versioning, no object lock",
        )
    if store.lock:
        yield StoreFinding(
            "the store root is written again and again",
            "its bucket has object lock",
            "unsafe",
            "give the store root a plain bucket of its own: no versioning, no object lock",
        )
