"""Model bundles on a store: written once by training, verified by everyone who reads them.

The manifest is written last and is the commit point: a bundle without one does not exist. Nothing here moves a channel.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from yolo_assets.contracts.errors import BadInputError, IntegrityError, SignatureError
from yolo_assets.contracts.model import MANIFEST, ModelManifest
from yolo_assets.contracts.names import MODELS, model_key, parse_model_version, signature_key
from yolo_assets.contracts.signing import SignatureSet, TrustedKeys
from yolo_assets.models.bundle import (
    VerifiedBundle,
    check_bytes,
    check_manifest,
    parse_manifest,
    read_files,
    sha256_of,
)
from yolo_assets.models.signatures import verify_object
from yolo_assets.storage.base import AlreadyExistsError, ObjectNotFoundError, ObjectStore

_CHUNK = 1 << 20


@dataclass(frozen=True)
class StoredManifest:
    """A manifest with the exact bytes that are hashed and signed."""

    manifest: ModelManifest
    data: bytes

    @property
    def sha256(self) -> str:
        """What a channel pointer names."""
        return sha256_of(self.data)


@dataclass(frozen=True)
class BundleEntry:
    """One committed bundle, as listing the store shows it.

    Attributes:
        name: of the model.
        version: of the model.
        written_at: the store's clock.
    """

    name: str
    version: str
    written_at: datetime


def write_bundle(store: ObjectStore, manifest: ModelManifest, files: Mapping[str, bytes | Path]) -> None:
    """Store a bundle: its files, then the manifest. Again with the same content is fine and finishes a broken write.

    Args:
        store: the store root.
        manifest: names and hashes every file.
        files: exactly the files of the manifest, as bytes or as paths to read.

    Raises:
        BadInputError: the manifest is not sound, or ``files`` are not the ones it names.
        IntegrityError: a file differs from its manifest, or other content is stored under this version.
    """
    check_manifest(manifest)
    who = manifest.model_version
    if set(files) != set(manifest.files):
        missing, extra = sorted(set(manifest.files) - set(files)), sorted(set(files) - set(manifest.files))
        raise BadInputError(
            f"{who}: files and manifest differ; missing: {missing or 'none'}, not named: {extra or 'none'}"
        )
    data = manifest.to_json()
    manifest_key = model_key(manifest.name, manifest.version, MANIFEST)
    try:
        # Looked at first, so that a clash leaves no stray files in a bundle that is already committed.
        _refuse_other_manifest(store.get(manifest_key), data, who)
    except ObjectNotFoundError:
        pass
    for name, content in sorted(files.items()):
        body = content if isinstance(content, bytes) else _read_path(content)
        check_bytes([body], manifest.files[name], f"{who}/{name}")
        key = model_key(manifest.name, manifest.version, name)
        try:
            store.put_if_absent(key, body)
        except AlreadyExistsError:
            try:
                check_bytes(store.stream(key), manifest.files[name], key)
            except IntegrityError:
                raise IntegrityError(
                    f"{key} is stored with other content, and a version never changes; use a new version"
                ) from None
    try:
        store.put_if_absent(manifest_key, data)
    except AlreadyExistsError:
        _refuse_other_manifest(store.get(manifest_key), data, who)


def read_manifest(store: ObjectStore, name: str, version: str) -> ModelManifest:
    """The manifest of a committed bundle; its signature is not looked at.

    Raises:
        ObjectNotFoundError: no such bundle.
        BadInputError: not a sound manifest, or the manifest of another version.
    """
    return read_stored_manifest(store, name, version, None).manifest


def read_stored_manifest(
    store: ObjectStore, name: str, version: str, trusted: TrustedKeys | None, *, manifest_sha256: str | None = None
) -> StoredManifest:
    """The manifest and its exact bytes, with its signature checked before a byte of it is parsed.

    Args:
        store: the store root.
        name: of the model.
        version: of the model.
        trusted: keys whose signature is demanded; None for those who look at bundles that nobody promoted yet.
        manifest_sha256: from a channel pointer; binds the answer to one manifest's bytes.

    Raises:
        ObjectNotFoundError: no such bundle.
        SignatureError: not signed by a trusted key.
        IntegrityError: other bytes than ``manifest_sha256``.
        BadInputError: not a sound manifest, or the manifest of another version.
    """
    key = model_key(name, version, MANIFEST)
    try:
        data = store.get(key)
    except ObjectNotFoundError:
        raise ObjectNotFoundError(
            f"no model {name}/{version} in {store.url}; see what there is with: yolo-assets models list"
        ) from None
    if manifest_sha256 is not None and sha256_of(data) != manifest_sha256:
        raise IntegrityError(f"{key} is not the manifest that was released; it was changed")
    if trusted is not None:
        verify_object(store, key, data, trusted)
    manifest = parse_manifest(data, key)
    if (manifest.name, manifest.version) != (name, version):
        raise BadInputError(f"{key} is the manifest of {manifest.model_version}; it was put in the wrong place")
    return StoredManifest(manifest, data)


def read_bundle(
    store: ObjectStore,
    name: str,
    version: str,
    trusted: TrustedKeys | None,
    *,
    only: Collection[str] | None = None,
    manifest_sha256: str | None = None,
) -> VerifiedBundle:
    """Fetch a bundle into memory, each file checked against the manifest, the manifest against trusted keys.

    Args:
        store: the store root.
        name: of the model.
        version: of the model.
        trusted: keys whose signature is demanded; None accepts a bundle that was never promoted.
        only: files to fetch; None fetches what running needs (ONNX and golden frames), never the weights.
        manifest_sha256: from the channel pointer that named this version.

    Raises:
        ObjectNotFoundError: no such bundle, or a file of it is gone.
        SignatureError: not signed by a trusted key.
        IntegrityError: bytes differ from what was promised.
        BadInputError: not a sound manifest, or no such file in it.
    """
    stored = read_stored_manifest(store, name, version, trusted, manifest_sha256=manifest_sha256)
    files = read_files(stored.manifest, only, lambda file: store.stream(model_key(name, version, file)))
    return VerifiedBundle(stored.manifest, stored.sha256, files)


def verify_bundle(
    store: ObjectStore, name: str, version: str, trusted: TrustedKeys | None, *, manifest_sha256: str | None = None
) -> StoredManifest:
    """Check every file of a stored bundle, weights too, in bounded memory. Arguments and errors as ``read_bundle``."""
    stored = read_stored_manifest(store, name, version, trusted, manifest_sha256=manifest_sha256)
    for file, entry in stored.manifest.files.items():
        key = model_key(name, version, file)
        check_bytes(store.stream(key), entry, key)
    return stored


def list_models(store: ObjectStore, name: str | None = None) -> list[BundleEntry]:
    """Committed bundles, by name and then by age, oldest first."""
    found: list[BundleEntry] = []
    for info in store.list(MODELS):
        path, _, file = info.key.removeprefix(MODELS).rpartition("/")
        if file != MANIFEST:
            continue
        try:
            model = parse_model_version(path)
        except BadInputError:
            continue  # a manifest.json deeper inside a bundle, or a folder that is not ours
        if name in (None, model[0]):
            found.append(BundleEntry(*model, info.modified_at))
    return sorted(found, key=lambda entry: (entry.name, entry.written_at, entry.version))


def load_bundle_folder(
    path: Path, trusted: TrustedKeys | None = None, *, only: Collection[str] | None = None
) -> VerifiedBundle:
    """A bundle that lies in a folder, as ``export_bundle`` writes it. Arguments and errors as ``read_bundle``."""
    try:
        data = (path / MANIFEST).read_bytes()
        if trusted is not None:
            _verify_in_folder(path, data, trusted)
        manifest = parse_manifest(data, str(path / MANIFEST))
        return VerifiedBundle(manifest, sha256_of(data), read_files(manifest, only, lambda name: _chunks(path / name)))
    except OSError as error:
        raise BadInputError(f"{path} is not a model bundle: {error.filename or path}: {error.strerror}") from None


def export_bundle(store: ObjectStore, name: str, version: str, out: Path, trusted: TrustedKeys | None = None) -> None:
    """Write a whole verified bundle, signature included, as folder ``out``, which appears complete or not at all.

    Raises:
        BadInputError: ``out`` exists; it is never written into.
        ObjectNotFoundError, SignatureError, IntegrityError: as ``read_bundle``.
    """
    if out.exists():
        raise BadInputError(f"{out} exists already; name a folder that does not")
    stored = read_stored_manifest(store, name, version, trusted)
    partial = out.with_name(f".{out.name}.partial.{os.getpid()}")
    try:
        for file in sorted(stored.manifest.files):
            target = partial / file
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as opened:
                for chunk in store.stream(model_key(name, version, file)):
                    opened.write(chunk)
            check_bytes(_chunks(target), stored.manifest.files[file], f"{name}/{version}/{file}")
        (partial / MANIFEST).write_bytes(stored.data)
        try:
            signatures = store.get(model_key(name, version, signature_key(MANIFEST)))
            (partial / signature_key(MANIFEST)).write_bytes(signatures)
        except ObjectNotFoundError:
            pass  # never promoted
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _refuse_other_manifest(stored: bytes, wanted: bytes, who: str) -> None:
    if stored != wanted:
        raise IntegrityError(
            f"{who} is registered with another manifest, and a version never changes; use a new version"
        )


def _read_path(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInputError(f"cannot read {path} for the bundle: {error.strerror}") from None


def _verify_in_folder(path: Path, data: bytes, trusted: TrustedKeys) -> None:
    signatures = path / signature_key(MANIFEST)
    if not signatures.exists():
        raise SignatureError(f"{path / MANIFEST} is not signed; export a promoted version")
    trusted.verify_detached(
        data, SignatureSet.from_json(signatures.read_bytes(), str(signatures)), str(path / MANIFEST)
    )


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
