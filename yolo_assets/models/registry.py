"""Model bundles on a store: written once by training, verified by every reader.

The manifest is written last and is the commit point: a bundle without one does not exist. Does not belong here: moving
a channel (``promotion``), what a bundle must look like (``bundle``).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path

from yolo_assets.contracts.errors import BadInputError, IntegrityError
from yolo_assets.contracts.model import MANIFEST, ModelManifest
from yolo_assets.contracts.names import MODELS, channel_key, model_key, parse_model_version, signature_files
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.models.bundle import (
    StoredManifest,
    VerifiedBundle,
    check_bytes,
    check_manifest,
    file_chunks,
    parse_manifest,
    read_files,
    sha256_of,
)
from yolo_assets.models.channels import Channel
from yolo_assets.models.signed_objects import SignedObjects
from yolo_assets.storage.base import AlreadyExistsError, ObjectNotFoundError, ObjectStore

NO_KEYS = TrustedKeys({})


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


class Registry:
    """The models of a store root, and the keys whose signatures count.

    Args:
        store: the store root.
        trusted: public keys of promotion. Without any, nothing signed can be read: no channel, and bundles only with
            ``signed=False``, as training does.
    """

    def __init__(self, store: ObjectStore, trusted: TrustedKeys = NO_KEYS) -> None:
        self.objects = SignedObjects(store, trusted)

    @property
    def store(self) -> ObjectStore:
        """The store root."""
        return self.objects.store

    @property
    def trusted(self) -> TrustedKeys:
        """The keys whose signatures count."""
        return self.objects.trusted

    def channel(self, name: str, channel: str) -> Channel:
        """A release channel of a model, whether it exists or not.

        Raises:
            BadInputError: a name that cannot be a model's or a channel's.
        """
        return Channel(self.objects, name, channel)

    def channel_names(self, name: str) -> list[str]:
        """Channels that a model has a pointer for, trusted or not, by name."""
        prefix = channel_key(name, "_").removesuffix("_.json")
        names = (info.key.removeprefix(prefix) for info in self.store.list(prefix))
        return [file.removesuffix(".json") for file in names if file.endswith(".json") and "/" not in file]

    def released(self) -> dict[str, list[str]]:
        """Every model that has a channel, with the names of its channels, trusted or not."""
        found: dict[str, list[str]] = {}
        prefix = channel_key("_", "_").partition("_")[0]
        for info in self.store.list(prefix):
            name, _, file = info.key.removeprefix(prefix).partition("/")
            if file.endswith(".json") and "/" not in file:
                found.setdefault(name, []).append(file.removesuffix(".json"))
        return found

    def no_release(self, name: str, channel: str) -> str:
        """In words: a channel of a model has no release, and which there are."""
        there = [f"{model} ({', '.join(channels)})" for model, channels in sorted(self.released().items())]
        near = get_close_matches(name, self.released(), 1) if name not in self.released() else []
        advice = f"; did you mean model {near[0]}?" if near else ""
        known = f"there are: {', '.join(there)}" if there else "the store has none at all; promote one first"
        return f"model {name} has no release on channel {channel}; {known}{advice}"

    def write_bundle(self, manifest: ModelManifest, files: Mapping[str, bytes | Path]) -> None:
        """Store a bundle: its files, then the manifest. Again with the same content it completes a broken write.

        Args:
            manifest: names and hashes every file.
            files: exactly the files of the manifest, as bytes or as paths to read.

        Raises:
            BadInputError: the manifest is not sound, or ``files`` are not the ones it names.
            IntegrityError: a file differs from its manifest, or other content is stored under this version.
        """
        check_manifest(manifest)
        model = manifest.model_version
        if set(files) != set(manifest.files):
            missing, extra = sorted(set(manifest.files) - set(files)), sorted(set(files) - set(manifest.files))
            raise BadInputError(
                f"{model}: files and manifest differ; missing: {missing or 'none'}, extra: {extra or 'none'}"
            )
        data = manifest.to_json()
        manifest_key = model_key(manifest.name, manifest.version, MANIFEST)
        try:
            # Read first, so that a clash leaves no stray files in a bundle that is already committed.
            _refuse_other_manifest(self.store.get(manifest_key), data, model)
        except ObjectNotFoundError:
            pass
        for name, content in sorted(files.items()):
            body = content if isinstance(content, bytes) else _read_path(content)
            check_bytes([body], manifest.files[name], f"{model}/{name}")
            key = model_key(manifest.name, manifest.version, name)
            try:
                self.store.put_if_absent(key, body)
            except AlreadyExistsError:
                try:
                    check_bytes(self.store.stream(key), manifest.files[name], key)
                except IntegrityError:
                    raise IntegrityError(
                        f"{key} is stored with other content, and a version never changes; use a new version"
                    ) from None
        try:
            self.store.put_if_absent(manifest_key, data)
        except AlreadyExistsError:
            _refuse_other_manifest(self.store.get(manifest_key), data, model)

    def read_manifest(
        self, name: str, version: str, *, signed: bool = True, manifest_sha256: str | None = None
    ) -> StoredManifest:
        """The manifest and its exact bytes, with its signature checked before a byte of it is parsed.

        Args:
            name: of the model.
            version: of the model.
            signed: demand a trusted signature; False for bundles that may never have been promoted.
            manifest_sha256: from a channel pointer; binds the answer to one manifest's bytes.

        Raises:
            ObjectNotFoundError: no such bundle.
            SignatureError: not signed by a trusted key.
            IntegrityError: other bytes than ``manifest_sha256``.
            BadInputError: not a sound manifest, or the manifest of another version.
        """
        key = model_key(name, version, MANIFEST)
        try:
            data = self.store.get(key)
        except ObjectNotFoundError:
            raise ObjectNotFoundError(
                f"no model {name}/{version} in {self.store.url}; list all with: yolo-assets models list"
            ) from None
        if manifest_sha256 is not None and sha256_of(data) != manifest_sha256:
            raise IntegrityError(f"{key} is not the manifest that was released; it was changed")
        if signed:
            self.objects.verify(key, data, "model-manifest")
        manifest = parse_manifest(data, key)
        if (manifest.name, manifest.version) != (name, version):
            raise BadInputError(f"{key} is the manifest of {manifest.model_version}; it was put in the wrong place")
        return StoredManifest(manifest, data)

    def manifest_signatures(self, name: str, version: str) -> dict[str, bytes]:
        """The objects that lie beside a manifest to sign it, by file name; none when it was never promoted."""
        found: dict[str, bytes] = {}
        for file in signature_files(MANIFEST):
            try:
                found[file] = self.store.get(model_key(name, version, file))
            except ObjectNotFoundError:
                continue
        return found

    def read_bundle(
        self,
        name: str,
        version: str,
        *,
        signed: bool = True,
        manifest_sha256: str | None = None,
        only: Collection[str] | None = None,
    ) -> VerifiedBundle:
        """Fetch a bundle into memory, each file checked against the manifest, the manifest against trusted keys.

        Args:
            name: of the model.
            version: of the model.
            signed: as in ``read_manifest``.
            manifest_sha256: from the channel pointer that named this version.
            only: files to fetch; None fetches what running needs (ONNX and golden frames), never the weights.

        Raises:
            ObjectNotFoundError: no such bundle, or a file of it is gone.
            SignatureError: not signed by a trusted key.
            IntegrityError: bytes differ from what was promised.
            BadInputError: not a sound manifest, or no such file in it.
        """
        stored = self.read_manifest(name, version, signed=signed, manifest_sha256=manifest_sha256)
        files = read_files(stored.manifest, only, lambda file: self.store.stream(model_key(name, version, file)))
        return VerifiedBundle(stored.manifest, stored.sha256, files)

    def verify_bundle(
        self, name: str, version: str, *, signed: bool = True, manifest_sha256: str | None = None
    ) -> StoredManifest:
        """Check every file of a stored bundle, weights too, in bounded memory. Arguments, errors as ``read_bundle``."""
        stored = self.read_manifest(name, version, signed=signed, manifest_sha256=manifest_sha256)
        for file, entry in stored.manifest.files.items():
            key = model_key(name, version, file)
            check_bytes(self.store.stream(key), entry, key)
        return stored

    def list_bundles(self, name: str | None = None) -> list[BundleEntry]:
        """Committed bundles, by name and then by age, oldest first."""
        entries: list[BundleEntry] = []
        for info in self.store.list(MODELS):
            path, _, file = info.key.removeprefix(MODELS).rpartition("/")
            if file != MANIFEST:
                continue
            try:
                model = parse_model_version(path)
            except BadInputError:
                continue  # a manifest.json deeper inside a bundle, or a folder that is not ours
            if name in (None, model[0]):
                entries.append(BundleEntry(*model, info.modified_at))
        return sorted(entries, key=lambda entry: (entry.name, entry.written_at, entry.version))

    def export_bundle(self, name: str, version: str, out: Path, *, signed: bool = True) -> None:
        """Write a whole verified bundle, its signatures included, as folder ``out``: complete or not at all.

        Raises:
            BadInputError: ``out`` exists; it is never written into.
            ObjectNotFoundError, SignatureError, IntegrityError: as ``read_bundle``.
        """
        if out.exists():
            raise BadInputError(f"{out} exists already; choose a folder that does not")
        stored = self.read_manifest(name, version, signed=signed)
        partial = out.with_name(f".{out.name}.partial.{os.getpid()}")
        try:
            for file in sorted(stored.manifest.files):
                target = partial / file
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as opened:
                    for chunk in self.store.stream(model_key(name, version, file)):
                        opened.write(chunk)
                check_bytes(file_chunks(target), stored.manifest.files[file], f"{name}/{version}/{file}")
            (partial / MANIFEST).write_bytes(stored.data)
            for file, data in self.manifest_signatures(name, version).items():
                (partial / file).write_bytes(data)
            partial.rename(out)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _refuse_other_manifest(stored: bytes, offered: bytes, model: str) -> None:
    if stored != offered:
        raise IntegrityError(
            f"{model} is registered with another manifest, and a version never changes; use a new version"
        )


def _read_path(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInputError(f"cannot read {path} for the bundle: {error.strerror}") from None
