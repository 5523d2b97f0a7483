"""Signed releases, made before the measurement, and put into an agent's store one file after another while it runs.

A publisher's store is filled with real bundles and real promotions; ``place`` copies a finished release into the store
that an agent reads, as a mirror would. So a release costs the measured machine two small files, and a fault is a
change to the copy between the release and the agent.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx

from reload_parts import models
from reload_parts.models import NAME, Fault, Seen
from yolo_assets.contracts.model import ONNX
from yolo_assets.contracts.names import channel_key, model_key, signature_key
from yolo_assets.contracts.old_signatures import SignatureSet
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.models.promotion import Promoter, ReleaseRequest
from yolo_assets.models.registry import Registry
from yolo_assets.storage import open_store

VERSIONS = 4
"""Good versions that take turns: one comes back when it is neither current nor previous, so it is loaded again."""
POINTER = channel_key(NAME, "stable")


@dataclass(frozen=True)
class Release:
    """What a channel pointed at once. ``fault`` says in words what is wrong with it; empty: nothing."""

    version: str
    pointer: bytes
    signature: bytes
    fault: str = ""


def _flip(data: bytes) -> bytes:
    changed = bytearray(data)
    changed[len(data) // 2] ^= 1
    return bytes(changed)


_DAMAGE: dict[str, Callable[[bytes], bytes]] = {"corrupt": _flip, "truncated": lambda data: data[: len(data) // 2]}
_BROKEN: dict[str, Fault] = {"NaN output": "nan", "wrong classes": "wrong_classes"}
FAULTS = (*_DAMAGE, *_BROKEN, "bad signature", "replay")


class Publisher:
    """The plant's side: versions, signatures, promotions."""

    def __init__(self, root: Path, base: onnx.ModelProto, shown: list[list[bytes]]) -> None:
        self.key = root / "keys" / "promotion.pub"
        self._published = root / "published"
        self._published.mkdir(parents=True)
        self._signer = Signer.load_or_create(self.key.with_suffix(""))
        self._stranger = Signer.load_or_create(root / "stranger")
        self._base = base
        self._golden = shown[0]
        self._made = 0
        self._old: Release | None = None
        self.answers: dict[str, list[list[Seen]]] = {}
        """By version, camera and picture: what the good versions find, by another engine's reckoning."""
        for number in range(VERSIONS):
            manifest, files = models.bundle(base, f"v{number}", number, shown[0])
            self.answers[f"{NAME}/v{number}"] = models.answers(manifest, files, shown)
            Registry(open_store(self._published.as_uri())).write_bundle(manifest, files)

    def good(self, version: str) -> Release:
        """Release a good version."""
        release = self._promote(version, self._signer)
        self._old = self._old or release
        return release

    def faulty(self, fault: str, version: str) -> Release:
        """Make a release that must not serve; a bad pointer names ``version``, a bad bundle is a version of its own."""
        if fault == "replay":
            assert self._old is not None
            return Release(self._old.version, self._old.pointer, self._old.signature, fault)
        if fault == "bad signature":
            kept = {path: path.read_bytes() for path in (self._published / POINTER).parent.rglob("*") if path.is_file()}
            signed = self._promote(version, self._stranger)
            for path in (self._published / POINTER).parent.rglob("*"):
                if path.is_file() and path not in kept:
                    path.unlink()
            for path, data in kept.items():
                _write(path, data)
            return Release(version, signed.pointer, signed.signature, fault)
        self._made += 1
        name = f"bad{self._made}"
        manifest, files = models.bundle(self._base, name, 0, self._golden, _BROKEN.get(fault, "none"))
        Registry(open_store(self._published.as_uri())).write_bundle(manifest, files)
        release = self._promote(name, self._signer)
        if fault in _DAMAGE:
            path = self._published / model_key(NAME, name, ONNX)
            _write(path, _DAMAGE[fault](path.read_bytes()))
        return Release(name, release.pointer, release.signature, fault)

    def place(self, release: Release, store: Path) -> None:
        """Let an agent see a release in its store: the bundle first, then the signature, then the pointer.

        The signature is added to those that lie there, as a promotion does it: the agent may look in between.
        """
        self.place_bundle(release.version, store)
        signatures = store / signature_key(POINTER)
        present = SignatureSet.from_json(signatures.read_bytes(), "") if signatures.exists() else SignatureSet()
        newest = SignatureSet.from_json(release.signature, "").signatures[-1]
        _write(signatures, present.with_signature(newest).to_json())
        _write(store / POINTER, release.pointer)

    def place_bundle(self, version: str, store: Path) -> None:
        """Copy a bundle into an agent's store, where it lies without being released."""
        source = (self._published / model_key(NAME, version, ONNX)).parent
        target = store / source.relative_to(self._published)
        if not target.exists():
            shutil.copytree(source, target)

    def _promote(self, version: str, signer: Signer) -> Release:
        store = open_store(self._published.as_uri())
        strange = signer is not self._signer
        request = ReleaseRequest(
            NAME, version, "stable", by="the benchmark", reason="measure", replace_untrusted=strange
        )
        Promoter(Registry(store, TrustedKeys.of(signer)), signer, check=lambda bundle, run: None).promote(request)
        return Release(version, store.get(POINTER), store.get(signature_key(POINTER)))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(data)
    partial.replace(path)
