"""Models on the device's own disk, by content: a restart needs no network, an old version is never fetched twice.

::

    <state>/models/blobs/<sha256>                      files of bundles, each stored once
    <state>/models/manifests/<name>/<version>.json     exact manifest bytes, with its signatures next to each

Nothing here is trusted: every read verifies the signature of the manifest and the hash of every file again, because
disks fail, and people can replace them. Does not belong here: loading a model, deciding which.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from yolo_assets.contracts.errors import BadInputError, IntegrityError, SignatureError
from yolo_assets.contracts.model import MANIFEST, ModelManifest
from yolo_assets.contracts.names import check_id, check_sha256, check_version, model_key, signature_files
from yolo_assets.models.bundle import (
    VerifiedBundle,
    parse_manifest,
    read_files,
    runtime_files,
    sha256_of,
    verify_beside,
)
from yolo_assets.models.registry import Registry
from yolo_assets.spool.files import write_atomic

log = logging.getLogger(__name__)


class NotCachedError(IntegrityError):
    """The cache does not hold this model, or no longer as it was released."""


class ModelCache:
    """One folder, filled from a registry; used by the staging thread only, one model at a time."""

    def __init__(self, folder: Path, registry: Registry) -> None:
        self._blobs = folder / "blobs"
        self._manifests = folder / "manifests"
        self.registry = registry
        self._blobs.mkdir(parents=True, exist_ok=True)

    def fetch(
        self,
        name: str,
        version: str,
        manifest_sha256: str | None,
        check_headroom: Callable[[int], None] = lambda missing: None,
    ) -> VerifiedBundle:
        """The bundle as released, taking from the store only what the cache lacks. It is cached whole afterwards.

        Args:
            name: model name.
            version: version id.
            manifest_sha256: from the channel pointer; None when an operator named the version.
            check_headroom: called with the bytes that the cache lacks, before they are fetched; raises to refuse.

        Raises:
            ObjectNotFoundError: the bundle or a file of it is not in the store.
            SignatureError: the manifest is not signed by a trusted key.
            IntegrityError: bytes differ from what was promised for them.
            BadInputError: not a sound manifest.
            StoreUnavailableError: the store cannot be reached and the cache lacks something.
            SpoolFullError: no space for the cache.
        """
        stored = self.registry.read_manifest(name, version, manifest_sha256=manifest_sha256)
        signatures = self.registry.manifest_signatures(name, version)
        needed = [stored.manifest.files[file] for file in runtime_files(stored.manifest)]
        check_headroom(sum(entry.size for entry in needed if not self._blob(entry.sha256).exists()))
        files = read_files(stored.manifest, None, lambda file: self._blob_or_store(stored.manifest, file))
        for file, data in files.items():
            self._keep(stored.manifest.files[file].sha256, data)
        path = self._manifest(name, version)
        path.parent.mkdir(parents=True, exist_ok=True)
        for file, data in signatures.items():
            write_atomic(path.with_name(file.replace(MANIFEST, path.name)), data)
        write_atomic(path, stored.data)  # last: a cached manifest means that everything it names is here
        return VerifiedBundle(stored.manifest, stored.sha256, files)

    def load(self, name: str, version: str, manifest_sha256: str) -> VerifiedBundle:
        """The bundle from the cache alone, everything verified again.

        Raises:
            NotCachedError: something is missing, or is not what was released.
        """
        path = self._manifest(name, version)
        try:
            data = path.read_bytes()
            if sha256_of(data) != manifest_sha256:
                raise IntegrityError(f"{path} is not the manifest that was released")
            verify_beside(path, data, self.registry.trusted)
            manifest = parse_manifest(data, str(path))
            files = read_files(manifest, None, lambda file: [self._blob(manifest.files[file].sha256).read_bytes()])
        except FileNotFoundError as error:
            raise NotCachedError(f"{name}/{version} is not in the cache: {error.filename} is missing") from None
        except OSError as error:
            raise NotCachedError(f"{name}/{version} cannot be read from the cache: {error}") from None
        except (IntegrityError, SignatureError) as error:
            raise NotCachedError(f"{name}/{version} in the cache is not as it was released: {error}") from None
        return VerifiedBundle(manifest, manifest_sha256, files)

    def prune(self, keep: Iterable[tuple[str, str]]) -> None:
        """Remove every cached model that is not among ``(name, version)``, and the files that only those needed."""
        kept_paths = {self._manifest(name, version) for name, version in keep}
        kept_blobs: set[str] = set()
        for path in self._manifests.glob("*/*.json"):
            if path not in kept_paths:
                path.unlink(missing_ok=True)
                for file in signature_files(path.name):
                    path.with_name(file).unlink(missing_ok=True)
                continue
            try:
                manifest = parse_manifest(path.read_bytes(), str(path))
            except BadInputError as error:
                log.warning("nothing is removed from the model cache: %s", error)  # what it needs is unknown
                return
            kept_blobs |= {manifest.files[file].sha256 for file in runtime_files(manifest)}
        for blob in self._blobs.iterdir():
            if blob.name not in kept_blobs:
                blob.unlink(missing_ok=True)

    def _blob_or_store(self, manifest: ModelManifest, file: str) -> Iterator[bytes]:
        sha256 = manifest.files[file].sha256
        try:
            data = self._blob(sha256).read_bytes()
        except FileNotFoundError:
            data = None
        if data is not None and sha256_of(data) == sha256:
            yield data
            return
        yield from self.registry.store.stream(model_key(manifest.name, manifest.version, file))

    def _keep(self, sha256: str, data: bytes) -> None:
        path = self._blob(sha256)
        if not path.exists() or sha256_of(path.read_bytes()) != sha256:
            write_atomic(path, data)

    def _blob(self, sha256: str) -> Path:
        return self._blobs / check_sha256(sha256)

    def _manifest(self, name: str, version: str) -> Path:
        return self._manifests / check_id(name, "model name") / f"{check_version(version)}.json"
