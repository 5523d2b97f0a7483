"""The bundle of a model that was brought: a trial run on pictures of the plant, golden frames from it, the manifest.

Belongs here: choosing golden frames, and what the trial run shows. Does not belong here: reading the file
(``foreign_file``), checkpoints and Ultralytics (``training``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from yolo_assets.contracts.errors import BadInputError, UserError, missing_package
from yolo_assets.contracts.model import (
    ONNX,
    DisplayName,
    FileEntry,
    GoldenDetection,
    GoldenFrame,
    ModelImport,
    ModelManifest,
    Thresholds,
)
from yolo_assets.contracts.names import FRAME_ENDINGS, is_frame
from yolo_assets.models.foreign_file import ForeignFile
from yolo_assets.vision.engines.interface import EngineName, EngineSetup
from yolo_assets.vision.golden import box_problems, golden_detections
from yolo_assets.vision.model import Model
from yolo_assets.vision.picture_head import read_head
from yolo_assets.vision.pictures import check_file_size, decode_image

MOST_PICTURES = 64
"""Pictures of a folder that the trial run looks at: those that come first by name."""

GOLDEN_FRAMES = 6


@dataclass(frozen=True)
class TrialPicture:
    """A picture of the trial run and what the model found in it.

    Attributes:
        name: of the file.
        data: its bytes.
        found: boxes with an area, at the operating point.
    """

    name: str
    data: bytes
    found: tuple[GoldenDetection, ...] = ()


@dataclass(frozen=True)
class ImportedBundle:
    """What ``Registry.write_bundle`` takes, and the trial run that it rests on.

    Attributes:
        manifest: with golden frames.
        files: bytes by name.
        trial: every picture that was looked at.
        engine: that ran it.
    """

    manifest: ModelManifest
    files: Mapping[str, bytes]
    trial: tuple[TrialPicture, ...]
    engine: EngineName

    @property
    def boxes(self) -> int:
        """How many boxes the trial run found."""
        return sum(len(picture.found) for picture in self.trial)


def read_pictures(folder: Path, most: int = MOST_PICTURES) -> list[TrialPicture]:
    """The pictures of a folder, by name, at most ``most``.

    Raises:
        BadInputError: no such folder, no picture in it, or one that cannot be read.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if is_frame(path.name) and path.is_file())
        pictures = list(_read(paths[:most]))
    except OSError as error:
        raise BadInputError(f"cannot read the pictures in {folder}: {error.strerror or error}") from None
    if not pictures:
        endings = " ".join(FRAME_ENDINGS)
        raise BadInputError(f"{folder} holds no picture ({endings}); give a folder with pictures of the line")
    return pictures


def _read(paths: Sequence[Path]) -> Iterator[TrialPicture]:
    for path in paths:
        check_file_size(path.stat().st_size, path.name)
        yield TrialPicture(path.name, path.read_bytes())


def make_bundle(
    foreign: ForeignFile,
    origin: ModelImport,
    *,
    name: str,
    version: str,
    pictures: Sequence[TrialPicture],
    thresholds: Thresholds,
    further: Mapping[str, bytes],
    engines: Sequence[EngineName],
    display_names: Mapping[str, DisplayName] | None = None,
) -> ImportedBundle:
    """Run a file on pictures with the engine of the edge, and make a bundle of it.

    Args:
        foreign: the file.
        origin: for the manifest.
        name: of the model.
        version: of the model.
        pictures: of the trial run.
        thresholds: its operating point.
        further: files of the bundle besides the ONNX file, such as the weights.
        engines: of which the first runs it that can load it; golden frames are pictures in which the others find the
            same.
        display_names: by class name what people call it.

    Raises:
        BadInputError: a picture cannot be unpacked, or the file does not run as its shapes promise.
        UserError: no engine is installed, or none can load the file.
    """
    files = {ONNX: foreign.onnx, **further}
    manifest = ModelManifest(
        name=name,
        version=version,
        files={file: FileEntry.of(data) for file, data in files.items()},
        class_names=foreign.class_names,
        display_names=dict(display_names or {}),
        input_shape=foreign.input_shape,
        output_layout=foreign.layout,
        stride=foreign.stride,
        thresholds=thresholds,
        imported=origin,
        created_at=origin.at,
    )
    model, engine = _load(manifest, files, engines)
    try:
        trial = tuple(
            TrialPicture(p.name, p.data, golden_detections(model, decode_image(p.data, p.name))) for p in pictures
        )
    finally:
        model.close()
    steady = _steady(manifest, files, trial, engines[engines.index(engine) + 1 :])
    frames: list[GoldenFrame] = []
    for number, picture in enumerate(golden_choice(steady or trial)):
        file = f"golden/{number:03d}{read_head(picture.data, picture.name).ending}"
        files[file] = picture.data
        frames.append(GoldenFrame(file=file, detections=picture.found))
    entries = {file: FileEntry.of(data) for file, data in files.items()}
    complete = manifest.model_copy(update={"files": entries, "golden_frames": tuple(frames)})
    return ImportedBundle(complete, files, trial, engine)


def _steady(
    manifest: ModelManifest, files: Mapping[str, bytes], trial: Sequence[TrialPicture], engines: Sequence[EngineName]
) -> list[TrialPicture]:
    """The pictures in which other engines find the same: a device that runs one of those must find it, too."""
    steady = list(trial)
    for engine in engines:
        try:
            model = Model.load(manifest, files, engine=engine, setup=EngineSetup(process=True))
        except UserError:
            continue  # no device can run it there either
        try:
            steady = [picture for picture in steady if not _differs(picture, model)]
        finally:
            model.close()
    return steady


def _differs(picture: TrialPicture, model: Model) -> bool:
    manifest = model.manifest
    try:
        found = model.predict(decode_image(picture.data, picture.name))
    except UserError:
        return True
    return bool(box_problems(picture.found, found, manifest.class_names, manifest.thresholds.of(manifest.class_names)))


def golden_choice(trial: Sequence[TrialPicture]) -> list[TrialPicture]:
    """The pictures that prove most: those with most classes, then most boxes; and one without a box."""
    full = sorted(
        (picture for picture in trial if picture.found),
        key=lambda picture: (-len({box.class_id for box in picture.found}), -len(picture.found), picture.name),
    )
    empty = [picture for picture in trial if not picture.found]
    return [*full[: GOLDEN_FRAMES - bool(empty)], *empty[: 1 if full else GOLDEN_FRAMES]]


def _load(
    manifest: ModelManifest, files: Mapping[str, bytes], engines: Sequence[EngineName]
) -> tuple[Model, EngineName]:
    """The file on the first engine that can, in a process of its own: it may crash what runs it."""
    if not engines:
        raise UserError(f"the model must be run on the pictures, and {missing_package('openvino', 'edge')}")
    problems: list[str] = []
    for engine in engines:
        try:
            return Model.load(manifest, files, engine=engine, setup=EngineSetup(process=True)), engine
        except BadInputError:
            raise
        except UserError as error:
            problems.append(f"{engine}: {error}")
    raise UserError(f"no engine can load the file: {'; '.join(problems)}; export it again")
