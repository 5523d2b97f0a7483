"""Small bundles of plain bytes, and a store that fails on command. No test lives here."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

from yolo_assets.contracts.model import (
    MANIFEST,
    ONNX,
    WEIGHTS,
    FileEntry,
    GoldenDetection,
    GoldenFrame,
    ModelManifest,
)
from yolo_assets.contracts.names import channel_key, model_key, signature_files
from yolo_assets.contracts.signing import Signer
from yolo_assets.models.promotion import Promoter
from yolo_assets.models.registry import Registry
from yolo_assets.storage import ObjectStore
from yolo_assets.storage.faults import FaultyStore, fail

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
CLASSES = ("crack", "pore", "spatter")
POINTER = channel_key("line", "stable")


def byte_bundle(version: str, name: str = "line", **changes: Any) -> tuple[ModelManifest, dict[str, bytes]]:
    """A sound bundle whose files are not a model: the registry never looks into them."""
    files = {
        ONNX: f"onnx {name} {version}".encode() * 50,
        WEIGHTS: f"weights {name} {version}".encode() * 90,
        "golden/000.jpg": b"picture of " + version.encode(),
    }
    fields: dict[str, Any] = {
        "name": name,
        "version": version,
        "files": {key: entry(data) for key, data in files.items()},
        "class_names": CLASSES,
        "input_shape": (1, 3, 64, 64),
        "output_layout": "raw",
        "stride": 32,
        "golden_frames": (
            GoldenFrame(
                file="golden/000.jpg",
                detections=(GoldenDetection(bbox=(1, 2, 3, 4), class_id=1, confidence=0.9),),
            ),
        ),
        "created_at": NOON,
    }
    return ModelManifest(**(fields | changes)), files


def promoter_of(registry: Registry, signer: Signer) -> Promoter:
    """A promoter that does not open what it releases: files that are no models, or are broken on purpose."""
    return Promoter(registry, signer, check=lambda bundle, run: None)


def entry(data: bytes) -> FileEntry:
    return FileEntry(sha256=hashlib.sha256(data).hexdigest(), size=len(data))


def write(store: ObjectStore, *versions: str, name: str = "line") -> None:
    for version in versions:
        Registry(store).write_bundle(*byte_bundle(version, name))


def put_back(store: ObjectStore, saved: dict[str, bytes]) -> None:
    """What an attacker with write access to the store, and no key, can do."""
    for key, data in saved.items():
        store.put(key, data)


def save(store: ObjectStore, *keys: str) -> dict[str, bytes]:
    return {key: store.get(key) for key in keys}


def replace_manifest(store: ObjectStore, version: str, manifest: ModelManifest) -> None:
    store.put(model_key(manifest.name, version, MANIFEST), manifest.to_json())


POINTER_FILES = (POINTER, *signature_files(POINTER))


READING = ("get", "get_with_info", "stream", "get_range")
WRITING = ("put", "put_if_absent", "compare_and_swap", "delete")


def failing_write(store: ObjectStore, fail_at: int, *, after: bool = False) -> FaultyStore:
    """A store whose ``fail_at``-th write raises: before it takes effect, or after, as when an answer is lost."""
    return FaultyStore(store, fail(*WRITING, nth=fail_at, effect="after" if after else "before"))
