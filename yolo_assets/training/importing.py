"""Brings a model that was trained elsewhere into the registry: the entry point of ``yolo-assets models import``.

Nothing that the file says is believed: its shapes decide, a trial run on the plant's own pictures shows what it finds,
and where Ultralytics is installed its own prediction must be the same. Does not belong here: what a file must look like
(``models.foreign_file``), the bundle (``models.imported_bundle``), a verdict (``labelled_pictures`` and
``models.gate``).
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from yolo_assets.classes.stored import read_class_list
from yolo_assets.contracts.errors import BadInputError, IntegrityError
from yolo_assets.contracts.model import (
    ONNX,
    WEIGHTS,
    DisplayName,
    GoldenDetection,
    ModelImport,
    ModelManifest,
    Thresholds,
)
from yolo_assets.contracts.names import check_id, check_version
from yolo_assets.contracts.times import utc_now
from yolo_assets.models.foreign_file import ForeignFile, installed_engines, read_foreign
from yolo_assets.models.imported_bundle import ImportedBundle, TrialPicture, make_bundle, read_pictures
from yolo_assets.models.registry import Registry
from yolo_assets.storage.base import ObjectNotFoundError
from yolo_assets.training.job_process import run_child
from yolo_assets.training.jobs import ConvertJob, ReferenceJob, ReferenceResult
from yolo_assets.vision.detections import Detections
from yolo_assets.vision.golden import box_problems

ENDINGS = (".onnx", ".pt")
_EXCUSED = 0.02
"""Share of the boxes that may differ from Ultralytics' own: of two boxes that tie, each engine keeps one."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class ImportRequest:
    """What is to be imported.

    Attributes:
        file: an ONNX file or a checkpoint.
        name: of the model.
        version: of the model.
        pictures: folder with pictures of the line.
        by: who brings it.
        class_names: in the order of their ids; None takes those that the file names.
        display_names: by class name what people call it.
        confidence: above which the edge reports; None: the usual one.
        note: for the manifest.
        compare: also run Ultralytics, where it is installed.
    """

    file: Path
    name: str
    version: str
    pictures: Path
    by: str
    class_names: Sequence[str] | None = None
    display_names: Mapping[str, DisplayName] = field(default_factory=dict[str, DisplayName])
    confidence: float | None = None
    note: str = ""
    compare: bool = True


@dataclass(frozen=True)
class Comparison:
    """The trial run against Ultralytics' own prediction.

    Attributes:
        version: of Ultralytics.
        boxes: that Ultralytics found.
        problems: where the two differ, one line each.
    """

    version: str
    boxes: int
    problems: tuple[str, ...]


@dataclass(frozen=True)
class ImportedModel:
    """A version that is registered now.

    Attributes:
        manifest: its manifest.
        pictures: how many the trial run looked at; 0 when it was registered before.
        boxes: how many boxes it found.
        engine: that ran it.
        comparison: None where Ultralytics was not run.
        warnings: what a person should know.
        imported_before: the same file lies under this version already; nothing was done.
    """

    manifest: ModelManifest
    pictures: int = 0
    boxes: int = 0
    engine: str = ""
    comparison: Comparison | None = None
    warnings: tuple[str, ...] = ()
    imported_before: bool = False


def import_model(registry: Registry, request: ImportRequest, *, say: Say = lambda _: None) -> ImportedModel:
    """Register a model that was trained elsewhere. Again with the same file it changes nothing.

    Args:
        registry: where it goes.
        request: what, and from where.
        say: told what is being done.

    Raises:
        BadInputError: no detector that agents can run, or no pictures; the message says what to do.
        IntegrityError: the version is taken by another model.
        UserError: no engine is installed, or the checkpoint cannot be read here.
    """
    check_id(request.name, "model name")
    check_version(request.version)
    data = _read(request.file)
    origin = ModelImport(
        source_sha256=hashlib.sha256(data).hexdigest(),
        file=request.file.name,
        by=request.by,
        at=utc_now(),
        note=request.note,
    )
    before = _registered(registry, request, origin)
    if before is not None:
        kept = request.display_names and dict(request.display_names) != before.display_names
        stays = (f"the display names of {before.model_version} stay as they are; bring it as a new --version",)
        return ImportedModel(before, imported_before=True, warnings=stays if kept else ())
    pictures = read_pictures(request.pictures)
    with tempfile.TemporaryDirectory(prefix="yolo-assets-import-") as folder:
        work = Path(folder)
        brought = _brought(request, data, work, say)
        strange = sorted(set(request.display_names).difference(brought.foreign.class_names))
        if strange:
            there = ", ".join(brought.foreign.class_names)
            raise BadInputError(f"display_names: the model has no class {strange[0]}; it has {there}")
        say(f"running the model on {len(pictures)} pictures")
        bundle, comparison, warnings = _tried(request, origin, brought, pictures, work, say)
    manifest = _under_the_class_list(registry, bundle.manifest)
    registry.write_bundle(manifest, bundle.files)
    return ImportedModel(manifest, len(pictures), bundle.boxes, bundle.engine, comparison, warnings)


def _under_the_class_list(registry: Registry, manifest: ModelManifest) -> ModelManifest:
    """The manifest with the plant's class list, where its classes are how that list begins, and all of them in use.

    A file with other classes is another model's; the gate says so when it is to replace one that names the list.
    """
    listed = read_class_list(registry.store)
    ids = tuple(range(len(manifest.class_names)))
    if (
        listed is None
        or tuple(map(listed.id_of, manifest.class_names)) != ids
        or listed.current_ids()[: len(ids)] != ids
    ):
        return manifest
    return manifest.model_copy(
        update={"class_list": listed, "display_names": {**listed.display_names, **manifest.display_names}}
    )


