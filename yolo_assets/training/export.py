"""From weights to what ships: ONNX with fixed sides, also of a checkpoint that was brought; golden frames, manifest.

A child process, because Ultralytics is in it. What an import makes of a file that was brought: ``importing``.

The golden frames' boxes come from the exported file, run by the edge's own engine: what an agent will check is what
was measured here, not what torch would report.
"""

from __future__ import annotations

import logging
import os
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.model import MANIFEST, ONNX, WEIGHTS, FileEntry, GoldenDetection, GoldenFrame, ModelManifest
from yolo_assets.learning.records import DatasetManifest
from yolo_assets.learning.training_folder import image_path, read_folder
from yolo_assets.runtime.files import write_atomic
from yolo_assets.training.conformal import calibrated
from yolo_assets.training.environment import load_ultralytics, quiet_environment
from yolo_assets.training.jobs import ConvertJob, ExportJob, ReferenceJob, ReferenceResult
from yolo_assets.training.trainer import load_checkpoint
from yolo_assets.vision.contract import layout_of
from yolo_assets.vision.engines.interface import EngineSetup, EngineSpec
from yolo_assets.vision.engines.opening import load_here
from yolo_assets.vision.golden import golden_detections
from yolo_assets.vision.model import Model
from yolo_assets.vision.onnx_file import read_onnx
from yolo_assets.vision.pictures import decode_image

log = logging.getLogger(__name__)
_STRIDE = 32
_DEFAULT_SIDE = 640
OPSET = 17
"""Read by every OpenVINO and ONNX Runtime that is still in use."""

GOLDEN_FRAMES = 4
_MACHINE_KEYS = ("date", "description")
"""Metadata that names the moment and the folder of the export: without it the same weights give the same bytes."""
_FRAMES = 3
"""At once, to prove that a free batch gives what one by one does."""
_TOLERANCE = 1e-3
"""Of the largest output: sums are made in another order."""


