"""Setting a bucket up: all of it or nothing, and nothing that deletes before a retention was proven there."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from yolo_assets.contracts.errors import UserError
from yolo_assets.storage.admin import bucket_setup
from yolo_assets.storage.admin.bucket_setup import BucketSetup, SetupRequest
from yolo_assets.storage.admin.lifecycle import MARGIN_DAYS, compile_lifecycle
from yolo_assets.storage.admin.policy import BucketPlace
from yolo_assets.storage.admin.profiles import GENERIC, MINIO
from yolo_assets_tests.conftest import S3Server

FOREIGN = {"ID": "theirs", "Status": "Enabled", "Filter": {"Prefix": "tmp/"}, "Expiration": {"Days": 3}}
STATEMENT = {
    "Sid": "Theirs",
    "Effect": "Deny",
    "Principal": "*",
    "Action": "s3:DeleteBucket",
    "Resource": "arn:aws:s3:::*",
}
ARCHIVER = "arn:aws:iam:::user/archiver"


@pytest.fixture
def client(ministack: S3Server, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in ministack.env.items():
        monkeypatch.setenv(name, value)
    # A kind of store that takes everything there is to set, encryption among it.
    monkeypatch.setattr(bucket_setup, "profile_of", lambda *_: MINIO)
    return ministack.client()


def setup_of(client: Any, name: str, request: SetupRequest) -> BucketSetup:
    return BucketSetup(client, BucketPlace(name, "root"), request, f"s3://{name}/root")


def new_name() -> str:
    return f"plant-{uuid.uuid4().hex[:12]}"


def rules_of(client: Any, name: str) -> list[dict[str, Any]]:
    try:
        return client.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
    except ClientError:
        return []


def snapshot(client: Any, name: str) -> Any:
    """All that can be set of a bucket; None when there is none."""

    def ask(call: Any, key: str) -> Any:
        try:
            return call(Bucket=name).get(key)
        except ClientError:
            return None

    try:
        client.head_bucket(Bucket=name)
    except ClientError:
        return None
    policy = ask(client.get_bucket_policy, "Policy")
    return {
        "versions": ask(client.get_bucket_versioning, "Status"),
        "lock": ask(client.get_object_lock_configuration, "ObjectLockConfiguration"),
        "encryption": ask(client.get_bucket_encryption, "ServerSideEncryptionConfiguration"),
        "rules": rules_of(client, name),
        "policy": None if policy is None else json.loads(policy),
    }


@contextmanager
def failing(client: Any, nth: int, effect: str, *, for_good: bool = False) -> Iterator[list[str]]:
    """The nth request gets no answer, before it reaches the store or after it took effect; all later ones too if asked.

    Yields:
        The names of the requests so far.
    """
    seen: list[str] = []

    def fault(model: Any, **_: Any) -> None:
        seen.append(model.name)
        if len(seen) == nth or (for_good and len(seen) > nth):
            raise ConnectionClosedError(endpoint_url="the store")

    event = "before-call.s3" if effect == "before" else "after-call.s3"
    client.meta.events.register(event, fault)
    try:
        yield seen
    finally:
        client.meta.events.unregister(event, fault)


def missing(client: Any) -> str:
    return new_name()


def plain(client: Any) -> str:
    name = new_name()
    client.create_bucket(Bucket=name)
    return name


def occupied(client: Any) -> str:
    """With a lock, with rules and a policy of others, and an older set-up of ours."""
    name = new_name()
    client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    rules = [FOREIGN, *compile_lifecycle(GENERIC, "root", 30).rules]
    client.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": rules})
    policy = {"Version": "2012-10-17", "Statement": [STATEMENT]}
    client.put_bucket_policy(Bucket=name, Policy=json.dumps(policy))
    return name


def dangerous(client: Any) -> str:
    """Without lock, and with the expiry that a failed set-up once left behind."""
    name = plain(client)
    rules = [FOREIGN, *compile_lifecycle(GENERIC, "root", 183).rules]
    client.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": rules})
    return name


CASES = {
    "a new archive bucket": (missing, SetupRequest(183, ARCHIVER, create=True)),
    "a new one without lock": (missing, SetupRequest(0, ARCHIVER, create=True)),
    "an occupied archive bucket": (occupied, SetupRequest(183, ARCHIVER)),
    "dangerous rules are removed": (dangerous, SetupRequest(0)),
    "a new store bucket": (missing, SetupRequest(create=True, role="store")),
    "a plain store bucket": (plain, SetupRequest(role="store")),
}


def requests_of(client: Any, case: str) -> list[str]:
    """What a set-up without faults asks, in order; afterwards there is nothing left to do."""
    make, request = CASES[case]
    name = make(client)
    with failing(client, 0, "before") as seen:
        setup_of(client, name, request).apply()
    assert {step.change for step in setup_of(client, name, request).plan().steps} == {"="}
    return seen


def is_read(request: str) -> bool:
    return request.startswith(("Get", "Head", "List"))


@pytest.mark.parametrize("effect", ["before", "after"])
@pytest.mark.parametrize("case", CASES)
def test_a_set_up_that_fails_anywhere_changes_nothing(client: Any, case: str, effect: str) -> None:
    make, request = CASES[case]
    for nth, fails in enumerate(requests_of(client, case), 1):
        if effect == "after" and is_read(fails):
            continue  # as before
        name = make(client)
        before = snapshot(client, name)
        with failing(client, nth, effect) as seen:
            try:
                setup_of(client, name, request).apply()
            except UserError as error:
                failed = str(error)
            else:  # only what tidies up behind a proof may go wrong
                assert fails in ("DeleteObject", "GetObjectRetention"), (fails, nth)
                continue
        after = snapshot(client, name)
        if before is not None and after != before:  # no store forgets versions: they are suspended again
            assert before.pop("versions") is None and after.pop("versions") == "Suspended", seen
        assert after == before, (seen, failed)
        assert "\n" not in failed and failed.endswith(("; nothing was changed", "; everything is as it was before"))


@pytest.mark.parametrize("case", CASES)
def test_a_store_that_stays_away_leaves_no_expiry_without_proof(client: Any, case: str) -> None:
    make, request = CASES[case]
    for nth, fails in enumerate(requests_of(client, case), 1):
        if is_read(fails):
            continue
        name = make(client)
        before = snapshot(client, name)
        with failing(client, nth, "before", for_good=True) as seen, pytest.raises(UserError) as failed:
            setup_of(client, name, request).apply()
        after = snapshot(client, name)
        assert after == before or "not as before" in str(failed.value)
        old = [] if before is None else before["rules"]
        for rule in [] if after is None else after["rules"]:
            if rule not in old and "Days" in rule.get("Expiration", {}):
                assert after is not None and after["lock"] is not None
                assert seen.index("PutObjectRetention") < seen.index("PutBucketLifecycleConfiguration")


def test_no_expiry_comes_to_a_bucket_that_cannot_be_locked(client: Any) -> None:
    name = plain(client)
    setup_of(client, name, SetupRequest()).apply()
    before = snapshot(client, name)
    wanted = setup_of(client, name, SetupRequest(183))
    (impossible,) = wanted.plan().impossible
    assert impossible.what == "object lock"
    with failing(client, 0, "before") as seen, pytest.raises(UserError, match="nothing was changed"):
        wanted.apply()
    assert not [request for request in seen if request.startswith(("Put", "Create", "Delete"))]
    assert snapshot(client, name) == before


def test_dangerous_rules_are_removed_and_other_peoples_stay(client: Any) -> None:
    name = dangerous(client)
    steps = setup_of(client, name, SetupRequest()).apply().steps
    assert [step.detail for step in steps].count("is removed: it is no longer requested") == 4
    left = {rule["ID"] for rule in rules_of(client, name)}
    assert left == {"theirs", "yolo-assets-abandoned-uploads"}


def test_two_roots_in_one_bucket_keep_their_rules(client: Any) -> None:
    name = new_name()
    client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    north = BucketSetup(client, BucketPlace(name, "north"), SetupRequest(30), f"s3://{name}/north")
    south = BucketSetup(client, BucketPlace(name, "south"), SetupRequest(60), f"s3://{name}/south")
    north.apply()
    south.apply()
    for setup in (north, south):
        assert {step.change for step in setup.plan().steps} == {"="}
    days = {rule["Filter"]["Prefix"]: rule.get("Expiration", {}).get("Days") for rule in rules_of(client, name)}
    assert (days["north/archives/"], days["south/archives/"]) == (30 + MARGIN_DAYS, 60 + MARGIN_DAYS)


@pytest.mark.parametrize("how", ["the bucket's default", "an object's own"])
def test_expiry_is_never_shorter_than_what_is_held_already(client: Any, how: str) -> None:
    name = new_name()
    client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    if how == "an object's own":
        until = datetime.now(UTC) + timedelta(days=400)
        more = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": until}
        client.put_object(Bucket=name, Key="root/receipts/date=2026-01-01/hour=00/x.receipt.json", Body=b"x", **more)
        longest = 400
    else:
        rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 365}}
        configuration = {"ObjectLockEnabled": "Enabled", "Rule": rule}
        client.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration=configuration)
        longest = 365
    plan = setup_of(client, name, SetupRequest(30)).apply()
    assert any(f"held for {longest} days" in sentence for sentence in plan.notes)
    days = {rule.get("Expiration", {}).get("Days") for rule in rules_of(client, name)} - {None}
    assert days == {longest + MARGIN_DAYS}


def test_an_expiry_of_others_within_the_retention_is_said(client: Any) -> None:
    name = new_name()
    client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    whole = {**FOREIGN, "Filter": {"Prefix": ""}}
    client.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": [whole]})
    plan = setup_of(client, name, SetupRequest(30)).apply()
    assert any("the rule theirs, which is not ours" in sentence for sentence in plan.notes)
    assert "theirs" in {rule["ID"] for rule in rules_of(client, name)}


def test_a_store_root_wants_a_plain_bucket_that_deletes_nothing(client: Any) -> None:
    wanted = SetupRequest(role="store")
    name = plain(client)
    client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    (wrong,) = setup_of(client, name, wanted).plan().impossible
    assert wrong.what == "versioning" and "bucket of its own" in wrong.detail
    name = new_name()
    client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    assert {step.what for step in setup_of(client, name, wanted).plan().impossible} == {"versioning", "object lock"}
    name = plain(client)
    whole = {**FOREIGN, "Filter": {"Prefix": ""}}
    client.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": [whole]})
    (wrong,) = setup_of(client, name, wanted).plan().impossible
    assert wrong.what == "lifecycle theirs" and "deletes what lies there on day 3" in wrong.detail
    name = plain(client)
    setup_of(client, name, wanted).apply()
    assert [rule["ID"] for rule in rules_of(client, name)] == ["yolo-assets-abandoned-uploads"]
    assert not client.list_objects_v2(Bucket=name).get("Contents")
