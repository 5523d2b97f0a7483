"""An interrupted upload to Ceph continues: after a kill, on another host, and when it was aborted meanwhile.

What was sent is counted by the proxy between them, not reported by the archiver.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from yolo_assets.contracts.names import PLAN
from yolo_assets.spool.files import write_atomic
from yolo_assets_tests.support.archive_case import ArchiveCase
from yolo_assets_tests.support.archiver import PART, Archiver
from yolo_assets_tests.support.fault_plan import Fault, Rule, rules
from yolo_assets_tests.support.fault_proxy import FaultProxy

if TYPE_CHECKING:
    from yolo_assets_tests.conftest import S3Bucket

pytestmark = pytest.mark.s3


@pytest.fixture
def half(proxied: ArchiveCase, proxy: FaultProxy) -> ArchiveCase:
    """An hour of four parts; part 3 never arrived, and while part 4 was on its way the archiver was killed."""
    proxied.fill(16, 1 << 20)
    # Part 4 begins when part 1 has arrived: three are sent at once.
    lost = Rule("UploadPart", Fault("cut_request", 0.5), times=90, part=3)
    proxy.begin(rules([lost, Rule("UploadPart", Fault("kill", 0.9), part=4)]))
    # On a busy machine the tries for part 3 may be used up before part 4 begins; the next run goes on there.
    assert any(proxied.run().killed for _ in range(3))
    plan = proxied.plan()
    assert plan is not None and plan.upload_id is not None
    proxy.begin(None)
    return proxied


def parts_held(bucket: S3Bucket, case: ArchiveCase) -> set[int]:
    plan = case.plan()
    assert plan is not None
    listed = bucket.client.list_parts(Bucket=bucket.name, Key=f"root/{plan.archive_key}", UploadId=plan.upload_id)
    return {part["PartNumber"] for part in listed.get("Parts", ())}


def parts_sent(proxy: FaultProxy) -> list[int]:
    """Parts that were answered: what the killed archiver had begun to send may reach the proxy after the kill."""
    return sorted(one.request.part for one in proxy.passed if one.request.operation == "UploadPart" and one.status)


def test_only_missing_parts_travel_again(half: ArchiveCase, proxy: FaultProxy, s3_bucket: S3Bucket) -> None:
    held = parts_held(s3_bucket, half)
    half.finish("resumed")
    assert held in ({1}, {1, 2})
    # The second part may have arrived after the look: the server was at it when the archiver was killed.
    assert parts_sent(proxy) in (sorted({1, 2, 3, 4} - held), [3, 4])
    assert proxy.count("CreateMultipartUpload") == 0


def test_another_host_with_the_same_spool_continues(
    half: ArchiveCase, proxy: FaultProxy, s3_bucket: S3Bucket, tmp_path: Path
) -> None:
    """The disk is moved to another machine: other paths, another process; files and their times are the same."""
    held = parts_held(s3_bucket, half)
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(half.root, elsewhere)
    shutil.rmtree(half.root)
    with Archiver(tmp_path / "other-archiver") as other:
        moved = ArchiveCase(elsewhere, half.url, other, half.env)
        moved.must = half.must
        moved.finish("on another host")
    assert parts_sent(proxy) in (sorted({1, 2, 3, 4} - held), [3, 4])  # as above
    assert proxy.count("CreateMultipartUpload") == 0


def test_an_upload_that_was_aborted_starts_again(half: ArchiveCase, proxy: FaultProxy, s3_bucket: S3Bucket) -> None:
    """As a lifecycle rule does with an upload that is too old."""
    plan = half.plan()
    assert plan is not None
    key = f"root/{plan.archive_key}"
    s3_bucket.client.abort_multipart_upload(Bucket=s3_bucket.name, Key=key, UploadId=plan.upload_id)
    half.finish("aborted")
    assert parts_sent(proxy) == [1, 2, 3, 4]
    assert proxy.count("CreateMultipartUpload") == 1


@pytest.mark.parametrize("whose", ["of another key", "of another bucket's making", "of nobody"])
def test_a_foreign_upload_id_starts_again(
    half: ArchiveCase, proxy: FaultProxy, s3_bucket: S3Bucket, whose: str
) -> None:
    plan = half.plan()
    assert plan is not None
    create = s3_bucket.client.create_multipart_upload
    strange = {
        "of another key": lambda: create(Bucket=s3_bucket.name, Key="root/another")["UploadId"],
        "of another bucket's making": lambda: "2~Ij9qkcoM2P2nH3yq3aaZbXlWmYdKdUB",
        "of nobody": lambda: "no-upload",
    }[whose]()
    write_atomic(half.hour.path / PLAN, plan.model_copy(update={"upload_id": strange}).to_json())
    half.finish(whose)
    assert parts_sent(proxy) == [1, 2, 3, 4]


@pytest.mark.parametrize("late", [False, True])
def test_an_upload_completed_unseen_is_adopted(proxied: ArchiveCase, proxy: FaultProxy, late: bool) -> None:
    """The server joined the parts, the archiver was killed before it heard; frames may come before it runs again."""
    proxied.fill(6, 1 << 20)
    proxy.begin(Rule("CompleteMultipartUpload", Fault("kill", 1.0)))
    assert proxied.run().killed
    if late:
        proxied.fill(2, 1000, seed=9, late=True)
    proxy.begin(None)
    proxied.finish("completed unseen")
    assert parts_sent(proxy) == []
    assert [receipt.part for receipt in proxied.receipts()] == [1, 2] if late else [1]


def test_a_put_that_arrived_unseen_is_adopted(proxied: ArchiveCase, proxy: FaultProxy) -> None:
    proxied.fill(3, 1000)
    proxy.begin(Rule("PutObject", Fault("kill", 1.0), key="archives/"))
    assert proxied.run().killed
    proxy.begin(None)
    proxied.finish("put unseen")
    assert sum(one.request.operation == "PutObject" and "archives/" in one.request.key for one in proxy.passed) == 0


def test_a_part_changed_in_the_store_is_sent_again(half: ArchiveCase, proxy: FaultProxy, s3_bucket: S3Bucket) -> None:
    plan = half.plan()
    assert plan is not None
    s3_bucket.client.upload_part(
        Bucket=s3_bucket.name,
        Key=f"root/{plan.archive_key}",
        UploadId=plan.upload_id,
        PartNumber=1,
        Body=b"x" * PART,
    )
    half.finish("a part was changed")
    assert 1 in parts_sent(proxy)
