"""Makes another build of a version: the same network with cheaper arithmetic. The entry point of ``models build``.

A build finds other boxes than what it was made from, so it is a version of its own, which the gate judges like any
candidate. Does not belong here: the arithmetic (``quantize``), the verdict (``verdict``).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from importlib.util import find_spec
from pathlib import Path

from yolo_assets.contracts.errors import BadInputError, IntegrityError, UserError, missing_package
from yolo_assets.contracts.model import ONNX, FileEntry, GoldenFrame, ModelBuild, ModelManifest
from yolo_assets.contracts.names import check_version, dataset_image_key
from yolo_assets.contracts.times import utc_now
from yolo_assets.learning.dataset import read_dataset
from yolo_assets.models.imported_bundle import read_pictures
from yolo_assets.models.registry import Registry
from yolo_assets.storage.base import ObjectNotFoundError
from yolo_assets.training.job_process import run_child
from yolo_assets.training.jobs import QuantizeJob
from yolo_assets.vision.golden import golden_detections
from yolo_assets.vision.model import Model
from yolo_assets.vision.pictures import decode_image

MOST_PICTURES = 300
"""Calibration pictures: what NNCF itself takes at most."""


@dataclass(frozen=True)
class BuildRequest:
    """What is to be built.

    Attributes:
        name: of the model.
        of: the version that it is built from.
        version: that it gets.
        by: who makes it.
        pictures: folder with pictures of the line; None takes those that the version was trained on.
    """

    name: str
    of: str
    version: str
    by: str
    pictures: Path | None = None


@dataclass(frozen=True)
class BuiltModel:
    """A build that is registered now.

    Attributes:
        manifest: its manifest.
        built_before: it was registered already; nothing was done.
    """

    manifest: ModelManifest
    built_before: bool = False


def build_int8(registry: Registry, request: BuildRequest, *, say: Callable[[str], None] = lambda _: None) -> BuiltModel:
    """Quantise a version and register the result. Again for the same version it changes nothing.

    Args:
        registry: where both lie.
        request: what, from what.
        say: told what is being done.

    Raises:
        BadInputError: no pictures, or the version is a build itself.
        IntegrityError: the new version is taken by another model.
        ObjectNotFoundError: no such version.
        UserError: NNCF is not installed, or cannot quantise the file.
    """
    check_version(request.version)
    source = f"{request.name}/{request.of}"
    before = _registered(registry, request, source)
    if before is not None:
        return BuiltModel(before, built_before=True)
    origin = registry.read_manifest(request.name, request.of, signed=False).manifest
    if origin.built is not None:
        raise BadInputError(f"{source} is a build of {origin.built.of}; build from that")
    for package in ("nncf", "onnx"):
        if find_spec(package) is None:
            raise UserError(missing_package(package, "train"))
    pictures = _pictures(registry, origin, request.pictures)
    bundle = registry.read_bundle(request.name, request.of, signed=False, only=list(origin.files))
    say(f"measuring {source} on {len(pictures)} pictures, and rounding it to int8")
    with tempfile.TemporaryDirectory(prefix="yolo-assets-build-") as folder:
        onnx = _quantised(bundle.files[ONNX], origin, pictures, Path(folder))
    build = ModelBuild(
        of=source,
        precision="int8",
        tool=f"nncf {installed_version('nncf')}",
        pictures=len(pictures),
        by=request.by,
        at=utc_now(),
    )
    files = {**bundle.files, ONNX: onnx}
    manifest = origin.model_copy(
        update={
            "version": request.version,
            "files": {name: FileEntry.of(data) for name, data in files.items()},
            "parent_version": source,
            "training_fingerprint": None,
            "imported": None,
            "built": build,
            "metrics": {},
            "created_at": build.at,
        }
    )
    manifest = manifest.model_copy(update={"golden_frames": _golden_frames(manifest, files)})
    registry.write_bundle(manifest, files)
    return BuiltModel(manifest)


def _registered(registry: Registry, request: BuildRequest, source: str) -> ModelManifest | None:
    """The manifest that lies under the version already, if it is a build of the same one."""
    try:
        manifest = registry.read_manifest(request.name, request.version, signed=False).manifest
    except ObjectNotFoundError:
        return None
    if manifest.built is None or manifest.built.of != source:
        raise IntegrityError(
            f"{manifest.model_version} is registered, and is no build of {source}; a version never changes, give "
            "another --version"
        )
    return manifest


def _pictures(registry: Registry, origin: ModelManifest, folder: Path | None) -> Sequence[tuple[str, bytes]]:
    """Name and bytes of the calibration pictures."""
    if folder is not None:
        return [(picture.name, picture.data) for picture in read_pictures(folder, most=MOST_PICTURES)]
    if origin.dataset_sha256 is None:
        raise BadInputError(
            f"{origin.model_version} knows no dataset; give pictures of the line with --calibration DIR"
        )
    try:
        dataset = read_dataset(registry.store, origin.dataset_sha256)
        items = sorted(dataset.items("train"), key=lambda item: item.sha256)[:MOST_PICTURES]
        keys = [dataset_image_key(item.sha256, item.image_path) for item in items]
        return [(Path(key).name, registry.store.get(key)) for key in keys]
    except ObjectNotFoundError as error:
        raise BadInputError(f"{error}; give pictures of the line with --calibration DIR") from None


def _quantised(onnx: bytes, manifest: ModelManifest, pictures: Sequence[tuple[str, bytes]], work: Path) -> bytes:
    (work / ONNX).write_bytes(onnx)
    paths: list[str] = []
    for number, (name, data) in enumerate(pictures):
        path = work / f"{number:03d}{Path(name).suffix}"
        path.write_bytes(data)
        paths.append(str(path))
    out = work / "int8.onnx"
    job = QuantizeJob(
        onnx=str(work / ONNX),
        pictures=tuple(paths),
        input_size=manifest.input_shape[2:],
        out=str(out),
        work=str(work),
    )
    run_child("quantize", job, work, nice=0)
    return out.read_bytes()


def _golden_frames(manifest: ModelManifest, files: Mapping[str, bytes]) -> tuple[GoldenFrame, ...]:
    """The golden frames of the version that it was built from, with what the build finds in them."""
    model = Model.load(manifest, files, engine="openvino")
    try:
        return tuple(
            GoldenFrame(
                file=frame.file, detections=golden_detections(model, decode_image(files[frame.file], frame.file))
            )
            for frame in manifest.golden_frames
        )
    finally:
        model.close()
