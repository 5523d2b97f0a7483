"""The doctor on real stores: what it finds is what they do, and what is unsafe together is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.storage.admin.doctor import examine
from yolo_assets.storage.admin.findings import Examined, Facts, unsafe
from yolo_assets.storage.admin.profiles import profile_of
from yolo_assets_tests.conftest import S3Bucket


def verdicts(root: Examined) -> dict[str, str]:
    return {finding.question: finding.verdict for finding in root.findings}


@pytest.mark.s3
def test_a_locked_archive_root_and_a_plain_store_root_on_ceph_are_safe(make_bucket: Callable[..., Any]) -> None:
    archive, store = make_bucket(locked=True), make_bucket()
    found = examine(archive.url, store.url, 180)
    assert found.unsafe == ()
    first, second = found.roots
    seen = verdicts(first)
    for question in (
        "put, head, get, list",
        "resumable multipart upload",
        "wrong Content-MD5",
        "other bytes than signed",
        "versioning",
        "overwrite",
        "object lock",
        "retention",
        "deleting a version under retention",
    ):
        assert seen[question] == "ok", (question, first.findings)
    # Ceph 16.2 ignores these two: said, not hidden. The administrator may delete: that is worth a warning.
    assert (seen["put-if-absent on a taken key"], seen["wrong x-amz-checksum-crc32"]) == ("note", "note")
    assert (seen["deletion"], first.facts.may_delete) == ("warn", True)
    assert len(first.left) == 1 and first.left[0].endswith("/held")
    seen = verdicts(second)
    assert (seen["compare-and-swap"], seen["put-if-absent on a taken key"]) == ("ok", "ok")
    assert second.left == []
    objects = store.client.list_objects_v2(Bucket=store.name).get("Contents", [])
    assert objects == [], "it leaves nothing behind where it may delete"
    assert not store.client.list_multipart_uploads(Bucket=archive.name).get("Uploads")


@pytest.mark.s3
def test_one_locked_bucket_for_both_roots_is_refused(make_bucket: Callable[..., Any]) -> None:
    bucket = make_bucket(locked=True)
    found = examine(bucket.url, f"{bucket.url}-store", 0)
    said = " / ".join(f"{one.question}, but {one.answer}" for one in found.unsafe)
    assert "the store root lies in the archive root's bucket, where it does not work" in said
    assert all("plain bucket" in one.advice for one in found.unsafe)


@pytest.mark.s3
def test_retention_without_object_lock_is_refused(make_bucket: Callable[..., Any]) -> None:
    bucket = make_bucket(versioned=True)
    assert examine(bucket.url, None, 0).unsafe == ()
    (wrong,) = examine(bucket.url, None, 180).unsafe
    assert (wrong.question, wrong.answer) == (
        "retention of 180 days is requested",
        "the archive root has no object lock",
    )


@pytest.mark.s3
def test_a_bucket_that_cannot_be_reached_is_one_line(s3_bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (missing,) = examine("s3://no-such-bucket-here/x", None, 0).unsafe
    assert (missing.question, "does not exist" in missing.answer) == ("reach", True)
    assert missing.advice == (
        "yolo-assets storage init --archive s3://no-such-bucket-here/x --retention-days 183 --create --apply"
    )
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    (wrong,) = examine(s3_bucket.url, None, 0).unsafe
    assert (wrong.question, "secret key" in wrong.answer) == ("reach", True)
    assert wrong.advice == "check AWS_SECRET_ACCESS_KEY"


def test_a_checked_bucket_refuses_wrong_checksums(checked_bucket: Any) -> None:
    (root,) = examine(checked_bucket.url, None, 1).roots
    seen = verdicts(root)
    assert (seen["wrong x-amz-checksum-crc32"], seen["wrong Content-MD5"]) == ("ok", "ok")


def test_a_folder_is_examined_and_unchanged(tmp_path: Path) -> None:
    found = examine((tmp_path / "archive").as_uri(), (tmp_path / "store").as_uri(), 0)
    assert found.unsafe == ()
    for root in found.roots:
        assert root.profile == "folder"
        assert {"ok", "note", "warn"} >= set(verdicts(root).values())
        assert verdicts(root)["put-if-absent on a taken key"] == "ok"
        assert root.left == []
    assert not (tmp_path / "archive" / ".doctor").exists()
    (wrong,) = examine((tmp_path / "archive").as_uri(), None, 180).unsafe
    assert "no object lock" in wrong.answer


facts = st.builds(
    Facts,
    *(st.sampled_from([None, True, False]) for _ in range(9)),
    bucket=st.sampled_from([None, "one", "two"]),
)


@given(archive=facts, store=st.one_of(st.none(), facts), days=st.sampled_from([0, 180]))
def test_unsafe_combinations(archive: Facts, store: Facts | None, days: int) -> None:
    said = {(one.question, one.answer) for one in unsafe(archive, store, days)}
    text = " ".join(word for pair in said for word in pair)
    asked = "retention of 180 days is requested"
    assert ((asked, "the archive root has no object lock") in said) == (days > 0 and archive.lock is False)
    assert ("was deleted all the same" in text) == (archive.lock is True and archive.held_against_delete is False)
    assert ("no versions to find it in" in text) == (archive.conditional_put is False and archive.versions is False)
    assert ("compare-and-swap" in text) == (store is not None and store.swap is False)
    everything_works = Facts(True, True, True, True, True, True, True, False, True)
    plain = Facts(True, True, True, False, False, None, None, True, True)
    assert list(unsafe(everything_works, plain, days)) == []


@pytest.mark.parametrize(
    ("endpoint", "headers", "name"),
    [
        (None, {}, "aws"),
        ("https://s3.eu-central-1.amazonaws.com", {"server": "AmazonS3"}, "aws"),
        ("https://oss-cn-hangzhou.aliyuncs.com", {"server": "AliyunOSS"}, "oss"),
        ("https://s3.plant.example", {"server": "MinIO", "x-amz-request-id": "179A61F0AEBD3B3C"}, "minio"),
        ("http://10.0.0.5:7480", {"server": "Ceph Object Gateway (pacific)"}, "ceph"),
        ("http://10.0.0.5:7480", {"x-amz-request-id": "tx00000000000000000001f-006740a0b1-1069-default"}, "ceph"),
        ("https://s3.plant.example", {"x-amz-request-id": "179A61F0AEBD3B3C"}, "generic"),
    ],
)
def test_profiles_are_recognised_by_address_and_answer(
    endpoint: str | None, headers: dict[str, str], name: str
) -> None:
    assert profile_of(endpoint, headers).name == name


def test_the_gateway_that_runs_here_is_recognised_as_ceph(s3_bucket: S3Bucket) -> None:
    headers = s3_bucket.client.head_bucket(Bucket=s3_bucket.name)["ResponseMetadata"]["HTTPHeaders"]
    assert profile_of(s3_bucket.client.meta.endpoint_url, headers).name == "ceph"
