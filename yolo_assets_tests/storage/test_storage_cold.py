"""Cold tiers: ministack has GLACIER and DEEP_ARCHIVE; hours last two seconds there, and it restores the newest version.

Tiers within INTELLIGENT_TIERING no test server knows: those answers are put in by botocore's Stubber.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from botocore.stub import Stubber

from yolo_assets.contracts.errors import BadInputError, UsageError
from yolo_assets.storage import ObjectNotFoundError, StoreUnavailableError, open_store
from yolo_assets.storage.base import ColdObjectError
from yolo_assets.storage.cold import RestoreState, Retrieval, check_retrieval, come_back
from yolo_assets.storage.s3 import S3Store
from yolo_assets.storage.s3_client import make_client


def put_cold(bucket: Any, key: str, storage_class: str) -> str:
    answer = bucket.client.put_object(Bucket=bucket.name, Key=f"root/{key}", Body=b"abc", StorageClass=storage_class)
    return answer["VersionId"]


def test_from_cold_to_readable(checked_bucket: Any) -> None:
    store = open_store(checked_bucket.url)
    version = put_cold(checked_bucket, "k", "GLACIER")
    info = store.head("k")
    assert info is not None and (info.size, info.storage_class) == (3, "GLACIER")
    for read in (
        lambda: store.get("k"),
        lambda: store.get("k", version_id=version),
        lambda: store.get_range("k", 0, 1),
        lambda: store.stream("k"),
    ):
        with pytest.raises(ColdObjectError, match=r"GLACIER.*3 to 5 hours") as caught:
            read()
        assert caught.value.tier == "GLACIER" and not caught.value.transient and "\n" not in str(caught.value)
    assert store.restore_state("k", None) == RestoreState("cold", "GLACIER")

    asked = store.request_restore("k", None, days=2)
    assert asked == RestoreState("requested", "GLACIER") and not asked.readable
    assert store.restore_state("k", None) == asked
    # Asked again while it is under way, also when another asker came between our look and our request.
    assert store.request_restore("k", None, days=2) == asked
    version_only = store.request_restore("k", version, days=2)  # ministack's HEAD of a version does not tell
    assert version_only == asked

    deadline = time.monotonic() + 20
    while not (state := store.restore_state("k", None)).readable and time.monotonic() < deadline:
        time.sleep(0.2)
    assert state.status == "restored" and state.until is not None
    assert timedelta(days=1) < state.until - datetime.now(UTC) <= timedelta(days=3)
    assert store.get("k") == b"abc"
    longer = store.request_restore("k", None, days=9)
    assert longer.status == "restored" and longer.until is not None and longer.until > state.until


@pytest.mark.parametrize("storage_class", ["STANDARD", "STANDARD_IA", "GLACIER_IR"])
def test_tiers_with_instant_access_need_no_request(checked_bucket: Any, storage_class: str) -> None:
    store = open_store(checked_bucket.url)
    put_cold(checked_bucket, "k", storage_class)
    assert store.get("k") == b"abc"
    assert store.request_restore("k", None, days=1) == RestoreState("available", store.restore_state("k", None).tier)


def test_deep_archive_is_never_left_fast(checked_bucket: Any) -> None:
    store = open_store(checked_bucket.url)
    put_cold(checked_bucket, "k", "DEEP_ARCHIVE")
    with pytest.raises(BadInputError, match=r"use standard \(up to 12 hours\), bulk \(up to 48 hours\)"):
        store.request_restore("k", None, days=1, retrieval="expedited")
    assert store.restore_state("k", None).status == "cold"
    assert store.request_restore("k", None, days=1, retrieval="bulk").status == "requested"


def test_impossible_retrievals_are_refused(checked_bucket: Any) -> None:
    store = open_store(checked_bucket.url)
    with pytest.raises(ObjectNotFoundError):
        store.restore_state("nothing", None)
    with pytest.raises(ObjectNotFoundError):
        store.request_restore("nothing", None, days=1)
    with pytest.raises(UsageError, match="at least one day"):
        store.request_restore("nothing", None, days=0)
    with pytest.raises(UsageError, match="expedited, standard, bulk"):
        store.request_restore("nothing", None, days=1, retrieval="quick")  # pyright: ignore[reportArgumentType]


def test_a_folder_is_never_cold(tmp_path: Path) -> None:
    store = open_store((tmp_path / "store").as_uri())
    store.put("k", b"1")
    assert store.restore_state("k", None).readable
    assert store.request_restore("k", None, days=1) == RestoreState("available")


@pytest.mark.s3
def test_a_store_without_cold_tiers(s3_bucket: Any) -> None:
    store = open_store(s3_bucket.url)
    store.put("k", b"1")
    assert store.request_restore("k", None, days=1).readable


def test_within_intelligent_tiering_no_days_are_requested(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "DEFAULT_REGION": "eu-central-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    client = make_client()
    store = S3Store("bucket", "root", client, "s3://bucket/root")
    head = {"StorageClass": "INTELLIGENT_TIERING", "ArchiveStatus": "DEEP_ARCHIVE_ACCESS"}
    wanted = {"Bucket": "bucket", "Key": "root/k", "RestoreRequest": {"GlacierJobParameters": {"Tier": "Standard"}}}
    with Stubber(client) as stub:
        stub.add_response("head_object", head)
        stub.add_response("restore_object", {"ResponseMetadata": {"HTTPStatusCode": 202}}, wanted)
        assert store.request_restore("k", None, days=5) == RestoreState("requested", "DEEP_ARCHIVE_ACCESS")
        stub.add_client_error("get_object", "InvalidObjectState", modeled_fields={"AccessTier": "ARCHIVE_ACCESS"})
        with pytest.raises(ColdObjectError, match="ARCHIVE_ACCESS"):
            store.get("k")
        # Expedited retrieval is sold out now and then: that passes.
        stub.add_response("head_object", {"StorageClass": "GLACIER"})
        stub.add_client_error("restore_object", "GlacierExpeditedRetrievalNotAvailable", http_status_code=503)
        with pytest.raises(StoreUnavailableError) as caught:
            store.request_restore("k", None, days=5, retrieval="expedited")
        assert caught.value.transient


def test_every_state_is_described_with_what_to_expect() -> None:
    until = datetime(2026, 11, 21, tzinfo=UTC)
    assert str(RestoreState("restored", "GLACIER", until)) == "can be read until 2026-11-21T00:00:00.000Z"
    assert "expedited 1 to 5 minutes, standard 3 to 5 hours" in str(RestoreState("cold", "GLACIER"))
    assert "come back then" in str(RestoreState("requested", "DEEP_ARCHIVE"))
    assert str(RestoreState("available", "STANDARD")) == "can be read"
    assert come_back("GLACIER", "bulk") == "in 5 to 12 hours"
    assert come_back("DEEP_ARCHIVE", "standard") == "within 12 hours"
    for retrieval in get_args(Retrieval):
        assert come_back("some other tier", retrieval) == "when the store has fetched it"
        check_retrieval("k", "some other tier", retrieval)
