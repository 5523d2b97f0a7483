"""Retention, legal hold and versions: on Ceph, which enforces them, and on ministack, which reports the same
differently."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.storage import ObjectNotFoundError, StoreUnavailableError, open_store
from yolo_assets.storage.base import NoObjectLockError, ObjectLock, ObjectStore, Retention
from yolo_assets.storage.s3 import S3Store
from yolo_assets.storage.s3_client import make_client

retentions = st.builds(
    Retention,
    st.datetimes(datetime(2026, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
    st.sampled_from(["compliance", "governance"]),
)


def in_seconds(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


@pytest.fixture(params=[pytest.param("ceph", marks=pytest.mark.s3), "ministack"])
def bucket(request: pytest.FixtureRequest) -> Any:
    if request.param == "ceph":
        return request.getfixturevalue("s3_locked_bucket")
    return request.getfixturevalue("checked_bucket")


def locked(bucket: Any) -> tuple[ObjectStore, ObjectLock]:
    store = open_store(bucket.url)
    lock = store.object_lock
    assert lock is not None
    return store, lock


@given(a=retentions, b=retentions)
def test_joined_retentions_cover_both_and_no_more(a: Retention, b: Retention) -> None:
    both = a.joined(b)
    assert both.covers(a) and both.covers(b) and both == b.joined(a)
    assert both.until in (a.until, b.until) and both.mode in (a.mode, b.mode)
    assert a.covers(b) is (a.joined(b) == a)


def test_a_folder_has_no_lock(tmp_path: Path) -> None:
    assert open_store((tmp_path / "store").as_uri()).object_lock is None


def test_a_retention_without_a_zone_is_refused() -> None:
    with pytest.raises(BadInputError, match="zone"):
        Retention(datetime(2026, 1, 1), "compliance")


def test_a_retention_is_kept_at_least_as_long_as_asked(bucket: Any) -> None:
    store, lock = locked(bucket)
    version = store.put("k", b"1").version_id
    assert lock.get_retention("k", version) is None and lock.get_retention("k", None) is None
    asked = Retention(in_seconds(100), "governance")
    lock.set_retention("k", version, asked)
    found = lock.get_retention("k", version)
    assert found is not None and found.covers(asked) and found.mode == "governance"
    assert found.until - asked.until < timedelta(seconds=1)
    with pytest.raises(StoreUnavailableError) as caught:
        lock.set_retention("k", version, Retention(in_seconds(50), "governance"))
    assert not caught.value.transient
    longer = Retention(in_seconds(200), "governance")
    lock.set_retention("k", version, longer)
    found = lock.get_retention("k", version)
    assert found is not None and found.covers(longer)


def test_a_hold_keeps_a_version_from_being_deleted(bucket: Any) -> None:
    store, lock = locked(bucket)
    version = store.put("k", b"1").version_id
    at = {"Bucket": bucket.name, "Key": "root/k", "VersionId": version}
    assert lock.get_legal_hold("k", version) is False
    lock.set_legal_hold("k", version, True)
    assert lock.get_legal_hold("k", version) is True and lock.get_legal_hold("k", None) is True
    with pytest.raises(ClientError, match="AccessDenied"):
        bucket.client.delete_object(**at)
    lock.set_legal_hold("k", version, False)
    assert lock.get_legal_hold("k", version) is False
    bucket.client.delete_object(**at)
    assert store.head("k") is None


def test_what_is_not_there_cannot_be_locked(bucket: Any) -> None:
    store, lock = locked(bucket)
    store.put("there", b"1")
    retention = Retention(in_seconds(100), "governance")
    for action in (
        lambda: lock.get_retention("nothing", None),
        lambda: lock.set_retention("nothing", None, retention),
        lambda: lock.get_legal_hold("nothing", None),
        lambda: lock.set_legal_hold("nothing", None, True),
        lambda: lock.get_retention("there", "no-such-version"),
    ):
        with pytest.raises(ObjectNotFoundError):
            action()
    assert lock.versions("nothing") == []


@pytest.mark.parametrize("where", [pytest.param("ceph", marks=pytest.mark.s3), "ministack"])
def test_a_bucket_without_lock_is_reported(where: str, request: pytest.FixtureRequest) -> None:
    if where == "ceph":
        url = request.getfixturevalue("make_bucket")(versioned=True).url
    else:
        checked = request.getfixturevalue("checked_bucket")
        checked.client.create_bucket(Bucket=f"{checked.name}-plain")
        url = f"s3://{checked.name}-plain/root"
    store = open_store(url)
    store.put("k", b"1")
    lock = store.object_lock
    assert lock is not None
    retention = Retention(in_seconds(100), "governance")
    for action in (
        lambda: lock.get_retention("k", None),
        lambda: lock.set_retention("k", None, retention),
        lambda: lock.get_legal_hold("k", None),
        lambda: lock.set_legal_hold("k", None, True),
    ):
        with pytest.raises(NoObjectLockError, match="no object lock"):
            action()


def test_versions_are_listed_newest_first_with_their_markers(bucket: Any) -> None:
    store, lock = locked(bucket)
    for data in (b"1", b"22"):
        store.put("k", data)
    store.put("k longer", b"another")
    store.delete("k")
    store.put("k", b"333")
    found = lock.versions("k")
    assert [(info.key, info.size, info.deleted) for info in found] == [
        ("k", 3, False), ("k", 0, True), ("k", 2, False), ("k", 1, False),
    ]  # fmt: skip
    assert [store.get("k", version_id=info.version_id) for info in found if not info.deleted] == [b"333", b"22", b"1"]
    assert all(later.modified_at >= earlier.modified_at for later, earlier in itertools.pairwise(found))
    assert list(lock.hidden("")) == []
    store.delete("k longer")
    assert [(info.key, info.deleted) for info in lock.hidden("k")] == [("k longer", True)]
    assert list(lock.hidden("other")) == []


def test_versions_of_a_bucket_that_keeps_none(checked_bucket: Any) -> None:
    name = f"{checked_bucket.name}-plain"
    checked_bucket.client.create_bucket(Bucket=name)
    store = open_store(f"s3://{name}/root")
    lock = store.object_lock
    store.put("k", b"1")
    assert lock is not None
    (only,) = lock.versions("k")
    assert only.version_id == "null" and store.get("k", version_id=only.version_id) == b"1"


def test_a_lock_request_carries_content_md5_and_nothing_else_outside_aws(
    checked_bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_REQUEST_CHECKSUM_CALCULATION")
    client = make_client()
    store = S3Store(checked_bucket.name, "root", client, checked_bucket.url)
    store.put("k", b"1")
    asked: list[set[str]] = []

    def note(request: Any, **_: Any) -> None:
        asked.append({name.lower() for name in request.headers})

    client.meta.events.register("before-send.s3.PutObjectLegalHold", note)
    client.meta.events.register("before-send.s3.PutObjectRetention", note)
    store.object_lock.set_legal_hold("k", None, True)
    store.object_lock.set_retention("k", None, Retention(in_seconds(100), "governance"))
    assert len(asked) == 2
    for names in asked:
        assert "content-md5" in names
        assert not [name for name in names if name.startswith(("x-amz-checksum", "x-amz-sdk-checksum"))]


@pytest.mark.s3
def test_hidden_keys_are_looked_for_on_every_page(
    make_bucket: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = make_bucket(versioned=True)
    client = make_client()
    paginator = client.get_paginator
    store = S3Store(bucket.name, "root", client, bucket.url)

    def small_pages(name: str) -> Any:
        made = paginator(name)
        paginate = made.paginate
        made.paginate = lambda **request: paginate(**request, MaxKeys=2)
        return made

    monkeypatch.setattr(client, "get_paginator", small_pages)
    for number in range(5):
        store.put(f"k{number}", b"1")
        store.put(f"k{number}", b"2")
    store.delete("k1")
    store.delete("k4")
    assert [info.key for info in store.object_lock.hidden("k")] == ["k1", "k4"]
    assert [info.deleted for info in store.object_lock.versions("k1")] == [True, False, False]
