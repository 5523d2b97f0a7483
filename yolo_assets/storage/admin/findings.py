"""What the examination of a store found, and which combinations are unsafe. Pure: no requests are made here.

A store is evaluated by what it did when it was tried, not by its name.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from yolo_assets.storage.admin.profiles import ProfileName

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
        digest_checked: bytes that do not fit their Content-MD5, or their signature, were refused.
        versions: the bucket keeps versions.
        lock: the bucket has object lock.
        retention_proven: a retention that was set is shown again.
        held_against_delete: the store refused to delete a version under retention.
        may_delete: these credentials deleted a plain object for good.
        encrypted_line: TLS, or it never leaves this host.
        bucket: where it lies; two roots of one bucket share its settings.
        expires: the fewest days after which a lifecycle rule deletes what is current; 0: from a date on.
        own_expiry: one of these rules is of an earlier ``storage init``.
        url: as a person wrote it.
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
    expires: int | None = None
    own_expiry: bool = False
    url: str = "URL"


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
    profile: ProfileName
    findings: list[StoreFinding] = field(default_factory=list)
    facts: Facts = field(default_factory=Facts)
    left: list[str] = field(default_factory=list)


def command(role: Role, url: str, *, create: bool = False, retention_days: int | None = None) -> str:
    """The command line that sets a root up."""
    words = ["yolo-assets", "storage", "init", f"--{role}", shlex.quote(url)]
    if retention_days is not None and role == "archive":
        words += ["--retention-days", str(retention_days)]
    return " ".join([*words, *(["--create"] if create else []), "--apply"])


def unsafe(archive: Facts, store: Facts | None, retention_days: int) -> Iterator[StoreFinding]:
    """The combinations in which frames, proofs or pointers would be lost.

    Args:
        archive: of the archive root.
        store: of the store root, when it was examined.
        retention_days: what the operator asks for; 0: nothing.
    """
    asked = f"retention of {retention_days} days"
    another = command("archive", "s3://NEW-BUCKET/root", create=True, retention_days=retention_days)
    if retention_days and archive.lock is False:
        yield StoreFinding(
            f"{asked} is requested",
            "the archive root has no object lock",
            "unsafe",
            f"make another bucket with object lock ({another}), or set YOLO_ASSETS_RETENTION_DAYS=0",
        )
    if archive.own_expiry and not archive.lock:
        yield StoreFinding(
            "archives expire only after their retention",
            "rules of an earlier storage init delete what nothing holds: there is no object lock",
            "unsafe",
            command("archive", archive.url, retention_days=0),
        )
    elif archive.expires is not None and archive.expires < retention_days:
        yield StoreFinding(
            f"{asked} is requested",
            f"a lifecycle rule deletes archives {'on day ' + str(archive.expires) if archive.expires else 'by date'}",
            "unsafe",
            command("archive", archive.url, retention_days=retention_days)
            if archive.own_expiry
            else "change that rule where it was made: it is not ours",
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
            f"switch on versioning: {command('archive', archive.url)}",
        )
    if archive.digest_checked is False:
        yield StoreFinding(
            "bytes damaged on the way are refused",
            "they were stored",
            "unsafe",
            "read every archive back (yolo-assets archive run --verify full), or use another store",
        )
    if store is None:
        return
    plain = "give the store root a plain bucket of its own, without versioning and object lock: " + command(
        "store", "s3://NEW-BUCKET/root", create=True
    )
    if store.expires is not None:
        yield StoreFinding(
            "the store root keeps models, labels and tables",
            "a lifecycle rule deletes what lies there",
            "unsafe",
            command("store", store.url) if store.own_expiry else "change that rule where it was made: it is not ours",
        )
    if store.swap is False:
        same = archive.bucket is not None and archive.bucket == store.bucket
        where = "the store root lies in the archive root's bucket, where" if same else "on the store root"
        yield StoreFinding(
            "pointers move by compare-and-swap",
            f"{where} it does not work",
            "unsafe",
            plain,
        )
    if store.lock:
        yield StoreFinding(
            "the store root is written again and again",
            "its bucket has object lock",
            "unsafe",
            plain,
        )