def _read(path: Path) -> bytes:
    if path.suffix.lower() not in ENDINGS:
        raise BadInputError(
            f"{path} is neither .onnx nor .pt; give the checkpoint, or export it: yolo export model=best.pt format=onnx"
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInputError(f"cannot read {path}: {error.strerror}") from None


def _registered(registry: Registry, request: ImportRequest, origin: ModelImport) -> ModelManifest | None:
    """The manifest that lies under the version already, if it is of the same file."""
    try:
        manifest = registry.read_manifest(request.name, request.version, signed=False).manifest
    except ObjectNotFoundError:
        return None
    if manifest.imported is None or manifest.imported.source_sha256 != origin.source_sha256:
        raise IntegrityError(
            f"{manifest.model_version} is registered with another file, and a version never changes; "
            "give a new --version"
        )
    return manifest


@dataclass(frozen=True)
class _Brought:
    """What came: a file that agents take, and what else belongs into the bundle."""

    foreign: ForeignFile
    further: Mapping[str, bytes]


def _brought(request: ImportRequest, data: bytes, work: Path, say: Say) -> _Brought:
    if request.file.suffix.lower() != ".pt":
        return _Brought(read_foreign(data, request.class_names), {})
    say("exporting the checkpoint, in a process that runs no code of it")
    return _Brought(read_foreign(_converted(request.file, work), request.class_names), {WEIGHTS: data})


def _tried(
    request: ImportRequest,
    origin: ModelImport,
    brought: _Brought,
    pictures: Sequence[TrialPicture],
    work: Path,
    say: Say,
) -> tuple[ImportedBundle, Comparison | None, tuple[str, ...]]:
    """The bundle by the first engine that finds what Ultralytics finds, or by the first where that is not run."""
    engines = installed_engines()
    compare = request.compare and find_spec("ultralytics") is not None and find_spec("onnxruntime") is not None
    warnings: list[str] = []
    if request.compare and not compare:
        warnings.append("not compared with Ultralytics' own prediction: it is not installed here")
    first: BadInputError | None = None
    while True:
        bundle = make_bundle(
            brought.foreign,
            origin.model_copy(update={"changes": brought.foreign.changes}),
            name=request.name,
            version=request.version,
            pictures=pictures,
            thresholds=Thresholds() if request.confidence is None else Thresholds(confidence=request.confidence),
            further=brought.further,
            display_names=request.display_names,
            engines=engines,
        )
        if not bundle.boxes:
            warnings.append(_nothing_found(bundle))
        if not compare:
            return bundle, None, tuple(warnings)
        say(f"comparing {bundle.engine} with Ultralytics' own prediction")
        try:
            return bundle, _compare(bundle, work), tuple(warnings)
        except BadInputError as error:
            engines = engines[engines.index(bundle.engine) + 1 :]
            first = first or error
            if not engines:
                raise first from None
            warnings.append(f"{first}; set engine.kind: {engines[0]} on the devices that run it")


def _converted(checkpoint: Path, work: Path) -> bytes:
    for package in ("ultralytics", "onnx"):
        if find_spec(package) is None:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    out = work / "converted.onnx"
    run_child("convert", ConvertJob(weights=str(checkpoint.absolute()), out=str(out), work=str(work)), work, nice=0)
    return out.read_bytes()


def _compare(bundle: ImportedBundle, work: Path) -> Comparison:
    """Run Ultralytics on the file of the bundle and on every picture of the trial run.

    Raises:
        BadInputError: it finds other boxes.
    """
    manifest = bundle.manifest
    onnx = work / ONNX
    onnx.write_bytes(bundle.files[ONNX])
    paths: list[str] = []
    for number, picture in enumerate(bundle.trial):
        path = work / f"{number:03d}{Path(picture.name).suffix}"
        path.write_bytes(picture.data)
        paths.append(str(path))
    out = work / "reference.json"
    job = ReferenceJob(
        onnx=str(onnx),
        pictures=tuple(paths),
        input_size=manifest.input_shape[2:],
        thresholds=manifest.thresholds,
        out=str(out),
        work=str(work),
    )
    run_child("reference", job, work, nice=0)
    result = ReferenceResult.from_json(out.read_bytes(), str(out))
    boxes = sum(map(len, result.boxes))
    limits = manifest.thresholds.of(manifest.class_names)
    problems = [
        f"{picture.name}: {problem}"
        for picture, wanted in zip(bundle.trial, result.boxes, strict=True)
        for problem in box_problems(wanted, _detections(picture.found), manifest.class_names, limits)
    ]
    if len(problems) > max(1, _EXCUSED * boxes):
        raise BadInputError(
            f"{bundle.engine} finds other boxes in it than Ultralytics {result.version} does, {len(problems)} of "
            f"{boxes}: {problems[0]}"
        )
    return Comparison(result.version, boxes, tuple(problems))


def _detections(found: Sequence[GoldenDetection]) -> Detections:
    return Detections.of([d.bbox for d in found], [d.class_id for d in found], [d.confidence for d in found])


def _nothing_found(bundle: ImportedBundle) -> str:
    threshold = bundle.manifest.thresholds.confidence
    return (
        f"the model found nothing above {threshold:g} in {len(bundle.trial)} pictures: golden frames without boxes "
        f"prove little. Give pictures that show {', '.join(bundle.manifest.class_names[:3])}, or a lower --confidence"
    )
