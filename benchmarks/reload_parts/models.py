"""Models and pictures whose answers prove who looked at what.

A model is YOLO11n as Ultralytics exports it (untrained: speed does not depend on the weights) with a small detector of
bright blobs joined to its output, so that the answers depend on the picture. Version ``n`` scales the blobs' confidence
by its own factor inside the ONNX file: a result shows which weights ran, whatever label it carries.
"""

from __future__ import annotations

import hashlib
from contextlib import chdir
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from yolo_assets.contracts.model import ONNX, FileEntry, GoldenFrame, ModelManifest, Thresholds
from yolo_assets.simulator.weld_line import LineConfig, WeldLine
from yolo_assets.training.environment import load_ultralytics, quiet_environment
from yolo_assets.vision.golden import golden_detections
from yolo_assets.vision.model import Model
from yolo_assets_tests.support.tiny_model import CLASS_NAMES, tiny_onnx

NAME = "line"
BUILT_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
STEP = 0.08
"""By how much the confidence of one version lies below that of the one before."""

Fault = Literal["none", "nan", "wrong_classes"]


@dataclass(frozen=True)
class Seen:
    """What one version finds in one picture: ``boxes`` is ``[n, 4]`` in pixels, ``confidence`` ``[n]``, by x."""

    boxes: NDArray[np.float32]
    confidence: NDArray[np.float32]

    @classmethod
    def of(cls, found: list[tuple[tuple[float, ...], float]]) -> Seen:
        """From pairs of box and confidence, in any order."""
        ordered = sorted(found)
        return cls(
            np.array([box for box, _ in ordered], np.float32).reshape(-1, 4),
            np.array([confidence for _, confidence in ordered], np.float32),
        )

    def boxes_far_from(self, other: Seen) -> bool:
        """Whether they cannot be the same picture's: another number of boxes, or one moved by more than 6 pixels."""
        if self.boxes.shape != other.boxes.shape:
            return True
        return bool(self.boxes.size) and float(np.abs(self.boxes - other.boxes).max()) > 6.0


def network(size: int, folder: Path) -> onnx.ModelProto:
    """YOLO11n, untrained, with four classes, as Ultralytics exports it for ``size`` x ``size`` pixels."""
    quiet_environment(folder / "ultralytics", threads=2)
    load_ultralytics()
    import yaml
    from ultralytics import YOLO
    from ultralytics.utils import ROOT

    plan = yaml.safe_load((Path(ROOT) / "cfg" / "models" / "11" / "yolo11.yaml").read_text())
    file = folder / "yolo11n.yaml"
    file.write_text(yaml.safe_dump({**plan, "nc": len(CLASS_NAMES), "scale": "n"}))
    with chdir(folder):  # a model made of a plan is exported beside the current folder
        exported = YOLO(str(file), task="detect").export(
            format="onnx", imgsz=size, batch=1, dynamic=False, simplify=False, opset=17, device="cpu", verbose=False
        )
        model = onnx.load(str(exported), load_external_data=False)
    del model.metadata_props[:]
    return model


