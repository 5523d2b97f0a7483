"""Tiers become rules that the store takes; policies and shipped files come from one source."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.storage.admin.lifecycle import MARGIN_DAYS, Lifecycle, Tiers, compile_lifecycle, problems
from yolo_assets.storage.admin.policy import (
    ARCHIVER,
    AUDITOR,
    FORBIDDEN,
    BucketPlace,
    bucket_policy,
    role_policy,
)
from yolo_assets.storage.admin.policy_files import policy_files
from yolo_assets.storage.admin.profiles import AWS, CEPH, FOLDER, MINIO, OSS, PROFILES

ROOT = Path(__file__).parents[2]
days = st.integers(1, 4000)


def transitions(found: Lifecycle) -> list[tuple[int, str]]:
    return [(entry["Days"], entry["StorageClass"]) for rule in found.rules for entry in rule.get("Transitions", ())]


def test_the_tiers_of_a_plant_on_aws() -> None:
    found = compile_lifecycle(AWS, "cold", 183)
    assert transitions(found) == [(30, "STANDARD_IA"), (91, "GLACIER_IR")]
    assert {rule["Expiration"]["Days"] for rule in found.rules if "Days" in rule.get("Expiration", {})} == {190}
    assert any("begins on day 30 instead of 8" in sentence for sentence in found.changes)
    assert any("billed for at least 90 days, read at once" in sentence for sentence in found.changes)
    moved = {rule["ID"]: json.dumps(rule["Filter"]) for rule in found.rules if "Transitions" in rule}
    assert list(moved.values()) == ['{"And": {"Prefix": "cold/archives/", "ObjectSizeGreaterThan": 131072}}']


def test_without_retention_nothing_expires() -> None:
    found = compile_lifecycle(AWS, "", 0)
    assert not any("Expiration" in rule for rule in found.rules)
    assert any("nothing expires" in sentence for sentence in found.changes)
    assert any("AbortIncompleteMultipartUpload" in rule for rule in found.rules)


def test_a_short_retention_leaves_out_tiers_that_would_cost_more() -> None:
    found = compile_lifecycle(AWS, "", 60)
    assert transitions(found) == [(30, "STANDARD_IA")]
    assert any("no tier 'cold'" in sentence and "billed for 90 days" in sentence for sentence in found.changes)


def test_stores_with_classes_of_their_own_need_their_names() -> None:
    for profile in (CEPH, MINIO):
        assert transitions(compile_lifecycle(profile, "", 183)) == []
        named = compile_lifecycle(profile, "", 183, classes={"infrequent": "WARM", "cold": "TAPE"})
        assert transitions(named) == [(8, "WARM"), (91, "TAPE")]
    for profile in (OSS, FOLDER):
        found = compile_lifecycle(profile, "", 183)
        assert found.rules == () and len(found.changes) == 1


@given(
    profile=st.sampled_from(list(PROFILES.values())),
    tiers=st.builds(Tiers, infrequent_from=days, cold_from=days, abort_after=st.integers(1, 60)),
    retention=st.integers(0, 4000),
    prefix=st.sampled_from(["", "root", "plants/north"]),
    classes=st.dictionaries(
        st.sampled_from(["infrequent", "cold"]),
        st.sampled_from(["STANDARD_IA", "ONEZONE_IA", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE", "OWN"]),
    ),
)
def test_whatever_the_tiers_the_rules_are_valid(
    profile, tiers: Tiers, retention: int, prefix: str, classes: dict[str, str]
) -> None:
    found = compile_lifecycle(profile, prefix, retention, tiers=tiers, classes=classes)
    assert list(problems(found.rules, profile)) == []
    for rule in found.rules:
        text = json.dumps(rule)
        assert rule["Status"] == "Enabled"
        if "Transitions" in rule:
            assert "archives/" in text, "indexes and receipts stay where they can be read at once"
        if "Days" in rule.get("Expiration", {}):
            assert rule["Expiration"]["Days"] == retention + MARGIN_DAYS > retention > 0
    expiring = {
        rule["Filter"]["Prefix"].rsplit("/", 2)[-2] for rule in found.rules if "Days" in rule.get("Expiration", {})
    }
    assert expiring in (set(), {"archives", "index", "receipts"}), "what belongs together goes together"


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"Transitions": [{"Days": 8, "StorageClass": "STANDARD_IA"}]}, "day 30 at the earliest"),
        (
            {"Transitions": [{"Days": 30, "StorageClass": "STANDARD_IA"}, {"Days": 50, "StorageClass": "GLACIER_IR"}]},
            "stays in STANDARD_IA for 30 days",
        ),
        (
            {"Transitions": [{"Days": 90, "StorageClass": "A"}, {"Days": 90, "StorageClass": "B"}]},
            "order of their days",
        ),
        (
            {"Transitions": [{"Days": 90, "StorageClass": "A"}], "Expiration": {"Days": 90}},
            "before the last transition",
        ),
        (
            {"Transitions": [{"Days": 40, "StorageClass": "GLACIER"}, {"Days": 99, "StorageClass": "STANDARD_IA"}]},
            "nothing moves from GLACIER to STANDARD_IA",
        ),
        ({"Expiration": {"Days": 9, "ExpiredObjectDeleteMarker": True}}, "a rule each"),
        ({"Filter": {"And": {"Prefix": "a"}}, "AbortIncompleteMultipartUpload": {}}, "by size"),
        ({"Expiration": {"Days": 0}}, "before the upload"),
    ],
)
def test_rules_that_aws_refuses_are_recognised(rule: dict, words: str) -> None:
    whole = {"ID": "one", "Status": "Enabled", "Filter": {"Prefix": "a"}, **rule}
    assert any(words in found for found in problems([whole], AWS))


def test_the_archiver_may_not_delete_and_the_bucket_refuses_too() -> None:
    for role in (ARCHIVER, AUDITOR):
        for actions in role.values():
            assert not [
                action for action in actions if "Delete" in action or "Bypass" in action or action.endswith("*")
            ]
    policy = role_policy("archiver", BucketPlace("b", "p"), kms_key="arn:aws:kms:::key/1")
    assert all(statement["Effect"] == "Allow" for statement in policy["Statement"])
    for profile in (AWS, CEPH, MINIO):
        statements = bucket_policy(profile, BucketPlace("b", "p"), "arn:aws:iam:::user/x")["Statement"]
        denied = {action for one in statements if one["Effect"] == "Deny" for action in one["Action"]}
        assert denied >= {*FORBIDDEN["bucket"], *FORBIDDEN["objects"]}
        assert ("Condition" in json.dumps(statements)) == (profile is not CEPH)


def test_the_shipped_files_are_what_the_sources_say() -> None:
    shipped = ROOT / "deploy" / "storage"
    there = {str(path.relative_to(shipped)): path.read_text() for path in shipped.rglob("*") if path.is_file()}
    assert there == policy_files(), "run: yolo-assets storage policy --out deploy/storage"
