"""Write-once on a store that enforces it: retention proven, holds, and what is written over an archive."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from botocore.exceptions import ClientError

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.archiving import archive_hour
from yolo_assets.archive.options import ArchiveOptions
from yolo_assets.archive.originals import parse_receipt
from yolo_assets.archive.part import ArchivedPart
from yolo_assets.archive.retention import hidden_archives, hold, protect, protection_problems
from yolo_assets.contracts.errors import BadInputError, IntegrityError, SignatureError, UserError
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.storage import ObjectNotFoundError, ObjectStore, open_store
from yolo_assets.storage.base import ObjectLock, Retention, RetentionMode
from yolo_assets.storage.decorators import ForwardingStore

FillHour = Callable[..., SpoolHour]
BARE = ArchiveOptions()


def later(seconds: float, mode: RetentionMode = "compliance") -> Retention:
    return Retention(datetime.now(UTC) + timedelta(seconds=seconds), mode)


def fails_in_one_line(error: type[UserError], match: str, action: Callable[[], object]) -> None:
    with pytest.raises(error, match=match) as caught:
        action()
    assert "\n" not in str(caught.value)


@dataclass(frozen=True)
class Cold:
    """A locked bucket with one archive in it, whose receipt promises a retention that it has."""

    bucket: Any
    store: ObjectStore
    lock: ObjectLock
    name: ArchiveName
    receipt: Receipt

    @property
    def keys(self) -> tuple[str, str, str]:
        return self.name.archive_key, self.name.index_key, self.name.receipt_key

    def delete_version(self, key: str, version_id: str) -> None:
        self.bucket.client.delete_object(Bucket=self.bucket.name, Key=f"root/{key}", VersionId=version_id)


@pytest.fixture
def cold(s3_locked_bucket: Any, fill_hour: FillHour, signer: Signer, archive: Archive) -> Cold:
    """Archived into a folder first, then put into the bucket with its protection and a receipt that says so."""
    plain = archive_hour(fill_hour(), archive, signer, BARE).receipt
    assert plain is not None
    store = open_store(s3_locked_bucket.url)
    lock = store.object_lock
    assert lock is not None
    name = ArchiveName.parse(plain.archive_key)
    info = store.put_if_absent(name.archive_key, archive.store.get(name.archive_key))
    confirmed = protect(store, name.archive_key, info.version_id, later(600, "governance"))
    protect(store, name.index_key, store.put(name.index_key, archive.store.get(name.index_key)).version_id, confirmed)
    promised = {"version_id": info.version_id, "etag": info.etag, "retention_mode": confirmed.mode}
    unsigned = plain.model_copy(update=promised | {"retention_until": confirmed.until, "signature": None})
    signed = signer.seal(unsigned.payload(), "receipt").to_json()
    receipt = parse_receipt(signed, name, TrustedKeys.of(signer))
    protect(store, name.receipt_key, store.put(name.receipt_key, signed).version_id, confirmed)
    return Cold(s3_locked_bucket, store, lock, name, receipt)


@pytest.mark.s3
def test_a_retention_that_create_lost_is_set_and_proven(s3_locked_bucket: Any) -> None:
    store, client = open_store(s3_locked_bucket.url), s3_locked_bucket.client
    lock = store.object_lock
    assert lock is not None
    asked = later(100)
    upload_id = client.create_multipart_upload(
        Bucket=s3_locked_bucket.name,
        Key="root/k",
        ObjectLockMode="COMPLIANCE",
        ObjectLockRetainUntilDate=asked.until,
    )["UploadId"]
    info = store.complete_upload("k", upload_id, [store.upload_part("k", upload_id, 1, b"bytes")])
    assert lock.get_retention("k", info.version_id) is None, "the headers at Create were kept: protect has less to do"

    confirmed = protect(store, "k", info.version_id, asked)
    assert confirmed.covers(asked) and confirmed == lock.get_retention("k", info.version_id)
    with pytest.raises(ClientError, match="AccessDenied"):
        client.delete_object(Bucket=s3_locked_bucket.name, Key="root/k", VersionId=info.version_id)
    assert protect(store, "k", info.version_id, later(20)) == confirmed, "never shortened"
    assert protect(store, "k", None, later(50, "governance")) == confirmed, "never weakened"
    assert protect(store, "k", None, later(200, "governance")).mode == "compliance"


@pytest.mark.s3
def test_what_cannot_be_protected_is_one_line(
    make_bucket: Callable[..., Any], archive: Archive, s3_locked_bucket: Any
) -> None:
    plain, locked = open_store(make_bucket(versioned=True).url), open_store(s3_locked_bucket.url)
    for store in (plain, archive.store, locked):
        store.put("k", b"1")
    for store in (plain, archive.store):
        fails_in_one_line(
            UserError, "YOLO_ASSETS_RETENTION_DAYS=0", lambda store=store: protect(store, "k", None, later(9))
        )
    fails_in_one_line(BadInputError, "past", lambda: protect(locked, "k", None, later(-9)))
    fails_in_one_line(ObjectNotFoundError, "nothing", lambda: protect(locked, "nothing", None, later(9)))
    protect(locked, "k", None, later(100, "governance"))
    fails_in_one_line(UserError, "RETENTION_MODE=governance", lambda: protect(locked, "k", None, later(200)))


class Forgetful(ForwardingStore):
    """A store that takes a retention and does not keep it; no real one is at hand that lies so."""

    def _around(self, operation: str, key: str, request: Callable[[], Any]) -> Any:
        return None if operation == "set_retention" else request()


@pytest.mark.s3
def test_a_store_that_does_not_keep_a_retention_is_found_out(s3_locked_bucket: Any) -> None:
    store = open_store(s3_locked_bucket.url)
    store.put("k", b"1")
    liar = Forgetful(store)
    fails_in_one_line(UserError, "does not keep what it promises", lambda: protect(liar, "k", None, later(9)))


@pytest.mark.s3
def test_an_archive_as_it_was_left_has_no_problems(cold: Cold, trusted: TrustedKeys) -> None:
    assert protection_problems(ArchivedPart(cold.store, cold.receipt)) == []
    found = Archive(cold.store, trusted).original_receipt(cold.name)
    assert found is not None and found[0] == cold.receipt
    assert list(hidden_archives(Archive(cold.store, trusted))) == []
    # The same bytes once more, because an answer was lost, are no overwrite.
    cold.store.put(cold.name.receipt_key, cold.store.get(cold.name.receipt_key))
    assert protection_problems(ArchivedPart(cold.store, cold.receipt)) == []


@pytest.mark.s3
def test_an_overwrite_is_reported_and_the_original_found(cold: Cold, trusted: TrustedKeys, tmp_path: Path) -> None:
    originals = {key: cold.store.get(key) for key in cold.keys}
    pinned = {key: cold.lock.versions(key)[0].version_id for key in cold.keys}
    stranger = Signer.load_or_create(tmp_path / "stranger")
    forged = stranger.seal(cold.receipt.payload(), "receipt").to_json()
    over = {key: cold.store.put(key, data) for key, data in zip(cold.keys, (b"junk", b"junk", forged), strict=True)}
    cold.store.delete(cold.name.archive_key)

    problems = protection_problems(ArchivedPart(cold.store, cold.receipt))
    assert len(problems) == 4
    for key in cold.keys:
        assert any(
            f"{key} was overwritten: version {over[key].version_id} of 20" in line
            and f"original, version {pinned[key]}, is still readable" in line
            for line in problems
        )
    assert sum("was deleted: delete marker" in line for line in problems) == 1

    with pytest.raises(SignatureError):
        find_receipts_strictly(cold, trusted)
    found = Archive(cold.store, trusted).original_receipt(cold.name)
    assert found is not None and (found[0], found[1].version_id) == (cold.receipt, pinned[cold.name.receipt_key])
    index = ArchivedPart(cold.store, cold.receipt).original_index()
    assert index is not None and index[0] == originals[cold.name.index_key]
    assert index[1].version_id == pinned[cold.name.index_key]
    archived = cold.store.get(cold.name.archive_key, version_id=cold.receipt.version_id)
    assert archived == originals[cold.name.archive_key]


def find_receipts_strictly(cold: Cold, trusted: TrustedKeys) -> Receipt:
    return parse_receipt(cold.store.get(cold.name.receipt_key), cold.name, trusted)


@pytest.mark.s3
def test_a_receipt_signed_again_does_not_replace_the_original(cold: Cold, signer: Signer, trusted: TrustedKeys) -> None:
    other = cold.receipt.model_copy(update={"frame_count": 1})
    cold.store.put(cold.name.receipt_key, signer.seal(other.payload(), "receipt").to_json())
    forged = find_receipts_strictly(cold, trusted)
    assert forged.payload() == other.payload(), "its signature is good"
    found = Archive(cold.store, trusted).original_receipt(cold.name)
    assert found is not None and found[0] == cold.receipt
    (line,) = [line for line in protection_problems(ArchivedPart(cold.store, forged)) if "has no retention" not in line]
    assert "lies over an older version" in line


@pytest.mark.s3
def test_a_hidden_archive_is_found(cold: Cold, trusted: TrustedKeys) -> None:
    cold.store.delete(cold.name.receipt_key)
    assert Archive(cold.store, trusted).receipts(cold.name.camera_id, cold.name.hour) == []
    for date in (None, cold.name.hour.date):
        assert [name for name, _ in hidden_archives(Archive(cold.store, trusted), date=date)] == [cold.name]
    assert list(hidden_archives(Archive(cold.store, trusted), date="2026-01-03")) == []
    found = Archive(cold.store, trusted).original_receipt(cold.name)
    assert found is not None and found[0] == cold.receipt
    (line,) = protection_problems(ArchivedPart(cold.store, cold.receipt))
    assert f"{cold.name.receipt_key} was deleted" in line and "is still readable" in line


@pytest.mark.s3
def test_what_is_less_than_promised_is_reported(cold: Cold, archive: Archive, signer: Signer) -> None:
    assert cold.receipt.retention_until is not None
    until = cold.receipt.retention_until + timedelta(days=1)
    longer = cold.receipt.model_copy(update={"retention_until": until})
    stricter = cold.receipt.model_copy(update={"retention_mode": "compliance"})
    for changed in (longer, stricter):
        data = signer.seal(changed.payload(), "receipt").to_json()
        promised = parse_receipt(data, cold.name, TrustedKeys.of(signer))
        cold.store.put(cold.name.receipt_key, data)
        problems = [
            line for line in protection_problems(ArchivedPart(cold.store, promised)) if "older version" not in line
        ]
        # Archive and index are under less; the receipt just written is under nothing.
        assert ["is under governance retention" in line for line in problems] == [True, True, False]
        assert "has no retention" in problems[2]
    (line,) = protection_problems(archive.part(cold.receipt))
    assert "keeps no versions" in line
    assert (
        protection_problems(archive.part(cold.receipt.model_copy(update={"version_id": None, "retention_until": None})))
        == []
    )


@pytest.mark.s3
def test_a_missing_original_is_reported(
    make_bucket: Callable[..., Any], fill_hour: FillHour, signer: Signer, trusted: TrustedKeys
) -> None:
    bucket = make_bucket(versioned=True)
    store = open_store(bucket.url)
    receipt = archive_hour(fill_hour(), Archive(store, TrustedKeys.of(signer)), signer, BARE).receipt
    assert receipt is not None and receipt.version_id is not None
    name = ArchiveName.parse(receipt.archive_key)
    assert protection_problems(ArchivedPart(store, receipt)) == []
    for key in (name.archive_key, name.index_key):
        store.put(key, b"junk")
    versions = bucket.client.list_object_versions(Bucket=bucket.name)["Versions"]
    for version in [v for v in versions if not v["IsLatest"]]:
        bucket.client.delete_object(Bucket=bucket.name, Key=version["Key"], VersionId=version["VersionId"])
    problems = protection_problems(ArchivedPart(store, receipt))
    assert any(f"{name.archive_key}: the original is not in the store any more; 1 other" in line for line in problems)
    assert ArchivedPart(store, receipt).original_index() is None
    promising = receipt.model_copy(update={"retention_until": receipt.verified_at, "retention_mode": "compliance"})
    assert any("no object lock" in line for line in protection_problems(ArchivedPart(store, promising)))
    fails_in_one_line(IntegrityError, "receipt was written for", lambda: hold(Archive(store, trusted), name, True))


@pytest.mark.s3
def test_hold_and_release_by_command(
    s3_locked_bucket: Any, fill_hour: FillHour, signer: Signer, tmp_path: Path
) -> None:
    """A hold covers every part of the hour, in the versions that were archived, whatever lies over them."""
    store = open_store(s3_locked_bucket.url)
    lock = store.object_lock
    assert lock is not None
    for first in (0, 20):
        archive_hour(fill_hour(seal=False, first=first), Archive(store, TrustedKeys.of(signer)), signer, BARE)
    hour = Hour.from_key("20260102_03")
    parts = [ArchiveName("cam1", hour), ArchiveName("cam1", hour, 2)]
    keys = [key for name in parts for key in (name.archive_key, name.index_key, name.receipt_key)]
    pinned = {key: lock.versions(key)[-1].version_id or "" for key in keys}
    store.put(parts[0].receipt_key, b"junk")
    store.delete(parts[1].receipt_key)

    env = os.environ | {"YOLO_ASSETS_HOME": str(tmp_path / "home")}
    key = tmp_path / "keys" / "archiver.pub"

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        where = ("--archive", s3_locked_bucket.url, "--key", str(key))
        whole = [sys.executable, "-m", "yolo_assets.cli.main", "archive", "hold", *arguments, *where]
        return subprocess.run(whole, env=env, capture_output=True, text=True, timeout=60, check=False)

    done = command(parts[0].stem, parts[1].archive_key, "--json")
    assert done.returncode == 0, done.stderr
    rows = orjson.loads(done.stdout)
    assert {row["key"]: row["version_id"] for row in rows} == pinned and len(rows) == 6
    assert all(row["on"] for row in rows)
    for held in keys:
        with pytest.raises(ClientError, match="AccessDenied"):
            s3_locked_bucket.client.delete_object(
                Bucket=s3_locked_bucket.name, Key=f"root/{held}", VersionId=pinned[held]
            )
    released = command(parts[0].stem, "--release")
    assert released.returncode == 0 and released.stdout.count("released  ") == 6
    assert not any(lock.get_legal_hold(held, pinned[held]) for held in keys)
    missing = ArchiveName("cam9", hour)
    fails_in_one_line(
        ObjectNotFoundError, missing.stem, lambda: hold(Archive(store, TrustedKeys.of(signer)), missing, True)
    )


def test_a_folder_cannot_hold(archive: Archive, fill_hour: FillHour, signer: Signer, trusted: TrustedKeys) -> None:
    receipt = archive_hour(fill_hour(), archive, signer, BARE).receipt
    assert receipt is not None and protection_problems(archive.part(receipt)) == []
    name = ArchiveName.parse(receipt.archive_key)
    fails_in_one_line(UserError, "object lock", lambda: hold(archive, name, True))
    assert list(hidden_archives(archive)) == []
    assert archive.original_receipt(name) is None