def onnx_of(base: onnx.ModelProto, version: str, factor: float, fault: Fault = "none") -> bytes:
    """The network with the blob detector joined; ``factor`` scales the blobs' confidence."""
    model = onnx.ModelProto()
    model.CopyFrom(base)
    graph = model.graph
    source, output = graph.input[0], graph.output[0]
    size = source.type.tensor_type.shape.dim[2].dim_value
    inner = output.type.tensor_type.shape.dim[2].dim_value
    blobs = onnx.compose.add_prefix(tiny_onnx(CLASS_NAMES, size, size), "blobs/", rename_inputs=False)
    rows = 4 + len(CLASS_NAMES)

    def column(name: str, scores: float) -> str:
        values = np.full((1, rows, 1), scores, np.float32)
        values[:, :4] = 1.0
        graph.initializer.append(numpy_helper.from_array(values, name))
        return name

    for node in blobs.graph.node:
        for index, name in enumerate(node.input):
            if name.removeprefix("blobs/") == "images":
                node.input[index] = source.name
    graph.node.extend(blobs.graph.node)
    graph.initializer.extend(blobs.graph.initializer)
    # Scores of untrained weights are noise: scaled down to below any threshold, but computed and carried along.
    graph.node.append(helper.make_node("Mul", [output.name, column("hush", 1e-3)], ["network"]))
    graph.node.append(helper.make_node("Mul", [blobs.graph.output[0].name, column("mark", factor)], ["marked"]))
    graph.node.append(helper.make_node("Concat", ["network", "marked"], ["joined"], axis=2))
    last = "joined"
    if fault == "nan":
        # The logarithm of a negative number that depends on the input, so that no engine folds it away.
        graph.initializer.append(numpy_helper.from_array(np.array(1, np.float32), "a_one"))
        for kind, inputs, out in (("Abs", [last], "p"), ("Add", ["p", "a_one"], "q"), ("Neg", ["q"], "r")):
            graph.node.append(helper.make_node(kind, inputs, [out]))
        graph.node.append(helper.make_node("Log", ["r"], ["not_a_number"]))
        last = "not_a_number"
    shape = [1, rows, inner + (size // 8) ** 2]
    graph.node.append(helper.make_node("Identity", [last], ["boxes"]))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("boxes", onnx.TensorProto.FLOAT, shape))
    names = dict(enumerate(classes_of(fault)))
    for key, value in {
        "names": repr(names),
        "stride": "32",
        "task": "detect",
        "end2end": "False",
        "v": version,
    }.items():
        model.metadata_props.add(key=key, value=value)
    return model.SerializeToString(deterministic=True)


def classes_of(fault: Fault) -> tuple[str, ...]:
    """The class names that a version declares."""
    return tuple(reversed(CLASS_NAMES)) if fault == "wrong_classes" else CLASS_NAMES


def bundle(
    base: onnx.ModelProto, version: str, number: int, pictures: list[bytes], fault: Fault = "none"
) -> tuple[ModelManifest, dict[str, bytes]]:
    """A bundle as training writes it, with golden frames; ``number`` decides the confidence factor."""
    data = onnx_of(base, version, factor_of(number), fault)
    size = base.graph.input[0].type.tensor_type.shape.dim[2].dim_value
    files = {ONNX: data, **{f"golden/{index}.jpg": picture for index, picture in enumerate(pictures[:2])}}
    manifest = ModelManifest(
        name=NAME,
        version=version,
        files={
            key: FileEntry(sha256=hashlib.sha256(value).hexdigest(), size=len(value)) for key, value in files.items()
        },
        class_names=classes_of(fault),
        input_shape=(1, 3, size, size),
        output_layout="raw",
        stride=32,
        thresholds=Thresholds(confidence=0.25, iou=0.5),
        created_at=BUILT_AT,
    )
    if fault != "none":  # never gets as far as its golden frames; listed so that it is refused for its own fault
        golden = tuple(GoldenFrame(file=f"golden/{index}.jpg", detections=()) for index in range(2))
        return manifest.model_copy(update={"golden_frames": golden}), files
    model = Model.load(manifest, files, engine="onnxruntime", threads=2)
    golden = tuple(
        GoldenFrame(file=f"golden/{index}.jpg", detections=golden_detections(model, decoded(picture)))
        for index, picture in enumerate(pictures[:2])
    )
    model.close()
    return manifest.model_copy(update={"golden_frames": golden}), files


def factor_of(number: int) -> float:
    """The confidence factor of version ``number``: 1, 0.92, 0.84, 0.76."""
    return 1.0 - STEP * number


def decoded(jpeg: bytes) -> NDArray[np.uint8]:
    """BGR ``[h, w, 3]``."""
    return np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), np.uint8)


def pictures(camera: int, count: int) -> list[bytes]:
    """JPEGs of one camera: the simulated factory line (noise, vignette, motion), dark, six bright marks on it."""
    line = WeldLine(LineConfig(seed=7, cameras=4, width=640, height=512))
    chance = np.random.default_rng(camera)
    made: list[bytes] = []
    for number in range(count):
        image = line.draw(line_camera(camera), BUILT_AT + timedelta(seconds=3 * number)).image
        image = cv2.convertScaleAbs(image, alpha=0.5)  # the detector takes what is brighter than 0.6 for a mark
        for place in range(6):
            width, height = (int(v) for v in chance.integers(12, 19, 2))
            x, y = 20 + place * 102 + int(chance.integers(0, 30)), int(chance.integers(40, 420))
            colour = ((0, 0, 255), (0, 255, 0), (255, 0, 0))[int(chance.integers(3))]
            cv2.rectangle(image, (x - 14, y - 14), (x + width + 14, y + height + 14), (30, 30, 30), -1)
            cv2.rectangle(image, (x, y), (x + width, y + height), colour, -1)
        made.append(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes())
    return made


def line_camera(camera: int) -> str:
    """The name that the simulated line gives its camera number ``camera``, counted from 0."""
    return f"lineA_cam{camera + 1:02d}"


def answers(manifest: ModelManifest, files: dict[str, bytes], shown: list[list[bytes]]) -> list[list[Seen]]:
    """What a version finds in every picture of every camera; by ONNX Runtime, whatever is measured."""
    model = Model.load(manifest, files, engine="onnxruntime", threads=2)
    found: list[list[Seen]] = []
    for camera in shown:
        row: list[Seen] = []
        for picture in camera:
            boxes = model.predict(decoded(picture))
            pairs = zip(map(tuple, boxes.xyxy.tolist()), boxes.confidence.tolist(), strict=True)
            row.append(Seen.of(list(pairs)))
        found.append(row)
    model.close()
    return found
