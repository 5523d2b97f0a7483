"""A small real model, built by hand as ONNX: finds bright coloured blobs and says where they are and of which colour.

It has the raw YOLO layout (``[1, 4 + classes, anchors]``, cxcywh in input pixels, NMS outside), is deterministic,
needs no torch, loads in milliseconds on both engines, and its boxes are computed from the picture: centre and size of
a blob are its first and second moments in a window around each anchor. Variants are broken in one known way each.

    manifest, files = tiny_bundle_files(version="2", variant="nan")
    bgr, truth = blob_frame(seed=1)

Classes by colour: crack red, porosity green, spatter blue, undercut yellow.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from functools import cache
from typing import Any, Literal

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from yolo_assets.contracts.model import ONNX, FileEntry, GoldenDetection, GoldenFrame, ModelManifest, Thresholds
from yolo_assets.vision.golden import golden_detections
from yolo_assets.vision.model import Model

CLASS_NAMES = ("crack", "porosity", "spatter", "undercut")
COLOURS_RGB = {
    "crack": (1.0, 0.0, 0.0),
    "porosity": (0.0, 1.0, 0.0),
    "spatter": (0.0, 0.0, 1.0),
    "undercut": (0.75, 0.75, 0.0),
    "dent": (0.75, 0.0, 0.75),  # in no frame of ``blob_frame``
}
STRIDE, WINDOW = 8, 24
BUILT_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

Variant = Literal[
    "good",
    "slow",  # right, but takes some 50 to 200 ms a frame
    "nan",  # loads, but every output is NaN
    "blind",  # loads and runs, but never finds anything: fails its golden frames
    "wrong_input_shape",  # the file takes twice the height its manifest says
    "wrong_output_shape",  # the file has one class more than its manifest says
    "wrong_names",  # the file's own class names are in another order than its manifest's
    "external_data",  # a weight points at a file outside
    "garbage",  # not ONNX at all
]


def tiny_bundle_files(
    name: str = "weld",
    version: str = "1",
    *,
    class_names: tuple[str, ...] = CLASS_NAMES,
    variant: Variant = "good",
    height: int = 96,
    width: int = 128,
    parent_version: str | None = None,
    free_batch: bool = False,
) -> tuple[ModelManifest, dict[str, bytes]]:
    """A bundle as training writes it: the manifest, and the bytes of every file it lists.

    Args:
        name: of the model.
        version: of the model; goes into the file too, so that two versions never have the same bytes.
        class_names: a permutation or a part of ``CLASS_NAMES``; the outputs follow it.
        variant: what is wrong with it.
        height: of the input, a multiple of 8.
        width: of the input, a multiple of 8.
        parent_version: goes into the manifest.
        free_batch: the file takes several frames at once.

    Returns:
        Manifest; ``model.onnx`` and two golden frames, ``golden/0.png`` and ``golden/1.png``, with the boxes that the
        good model finds in them.
    """
    pictures = {f"golden/{seed}.png": _png(seed, height, width) for seed in (0, 1)}
    files = {ONNX: _variant_bytes(version, class_names, variant, height, width, free_batch), **pictures}
    manifest = ModelManifest(
        name=name,
        version=version,
        files={key: FileEntry(sha256=hashlib.sha256(data).hexdigest(), size=len(data)) for key, data in files.items()},
        class_names=class_names,
        input_shape=(1, 3, height, width),
        output_layout="raw",
        stride=STRIDE,
        thresholds=Thresholds(confidence=0.25, iou=0.5),
        parent_version=parent_version,
        golden_frames=tuple(
            GoldenFrame(file=key, detections=boxes)
            for key, boxes in zip(pictures, _golden(class_names, height, width), strict=True)
        ),
        created_at=BUILT_AT,
    )
    return manifest, files


def blob_frame(
    seed: int, height: int = 240, width: int = 320, blobs: int = 4
) -> tuple[NDArray[np.uint8], list[tuple[str, tuple[int, int, int, int]]]]:
    """A dark, noisy frame with coloured blobs, one in each of ``blobs`` columns, so that none touch.

    Returns:
        BGR uint8 ``[height, width, 3]``; for each blob its class and its ``(x1, y1, x2, y2)``.
    """
    random = np.random.default_rng(seed)
    frame = random.integers(36, 44, (height, width, 3), dtype=np.uint8)
    truth: list[tuple[str, tuple[int, int, int, int]]] = []
    column = width / blobs
    for index in range(blobs):
        size_x, size_y = (int(random.uniform(0.25, 0.4) * column) for _ in range(2))
        x = int(index * column + random.uniform(0.15, 0.45) * column)
        y = int(random.uniform(0.1, 0.8) * (height - size_y))
        name = CLASS_NAMES[int(random.integers(len(CLASS_NAMES)))]
        red, green, blue = (int(40 + 215 * part) for part in COLOURS_RGB[name])
        frame[y : y + size_y, x : x + size_x] = (blue, green, red)
        truth.append((name, (x, y, x + size_x, y + size_y)))
    return frame, truth


@cache
def _golden(class_names: tuple[str, ...], height: int, width: int) -> tuple[tuple[GoldenDetection, ...], ...]:
    """What the good model finds in the golden frames, computed by the engine the tests do not default to."""
    onnx_bytes = _variant_bytes("golden", class_names, "good", height, width)
    manifest = ModelManifest(
        name="golden",
        version="golden",
        files={ONNX: FileEntry(sha256=hashlib.sha256(onnx_bytes).hexdigest(), size=len(onnx_bytes))},
        class_names=class_names,
        input_shape=(1, 3, height, width),
        output_layout="raw",
        stride=STRIDE,
        thresholds=Thresholds(confidence=0.25, iou=0.5),
        created_at=BUILT_AT,
    )
    model = Model.load(manifest, {ONNX: onnx_bytes}, engine="onnxruntime")
    found = tuple(golden_detections(model, blob_frame(seed, 2 * height, 2 * width)[0]) for seed in (0, 1))
    model.close()
    if not all(found):
        raise AssertionError("the tiny model finds nothing in its golden frames; they would prove nothing")
    return found


@cache
def _png(seed: int, height: int, width: int) -> bytes:
    return cv2.imencode(".png", blob_frame(seed, 2 * height, 2 * width)[0])[1].tobytes()


@cache
def _variant_bytes(
    version: str, class_names: tuple[str, ...], variant: Variant, height: int, width: int, free_batch: bool = False
) -> bytes:
    if variant == "garbage":
        return b"this is not an ONNX file: " + version.encode()
    if variant == "wrong_input_shape":
        height *= 2
    written = tuple(reversed(class_names)) if variant == "wrong_names" else class_names
    model = tiny_onnx(class_names, height, width, variant=variant, free_batch=free_batch)
    for key, value in {
        "names": repr(dict(enumerate(written))),
        "stride": str(STRIDE),
        "task": "detect",
        "end2end": "False",
        "version": version,
    }.items():
        model.metadata_props.add(key=key, value=value)
    if variant == "external_data":
        weight = model.graph.initializer[0]
        weight.data_location = TensorProto.EXTERNAL
        weight.ClearField("raw_data")
        weight.external_data.add(key="location", value="../../etc/passwd")
    else:
        onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def tiny_onnx(
    class_names: tuple[str, ...], height: int, width: int, *, variant: Variant = "good", free_batch: bool = False
) -> onnx.ModelProto:
    """The graph. ``light`` is how much brighter than the background a pixel is; everything follows from it."""
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def constant(name: str, value: NDArray[Any] | float) -> str:
        array = np.asarray(value)
        weights.append(numpy_helper.from_array(array if array.dtype == np.int64 else array.astype(np.float32), name))
        return name

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    rows, columns = height // STRIDE, width // STRIDE
    anchors = rows * columns
    window = {"strides": [STRIDE] * 2, "pads": [(WINDOW - STRIDE) // 2] * 4}

    # light [1, 1, H, W]: the brightest channel above 0.6 (padding is at 0.45), and colour weighted by it
    node("ReduceMax", ["images"], "brightest", axes=[1], keepdims=1)
    node("Sub", ["brightest", constant("floor", 0.6)], "above")
    node("Relu", ["above"], "light")
    node("Mul", ["images", "light"], "coloured")

    # moments of the light in a window around each anchor: mass, x, y, x squared, y squared; and its mean colour
    offset = np.arange(WINDOW, dtype=np.float32) - (WINDOW - 1) / 2
    x, y = np.broadcast_to(offset, (WINDOW, WINDOW)), np.broadcast_to(offset[:, None], (WINDOW, WINDOW))
    kernels = np.stack([np.ones_like(x), x, y, x * x, y * y])[:, None]
    node("Conv", ["light", constant("moment_kernels", kernels)], "moments", **window)
    node("Conv", ["coloured", constant("ones", np.ones((3, 1, WINDOW, WINDOW)))], "colours", group=3, **window)
    node("Split", ["moments", constant("split", np.array([1, 2, 2]))], "mass", axis=1)
    nodes[-1].output.extend(["first", "second"])
    node("Add", ["mass", constant("epsilon", 1e-3)], "safe_mass")
    node("Div", ["first", "safe_mass"], "shift")
    node("Div", ["second", "safe_mass"], "mean_square")
    node("Mul", ["shift", "shift"], "shift_square")
    node("Sub", ["mean_square", "shift_square"], "raw_variance")
    node("Relu", ["raw_variance"], "variance")
    # A uniform stretch of n pixels has the variance (n * n - 1) / 12.
    node("Mul", ["variance", constant("twelve", 12.0)], "twelvefold")
    node("Add", ["twelvefold", constant("one", 1.0)], "size_square")
    node("Sqrt", ["size_square"], "size")

    # centre of each anchor's window, in input pixels
    at_x, at_y = (np.arange(count, dtype=np.float32) * STRIDE + STRIDE / 2 for count in (columns, rows))
    grid = np.stack([np.broadcast_to(at_x, (rows, columns)), np.broadcast_to(at_y[:, None], (rows, columns))])[None]
    node("Add", ["shift", constant("grid", grid)], "centre")

    # class scores: how well the mean colour fits, less where the window holds little light
    node("Div", ["colours", "safe_mass"], "colour")
    prototypes = np.array([COLOURS_RGB[name] for name in class_names], np.float32)
    prototypes /= np.linalg.norm(prototypes, axis=1, keepdims=True)
    classes = len(class_names) + (variant == "wrong_output_shape")
    prototypes = np.concatenate([prototypes, prototypes[: classes - len(prototypes)]])
    bias = np.full(classes, -60.0 if variant == "blind" else -9.0, np.float32)
    node("Conv", ["colour", constant("prototypes", 14 * prototypes[:, :, None, None]), constant("bias", bias)], "fit")
    node("Mul", ["safe_mass", constant("per_mass", 1 / 16)], "scaled_mass")
    node("Clip", ["scaled_mass", constant("zero", 0.0), "one"], "filled")
    node("Sub", ["filled", "one"], "lack")
    node("Mul", ["lack", constant("lack_gain", 10.0)], "penalty")
    # The anchor next to a blob's middle speaks for it: others see a part of the blob, and say less the farther it lies.
    node("ReduceSum", ["shift_square", constant("over_channels", np.array([1]))], "distance_square", keepdims=1)
    node("Sub", ["distance_square", constant("near", 34.0)], "beyond")
    node("Relu", ["beyond"], "too_far")
    node("Mul", ["too_far", constant("far_gain", -0.5)], "remoteness")
    node("Sum", ["fit", "penalty", "remoteness"], "logits")
    node("Sigmoid", ["logits"], "scores")

    node("Concat", ["centre", "size", "scores"], "joined", axis=1)
    last = "joined"
    if variant == "slow":
        # Real work whose result is too small to matter: 3x3 convolutions of 32 channels at full size.
        random = np.random.default_rng(0)
        constant("widen", random.normal(0, 0.1, (32, 3, 1, 1)))
        constant("churn", random.normal(0, 0.05, (32, 32, 3, 3)))
        busy = node("Conv", ["images", "widen"], "busy_0")
        for step in range(1, 31):
            busy = node("Conv", [busy, "churn"], f"work_{step}", pads=[1] * 4)
            busy = node("Tanh", [busy], f"busy_{step}")
        node("ReduceMean", [busy], "busy_mean", axes=[1, 2, 3], keepdims=1)
        node("Mul", ["busy_mean", constant("nothing", 1e-9)], "trace")
        last = node("Add", [last, "trace"], "with_trace")
    if variant == "nan":
        # The square root of a negative number that depends on the input, so that no engine folds it away.
        node("Neg", ["safe_mass"], "negative")
        node("Sqrt", ["negative"], "not_a_number")
        last = node("Add", [last, "not_a_number"], "poisoned")
    shape = constant("flat", np.array([0, 4 + classes, anchors]))  # 0: as many as came
    node("Reshape", [last, shape], "output0")

    batch = "batch" if free_batch else 1
    graph = helper.make_graph(
        nodes,
        "blob_detector",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, height, width])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [batch, 4 + classes, anchors])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
