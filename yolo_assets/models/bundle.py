"""What a bundle must look like, and reading its bytes against its manifest, from a folder or wherever they are.

Does not belong here: stores and channels. Weights are bytes like any other and are never unpickled.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from yolo_assets.contracts.errors import BadInputError, IntegrityError, SignatureError
from yolo_assets.contracts.model import MANIFEST, ONNX, FileEntry, ModelIdentity, ModelManifest
from yolo_assets.contracts.names import check_id, check_sha256, check_version, signature_files
from yolo_assets.contracts.signing import TrustedKeys

# Each part begins with a letter, digit or '_': neither '..' nor a hidden file nor an absolute path can be written.
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*){0,3}")
_CHUNK = 1 << 20
_RESERVED = frozenset({MANIFEST, *signature_files(MANIFEST)})

OpenFile = Callable[[str], Iterable[bytes]]
"""Opens a file of a bundle by its name and gives its bytes in chunks."""


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
class VerifiedBundle:
    """Files of a bundle whose bytes are those the manifest promises.

    Attributes:
        manifest: parsed from bytes whose SHA-256 is ``manifest_sha256``.
        manifest_sha256: what a channel pointer names.
        files: bytes by name; only the files that were asked for.
    """

    manifest: ModelManifest
    manifest_sha256: str
    files: Mapping[str, bytes]

    @property
    def identity(self) -> ModelIdentity:
        """Which model this is."""
        return ModelIdentity(
            name=self.manifest.name, version=self.manifest.version, manifest_sha256=self.manifest_sha256
        )


def check_file_name(name: str) -> str:
    """Return ``name`` when it may stand in a bundle: relative, at most four plain parts, not the manifest itself.

    Raises:
        BadInputError: anything else.
    """
    if len(name) > 200 or not _FILE.fullmatch(name) or name in _RESERVED:
        raise BadInputError(
            f"{name!r} cannot be a file of a model bundle; use a name like model.onnx or golden/000.jpg"
        )
    return name


def check_manifest(manifest: ModelManifest) -> ModelManifest:
    """Return ``manifest`` when it describes a bundle that can be stored, shipped and loaded.

    Raises:
        BadInputError: a bad name, no ONNX file, a golden frame that is not in the bundle, a class named twice.
    """
    check_id(manifest.name, "model name")
    check_version(manifest.version)
    model = manifest.model_version
    for file in manifest.files:
        check_file_name(file)
        for parent in PurePosixPath(file).parents:
            if str(parent) in manifest.files:
                raise BadInputError(f"{model}: {parent} is both a file and the folder of {file}")
    if manifest.training_fingerprint is not None:
        check_sha256(manifest.training_fingerprint)
    if ONNX not in manifest.files:
        raise BadInputError(f"{model} holds no {ONNX}; export the model before it is registered")
    if len(set(manifest.class_names)) != len(manifest.class_names):
        raise BadInputError(f"{model} names a class twice: {', '.join(manifest.class_names)}")
    for frame in manifest.golden_frames:
        if frame.file not in manifest.files:
            raise BadInputError(f"{model}: golden frame {frame.file} is not among the files of the bundle")
        for detection in frame.detections:
            if detection.class_id >= len(manifest.record_names):
                raise BadInputError(
                    f"{model}: golden frame {frame.file} names class {detection.class_id}, which does not exist"
                )
    return manifest


def parse_manifest(data: bytes, source: str) -> ModelManifest:
    """Parse and check a ``manifest.json``.

    Raises:
        BadInputError: not a manifest, or one that ``check_manifest`` refuses.
    """
    return check_manifest(ModelManifest.from_json(data, source))


def runtime_files(manifest: ModelManifest) -> tuple[str, ...]:
    """What an agent or an evaluation needs: the ONNX file and the golden frames, never the weights."""
    return (ONNX, *sorted({frame.file for frame in manifest.golden_frames} - {ONNX}))


def sha256_of(data: bytes) -> str:
    """SHA-256, lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def file_chunks(path: Path) -> Iterator[bytes]:
    """The bytes of a file, a MiB at a time."""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def check_bytes(chunks: Iterable[bytes], entry: FileEntry, label: str) -> None:
    """Hash chunks in bounded memory against a manifest entry.

    Raises:
        IntegrityError: another size or another hash.
    """
    for _ in _checked(chunks, entry, label):
        pass


def read_files(manifest: ModelManifest, only: Collection[str] | None, open_file: OpenFile) -> dict[str, bytes]:
    """Read and verify files of a bundle.

    Args:
        manifest: already trusted.
        only: names to read; None means ``runtime_files``.
        open_file: gives a file's chunks.

    Raises:
        BadInputError: a name that the manifest does not hold.
        IntegrityError: another size or another hash. Reading stops as soon as a file is too long.
    """
    files: dict[str, bytes] = {}
    for name in runtime_files(manifest) if only is None else only:
        entry = manifest.files.get(name)
        if entry is None:
            raise BadInputError(f"{manifest.model_version} holds no file {name!r}")
        files[name] = b"".join(_checked(open_file(name), entry, f"{manifest.model_version}/{name}"))
    return files


def load_bundle_folder(
    path: Path, trusted: TrustedKeys | None = None, *, only: Collection[str] | None = None
) -> VerifiedBundle:
    """A bundle that lies in a folder, as ``Registry.export_bundle`` writes it.

    Args:
        path: the folder.
        trusted: keys whose signature is demanded; None accepts a bundle that was never promoted.
        only: as in ``read_files``.

    Raises:
        BadInputError: not a bundle, or a manifest that is not sound.
        SignatureError: not signed by a trusted key.
        IntegrityError: bytes differ from what the manifest promises.
    """
    try:
        data = (path / MANIFEST).read_bytes()
        if trusted is not None:
            verify_beside(path / MANIFEST, data, trusted)
        manifest = parse_manifest(data, str(path / MANIFEST))
        files = read_files(manifest, only, lambda name: file_chunks(path / name))
        return VerifiedBundle(manifest, sha256_of(data), files)
    except OSError as error:
        raise BadInputError(f"{path} is not a model bundle: {error.filename or path}: {error.strerror}") from None


def verify_beside(path: Path, data: bytes, trusted: TrustedKeys) -> None:
    """Check the signatures that lie in a folder beside a manifest: ``.dsse``, or ``.sig`` as version 0.1 wrote it.

    Args:
        path: of the manifest.
        data: its bytes.
        trusted: keys whose signature counts.

    Raises:
        SignatureError: there is none by a trusted key.
        OSError: a file cannot be read.
    """
    envelopes, signatures = (
        file.read_bytes() if (file := path.with_name(name)).exists() else None for name in signature_files(path.name)
    )
    if envelopes is None and signatures is None:
        raise SignatureError(f"{path} is not signed; export a promoted version")
    trusted.verify_detached(data, "model-manifest", str(path), envelopes=envelopes, signatures=signatures)


def _checked(chunks: Iterable[bytes], entry: FileEntry, label: str) -> Iterable[bytes]:
    digest = hashlib.sha256()
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > entry.size:
            raise IntegrityError(f"{label} is longer than the {entry.size} bytes its manifest promises; it was changed")
        digest.update(chunk)
        yield chunk
    if size != entry.size:
        raise IntegrityError(
            f"{label} has {size} bytes and its manifest promises {entry.size}; it is cut or was changed"
        )
    if digest.hexdigest() != entry.sha256:
        raise IntegrityError(f"{label} has another SHA-256 than its manifest promises; it was changed")