def export(job: ExportJob) -> ModelManifest:
    """Export weights and write the bundle folder.

    Raises:
        BadInputError: the weights are no YOLO checkpoint, or the exported file is not what a bundle may hold.
    """
    out = Path(job.out)
    if (out / MANIFEST).is_file():
        return ModelManifest.from_json((out / MANIFEST).read_bytes(), str(out / MANIFEST))
    if out.exists():
        raise UserError(f"{out} exists and is not a bundle; choose another folder")
    dataset = read_folder(Path(job.data))
    partial = out.with_name(f".{out.name}.partial.{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        shutil.copyfile(job.weights, partial / WEIGHTS)
        quiet_environment(out.parent / "config", job.spec.threads)
        (partial / ONNX).write_bytes(onnx_of(partial / WEIGHTS, job.spec.sides))
        manifest = _with_golden(_manifest(job, partial, dataset), partial, Path(job.data), dataset)
        (partial / MANIFEST).write_bytes(manifest.to_json())
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def convert(job: ConvertJob) -> None:
    """Write the ONNX file of a checkpoint, with the sides that it was trained with. No code in it is run.

    Raises:
        BadInputError: no checkpoint of Ultralytics, or one that would run code.
    """
    work = Path(job.work)
    quiet_environment(work / "config", job.threads)
    load_ultralytics()
    weights = work / "brought.pt"
    shutil.copyfile(job.weights, weights)  # the export is written beside it
    saved = load_checkpoint(weights)
    trained: Any = saved.get("train_args") or {}
    side = trained.get("imgsz") if isinstance(trained, dict) else None
    side = side if isinstance(side, int) and side > 0 else _DEFAULT_SIDE
    side = -(-side // _STRIDE) * _STRIDE
    write_atomic(Path(job.out), onnx_of(weights, (side, side)))


def reference(job: ReferenceJob) -> None:
    """Write what Ultralytics' own ``predict`` finds in pictures with an ONNX file.

    Raises:
        UserError: it cannot run the file here.
    """
    quiet_environment(Path(job.work) / "config", job.threads)
    load_ultralytics()
    import torchvision  # noqa: F401  Ultralytics uses its NMS only when it is already imported
    from ultralytics import YOLO

    limits = job.thresholds
    found: list[tuple[GoldenDetection, ...]] = []
    try:
        model: Any = YOLO(job.onnx, task="detect")
        for picture in job.pictures:
            (result,) = model.predict(
                decode_image(Path(picture).read_bytes(), picture),
                imgsz=list(job.input_size),
                rect=False,  # a file with a free batch counts as one with free sides, and would get smaller pictures
                conf=limits.confidence,
                iou=limits.iou,
                max_det=limits.max_detections,
                device="cpu",
                verbose=False,
            )
            found.append(tuple(_box(row) for row in result.boxes.data.cpu().tolist() if _has_area(row)))
    except (ImportError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"Ultralytics cannot run the file: {' '.join(str(error).split())[:300]}") from None
    write_atomic(Path(job.out), ReferenceResult(version=version("ultralytics"), boxes=tuple(found)).to_json())


def onnx_of(weights: Path, sides: tuple[int, int]) -> bytes:
    """The ONNX file of a checkpoint: fixed input sides, a free batch where that works, 32-bit floats, no NMS inside.

    The environment must be quiet by now. The same weights give the same bytes.

    Args:
        weights: a checkpoint of Ultralytics.
        sides: height and width of the input in pixels.
    """
    load_ultralytics()
    import onnx
    from ultralytics import YOLO

    load_checkpoint(weights)
    size = list(sides)
    exported = YOLO(str(weights), task="detect").export(
        format="onnx", imgsz=size, batch=1, dynamic=False, simplify=True, opset=OPSET, device="cpu", verbose=False
    )
    model = onnx.load(str(exported), load_external_data=False)
    Path(exported).unlink()
    lasting = [entry for entry in model.metadata_props if entry.key not in _MACHINE_KEYS]
    del model.metadata_props[:]
    model.metadata_props.extend(lasting)
    return free_batch(model).SerializeToString(deterministic=True)


def free_batch(model: Any) -> Any:
    """The same network with a free batch dimension; the given one where that does not give the same outputs.

    Ultralytics' own ``dynamic=True`` frees height and width, too, and then no output dimension is fixed.

    Some networks carry the batch in other dimensions (YOLO12's area attention): those stay at one frame.

    Args:
        model: an ``onnx.ModelProto`` with one input ``[1, 3, h, w]`` and one output; not changed.

    Returns:
        An ``onnx.ModelProto``.
    """
    import onnx
    from onnx import numpy_helper

    freed = onnx.ModelProto()
    freed.CopyFrom(model)
    graph = freed.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    for number, node in enumerate(graph.node):
        if node.op_type != "Reshape" or node.input[1] not in stored:
            continue
        target = numpy_helper.to_array(stored[node.input[1]])
        if len(target) > 1 and target[0] == 1:
            name = f"{node.input[1]}/free/{number}"
            graph.initializer.append(numpy_helper.from_array(np.concatenate([[0], target[1:]]), name))  # 0: as it comes
            node.input[1] = name
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del graph.value_info[:]  # intermediate shapes, with the batch of one
    problem = _batch_problem(model, freed)
    if problem is not None:
        log.warning("the model is exported for one frame at a time: %s", problem)
        return model
    return freed


def _manifest(job: ExportJob, folder: Path, dataset: DatasetManifest) -> ModelManifest:
    declared = read_onnx((folder / ONNX).read_bytes())
    (shape,) = declared.inputs.values()
    if len(shape) != 4 or None in shape[1:]:
        raise BadInputError(f"the exported input has shape {shape}; a bundle needs fixed channels, height and width")
    if declared.class_names != dataset.class_names:
        raise BadInputError(f"the export has classes {declared.class_names}, the dataset has {dataset.class_names}")
    _, c, h, w = (int(size or 0) for size in shape)
    return ModelManifest(
        name=job.spec.name,
        version=job.version,
        files={name: FileEntry.of((folder / name).read_bytes()) for name in (ONNX, WEIGHTS)},
        class_names=dataset.class_names,
        class_list=dataset.class_list,
        display_names=dataset.class_list.display_names if dataset.class_list is not None else {},
        input_shape=(1, c, h, w),
        output_layout=layout_of(declared, len(dataset.class_names)) or "raw",
        stride=int(declared.metadata["stride"]),
        thresholds=job.spec.thresholds,
        dataset_sha256=job.dataset_sha256,
        parent_version=job.spec.parent,
        training_fingerprint=job.fingerprint,
        metrics={f"val/{key.removeprefix('metrics/')}": round(value, 6) for key, value in job.metrics.items()},
        created_at=job.created_at,
    )


def _with_golden(manifest: ModelManifest, folder: Path, data: Path, dataset: DatasetManifest) -> ModelManifest:
    """Add golden frames: the val images that show most classes, and a background, where there is one."""
    model = Model.load(manifest, {ONNX: (folder / ONNX).read_bytes()}, engine="openvino", threads=1)
    try:
        items = [item for item in dataset.items if item.split == "val"]
        if manifest.thresholds.miss_rate:
            wanted = manifest.thresholds.miss_rate
            manifest = manifest.model_copy(update={"thresholds": calibrated(model, data, items, manifest.thresholds)})
            if missing := sorted(set(wanted) - set(manifest.thresholds.miss_rate)):
                log.warning("the miss rate of %s cannot be promised; label more of it for val", ", ".join(missing))
            model.manifest = manifest
        full = sorted((i for i in items if i.boxes), key=lambda i: (-len({b.class_name for b in i.boxes}), i.sha256))
        empty = sorted((item for item in items if not item.boxes), key=lambda item: item.sha256)
        chosen = [*full[: GOLDEN_FRAMES - bool(empty)], *empty[:1]]
        (folder / "golden").mkdir()
        frames: list[GoldenFrame] = []
        entries = dict(manifest.files)
        for number, item in enumerate(chosen):
            image = image_path(data, item)
            name = f"golden/{number:03d}{image.suffix}"
            shutil.copyfile(image, folder / name)
            detections = golden_detections(model, decode_image((folder / name).read_bytes(), name))
            frames.append(GoldenFrame(file=name, detections=detections))
            entries[name] = FileEntry.of((folder / name).read_bytes())
    finally:
        model.close()
    return manifest.model_copy(update={"files": entries, "golden_frames": tuple(frames)})


def _batch_problem(model: Any, freed: Any) -> str | None:
    """Why several frames at once are not what they are one by one; None when they are."""
    sizes = [int(size.dim_value) for size in model.graph.input[0].type.tensor_type.shape.dim]
    shape = (1, *sizes[1:])
    frames = np.random.default_rng(0).random((_FRAMES, *shape[1:]), np.float32)
    spec = EngineSpec("openvino")
    try:
        one = load_here(model.SerializeToString(), shape, spec, EngineSetup())
        expected = np.concatenate([one.infer(frames[at : at + 1]) for at in range(_FRAMES)])
        many = load_here(freed.SerializeToString(), shape, spec, EngineSetup(batch=_FRAMES))
        found = many.infer(frames)
    except UserError as error:
        return str(error)
    if found.shape != expected.shape:
        return f"{_FRAMES} frames give {list(found.shape)}"
    apart = float(np.abs(found - expected).max())
    if apart > _TOLERANCE * float(np.abs(expected).max()):
        return f"frames differ by {apart:g} from what they are one by one"
    return None


def _has_area(row: list[float]) -> bool:
    return row[2] > row[0] and row[3] > row[1]


def _box(row: list[float]) -> GoldenDetection:
    x1, y1, x2, y2, confidence, class_id = row
    return GoldenDetection(bbox=(x1, y1, x2, y2), class_id=int(class_id), confidence=min(max(confidence, 0.0), 1.0))
