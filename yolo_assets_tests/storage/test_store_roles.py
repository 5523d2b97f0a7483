"""On a real store with the shipped policies: a training writes models and nothing else, a device what it reports."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from yolo_assets.archive.archive import Archive
from yolo_assets.contracts.names import fleet_key
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.learning.dataset import build_dataset
from yolo_assets.models.registry import Registry
from yolo_assets.storage import open_store
from yolo_assets.storage.admin.policy import BucketPlace
from yolo_assets.storage.admin.store_policy import store_bucket_policy
from yolo_assets.training.candidates import train_candidate
from yolo_assets.training.spec import starter
from yolo_assets_tests.learning.line_world import World
from yolo_assets_tests.support.quick_training import train_quickly

pytestmark = pytest.mark.s3
USER = "arn:aws:iam:::user/archiver"
"""The second user of the test server, whatever its name says."""


def give(bucket: Any, role: str) -> None:
    """The policy of the store's bucket, with that user in one role."""
    policy = store_bucket_policy(BucketPlace(bucket.name, "root"), {role: USER})
    bucket.client.put_bucket_policy(Bucket=bucket.name, Policy=json.dumps(policy))


def become_the_user(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in bucket.server.other_env.items():
        monkeypatch.setenv(name, value)
    return bucket.server.client(bucket.server.other_env)


def refused(request: Callable[[], Any]) -> bool:
    try:
        request()
    except ClientError as error:
        return error.response["Error"]["Code"] == "AccessDenied"
    return False


def test_a_training_writes_models_and_nothing_else(
    make_bucket: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_bucket, archive_bucket = make_bucket(), make_bucket(locked=True)
    world = World.make(tmp_path)
    world.store = open_store(store_bucket.url)
    world.label(world.archive_frames(40))
    dataset = build_dataset(world.store, Archive(world.archive, world.trusted))
    store_bucket.client.put_object(Bucket=store_bucket.name, Key="root/labels/accepted/a.json", Body=b"{}")
    give(store_bucket, "training")
    client = become_the_user(store_bucket, monkeypatch)
    train_quickly(monkeypatch)

    registry = Registry(open_store(store_bucket.url), TrustedKeys({}))
    result = train_candidate(registry, dataset, starter("line"), tmp_path / "work")
    assert registry.read_manifest(result.name, result.version, signed=False)
    model = f"root/models/{result.name}/{result.version}"

    def put(bucket: Any, key: str) -> Callable[[], Any]:
        return lambda: client.put_object(Bucket=bucket.name, Key=key, Body=b"false")

    for key in ("root/models/line/other/model.onnx", f"root/training/{result.fingerprint}/note"):
        assert not refused(put(store_bucket, key)), key
    for key in (
        "root/channels/line/stable.json",
        "root/datasets/current.json",
        "root/labels/inbox/false.json",
        "root/catalog/current.json",
        "root/fleet/box1.json",
        "elsewhere/models/line/other/model.onnx",
        f"{model}/manifest.json.dsse",
        f"{model}/manifest.json.sig",
    ):
        assert refused(put(store_bucket, key)), key
    for key in ("root/archives/a.tar.gz", "root/receipts/date=2026-03-01/a.receipt.json", "root/audit/a.json"):
        assert refused(put(archive_bucket, key)), key
    assert refused(lambda: client.get_object(Bucket=store_bucket.name, Key="root/labels/accepted/a.json"))
    for key in (f"{model}/manifest.json", f"root/datasets/{dataset.sha256}/manifest.json"):
        assert refused(lambda key=key: client.delete_object(Bucket=store_bucket.name, Key=key)), key
    assert refused(lambda: client.list_objects_v2(Bucket=archive_bucket.name))


def test_a_device_writes_its_reports_and_nothing_else(
    make_bucket: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = make_bucket()
    bucket.client.put_object(Bucket=bucket.name, Key="root/channels/line/stable.json", Body=b"{}")
    give(bucket, "edge")
    client = become_the_user(bucket, monkeypatch)
    store = open_store(bucket.url)
    store.put(fleet_key("box1"), b"{}")
    assert store.get("channels/line/stable.json") == b"{}"
    for key in ("channels/line/stable.json", "models/line/1/model.onnx", "labels/inbox/a.json", "training/a/job.json"):
        assert refused(lambda key=key: client.put_object(Bucket=bucket.name, Key=f"root/{key}", Body=b"false")), key
    for key in ("fleet/box1.json", "channels/line/stable.json"):
        assert refused(lambda key=key: client.delete_object(Bucket=bucket.name, Key=f"root/{key}")), key
