"""On a real store with the shipped policy: the archiver deletes nothing, and does all its work all the same."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.audit.verification import verify_archive
from yolo_assets.archive.options import ArchiveOptions
from yolo_assets.archive.retention import protection_problems
from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.storage import StoreUnavailableError, open_store
from yolo_assets.storage.admin.bucket_setup import BucketSetup, SetupRequest
from yolo_assets.storage.admin.doctor import examine
from yolo_assets.storage.admin.policy import BucketPlace
from yolo_assets.storage.faults import FaultyStore, fail
from yolo_assets.storage.s3_client import make_client
from yolo_assets_tests.support.one_round import run_archiver

pytestmark = pytest.mark.s3
HOUR = Hour.from_key("20260102_03")
NAME = ArchiveName("cam1", HOUR)
ARCHIVER = "arn:aws:iam:::user/archiver"
OPTIONS = ArchiveOptions(part_size=5 << 20, whole=0, retention_days=2, retention_mode="governance")


@pytest.fixture
def bucket(s3_locked_bucket: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A locked bucket after ``storage init --apply``; the environment is the archiver's."""
    wanted = SetupRequest(retention_days=2, archiver=ARCHIVER)
    setup = BucketSetup(make_client(), BucketPlace(s3_locked_bucket.name, "root"), wanted, s3_locked_bucket.url)
    setup.apply()
    for name, value in s3_locked_bucket.server.other_env.items():
        monkeypatch.setenv(name, value)
    return s3_locked_bucket


def test_it_archives_resumes_and_verifies_and_deletes_no_version(
    bucket: Any,
    fill_hour: Callable[..., SpoolHour],
    signer: Signer,
    trusted: TrustedKeys,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill_hour(frames=12, size=1 << 20)
    archive = Archive(open_store(bucket.url), trusted)
    cut = StoreUnavailableError("the line is cut", transient=False)
    faulty = Archive(FaultyStore(archive.store, fail("upload_part", nth=3, error=lambda _: cut)), trusted)
    (failed,) = run_archiver(tmp_path / "spool", faulty, signer, options=OPTIONS, grace_seconds=0)
    assert (failed.status, failed.reason) == ("failed", "the line is cut")
    (done,) = run_archiver(tmp_path / "spool", archive, signer, options=OPTIONS, grace_seconds=0)
    assert (done.status, done.reason) == ("archived", None)
    assert done.outcome is not None and done.outcome.resumed_parts >= 1
    report = verify_archive(archive, NAME, "full")
    assert (report.problems, report.unchecked, report.unprotected) == ([], None, None)
    (receipt,) = archive.receipts("cam1", HOUR)
    assert receipt.retention_until is not None

    # As the archiver: nothing can be deleted, hidden or shortened.
    client = bucket.server.client(dict(os.environ))
    for key in (NAME.archive_key, NAME.index_key, NAME.receipt_key):
        where = {"Bucket": bucket.name, "Key": f"root/{key}"}
        version = client.head_object(**where)["VersionId"]
        for attempt in (
            lambda where=where: client.delete_object(**where),
            lambda where=where, version=version: client.delete_object(**where, VersionId=version),
            lambda where=where, version=version: client.delete_object(
                **where, VersionId=version, BypassGovernanceRetention=True
            ),
        ):
            with pytest.raises(ClientError, match="AccessDenied"):
                attempt()
        shorter = {"Mode": "GOVERNANCE", "RetainUntilDate": receipt.retention_until - timedelta(days=1)}
        with pytest.raises(ClientError, match="AccessDenied"):
            client.put_object_retention(**where, VersionId=version, Retention=shorter)
    with pytest.raises(UserError, match="may not do DeleteObject"):
        archive.store.delete(NAME.receipt_key)
    with pytest.raises(ClientError, match="AccessDenied"):
        client.delete_bucket_policy(Bucket=bucket.name)
    with pytest.raises(ClientError, match="AccessDenied"):
        client.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration={"Status": "Suspended"})

    # An overwrite, by the archiver or by the administrator, leaves the original.
    original = archive.store.get(NAME.archive_key, version_id=receipt.version_id)
    archive.store.put(NAME.archive_key, b"by the archiver")
    bucket.client.put_object(Bucket=bucket.name, Key=f"root/{NAME.archive_key}", Body=b"by the administrator")
    assert archive.store.get(NAME.archive_key, version_id=receipt.version_id) == original
    assert len([one for one in protection_problems(archive.part(receipt)) if "was overwritten" in one]) == 2
    report = verify_archive(archive, NAME, "full")
    assert len([one for one in report.problems if "was overwritten" in one]) == 2


def test_the_doctor_finds_an_archiver_that_may_not_delete(bucket: Any) -> None:
    (root,) = examine(bucket.url, None, 2).roots
    facts = root.facts
    assert (facts.may_delete, facts.lock, facts.retention_proven, facts.held_against_delete) == (
        False,
        True,
        True,
        True,
    )
    assert examine(bucket.url, None, 2).unsafe == ()


def test_init_shows_a_plan_does_it_and_then_has_nothing_to_do(make_bucket: Callable[..., Any]) -> None:
    helper = make_bucket()
    name = f"{helper.name}-new"
    wanted = SetupRequest(183, ARCHIVER, {"infrequent": "STANDARD"}, create=True)

    def setup(**changes: Any) -> BucketSetup:
        given = {**wanted.__dict__, **changes}
        return BucketSetup(make_client(), BucketPlace(name, "root"), SetupRequest(**given), f"s3://{name}/root")

    with pytest.raises(UserError, match="does not exist; make it with --create"):
        setup(create=False).plan()
    plan = setup().plan()
    assert {step.change for step in plan.steps} == {"+"}
    assert name not in [bucket["Name"] for bucket in helper.client.list_buckets()["Buckets"]]
    try:
        setup().apply()
        again = setup().plan()
        assert {step.change for step in again.steps} == {"="}, again.steps
        # What others set stays.
        rules = helper.client.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
        foreign = {"ID": "theirs", "Status": "Enabled", "Filter": {"Prefix": "tmp/"}, "Expiration": {"Days": 3}}
        helper.client.put_bucket_lifecycle_configuration(
            Bucket=name, LifecycleConfiguration={"Rules": [rules[0], foreign]}
        )
        changed = setup().apply()
        assert "not ours: stays as it is" in [step.detail for step in changed.steps]
        left = helper.client.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
        assert "theirs" in [rule["ID"] for rule in left] and len(left) == len(rules) + 1
    finally:
        helper.client.delete_bucket(Bucket=name)


def test_a_bucket_without_lock_cannot_get_it(make_bucket: Callable[..., Any]) -> None:
    bucket = make_bucket()
    setup = BucketSetup(make_client(), BucketPlace(bucket.name, "root"), SetupRequest(183), bucket.url)
    (impossible,) = [step for step in setup.plan().steps if step.change == "!"]
    assert impossible.what == "object lock" and "make another" in impossible.detail
