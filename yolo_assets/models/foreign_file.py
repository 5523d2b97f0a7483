"""An ONNX file of other people, made into one that agents take: what it is by its shapes, and why not when it is none.

Belongs here: reading an export by its shapes, with its metadata as a hint; rewriting what can be rewritten without
changing a result (free sides, a fixed batch, other class names); refusing the rest with the export that helps. Does not
belong here: running it on pictures (``imported_bundle``), checkpoints (``training``).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from yolo_assets.contracts.errors import BadInputError, UserError, missing_package
from yolo_assets.contracts.model import OutputLayout
from yolo_assets.contracts.names import check_class_name
from yolo_assets.vision.contract import layout_of
from yolo_assets.vision.engines.interface import EngineName, EngineSetup, EngineSpec
from yolo_assets.vision.engines.opening import load_here
from yolo_assets.vision.onnx_file import OnnxFile, Shape, read_onnx

if TYPE_CHECKING:
    import onnx

_EXPORT = "yolo export model=best.pt format=onnx imgsz=640"
_STRIDE = 32
_TASKS = {
    "segment": "segmentation",
    "pose": "pose estimation",
    "obb": "oriented boxes",
    "classify": "classification",
}
_FLOATS = ("float32", "float16")
_LARGEST_SCALE = 1 / 100
"""A file that multiplies its pixels by less than this expects 0 to 255."""
_SAME = 2e-3


@dataclass(frozen=True)
class ForeignFile:
    """A file that keeps the contract of ``vision.contract``.

    Attributes:
        onnx: its bytes; those that were brought, where nothing had to be rewritten.
        class_names: ordered.
        input_shape: of one frame.
        layout: of its output.
        stride: in pixels.
        changes: what was rewritten, in words.
    """

    onnx: bytes
    class_names: tuple[str, ...]
    input_shape: tuple[int, int, int, int]
    layout: OutputLayout
    stride: int
    changes: tuple[str, ...]


def installed_engines() -> list[EngineName]:
    """The engines that are installed here, the one that most devices use first."""
    return [name for name in get_args(EngineName) if find_spec(name) is not None]


def read_foreign(data: bytes, class_names: Sequence[str] | None = None) -> ForeignFile:
    """Read an export, and rewrite it where agents need that.

    Args:
        data: the whole file.
        class_names: in the order of their ids; None takes those that the file names.

    Raises:
        BadInputError: it is no detector that agents can run; the message says how to export it.
        ModuleNotFoundError: it must be rewritten, and the package ``onnx`` is not installed.
    """
    file = read_onnx(data)
    shape = _input(file)
    names = _names(file, class_names)
    layout = _layout(file, len(names))
    sides = _sides(file, shape)
    edits = _Edits(data)
    try:
        _refuse_wide_pixels(data)
        if None in shape[2:]:
            edits.fix_sides(sides)
        if shape[0] not in (1, None):
            edits.one_frame(int(shape[0] or 0), sides)
        if "names" in file.metadata and file.class_names != names:
            edits.name_classes(names)
    except (UserError, ModuleNotFoundError):
        raise
    except Exception as error:  # the package onnx raises what it happens to meet in a damaged file
        what = " ".join(str(error).split())[:200]
        raise BadInputError(f"the file is not a readable ONNX model: {what}; export it again") from None
    return ForeignFile(
        onnx=edits.data,
        class_names=names,
        input_shape=(1, 3, *sides),
        layout=layout,
        stride=_stride(file, sides),
        changes=tuple(edits.changes),
    )


# What it is -----------------------------------------------------------------------------------------------------------


def _input(file: OnnxFile) -> Shape:
    if len(file.inputs) != 1:
        raise BadInputError(
            f"the file takes {len(file.inputs)} inputs ({', '.join(sorted(file.inputs))}) and a detector takes one; "
            f"export it with: {_EXPORT}"
        )
    ((name, shape),) = file.inputs.items()
    kind = file.types[name]
    if kind not in _FLOATS:
        raise BadInputError(
            f"the file takes pixels as {kind}, and agents give float32 from 0 to 1; export it without a layer for "
            f"other pixels, with: {_EXPORT}"
        )
    if len(shape) != 4 or shape[1] != 3:
        raise BadInputError(
            f"the file takes {_words(shape)} and a detector takes [1, 3, height, width], RGB; export it with: {_EXPORT}"
        )
    return shape


def _names(file: OnnxFile, given: Sequence[str] | None) -> tuple[str, ...]:
    names = tuple(given) if given is not None else file.class_names
    if not names:
        raise BadInputError("the file does not name its classes; give a file with one name a line with --classes")
    for name in names:
        check_class_name(name)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadInputError(f"class {twice[0]!r} is named twice; give names that differ with --classes")
    return names


def _layout(file: OnnxFile, classes: int) -> OutputLayout:
    """The layout by the shape; else a refusal, for which the metadata may have the word."""
    task = _TASKS.get(file.metadata.get("task", ""))
    if task is not None:
        raise BadInputError(
            f"the file is a model for {task}, and agents run detectors; train one and export it with: "
            "yolo detect train ..., then " + _EXPORT
        )
    if len(file.outputs) != 1:
        raise BadInputError(
            f"the file gives {len(file.outputs)} outputs ({', '.join(sorted(file.outputs))}): it is no detector, or "
            f"was exported by another tool; export it with: {_EXPORT}"
        )
    layout = layout_of(file, classes)
    if layout is not None:
        return layout
    (shape,) = file.outputs.values()
    found = f"the output is {_words(shape)}, and a detector of {classes} classes gives [1, {4 + classes}, boxes] or "
    if len(shape) == 2:
        raise BadInputError(f"{found}[1, boxes, 6]: this one classifies whole pictures; train a detector")
    if len(shape) == 3 and shape[2] == 5 + classes:
        raise BadInputError(
            f"{found}[1, boxes, 6]: this is the head of the repository yolov5; export it with the package ultralytics, "
            "which reads yolov5nu.pt to yolov5xu.pt and trains them"
        )
    if len(shape) == 3 and shape[2] == 4 + classes:
        raise BadInputError(f"{found}[1, boxes, 6]: this one is transposed; export it with: {_EXPORT}")
    raise BadInputError(
        f"{found}[1, boxes, 6]; give the right names with --classes, or export a detector with: {_EXPORT}"
    )


def _sides(file: OnnxFile, shape: Shape) -> tuple[int, int]:
    """Height and width; where they are free, those that the file was exported with."""
    if shape[2] is not None and shape[3] is not None:
        return shape[2], shape[3]
    try:
        told = ast.literal_eval(file.metadata["imgsz"])
        height, width = (told, told) if isinstance(told, int) else (int(side) for side in told)
    except (KeyError, ValueError, SyntaxError, TypeError):
        raise BadInputError(
            f"the file does not fix height and width; export it with fixed ones: {_EXPORT} dynamic=False"
        ) from None
    if shape[2] not in (None, height) or shape[3] not in (None, width):
        raise BadInputError(
            f"the file takes {_words(shape)} and says that it was made for {height}x{width}; export it with: {_EXPORT}"
        )
    return height, width


def _stride(file: OnnxFile, sides: tuple[int, int]) -> int:
    told = file.metadata.get("stride", "")
    stride = int(told) if re.fullmatch(r"[1-9][0-9]{0,3}", told) else _STRIDE
    if any(side % stride for side in sides):
        raise BadInputError(
            f"the file takes {sides[0]}x{sides[1]} pixels, which is no multiple of its stride {stride}; export it with "
            f"sides that are: {_EXPORT}"
        )
    return stride


def _refuse_wide_pixels(data: bytes) -> None:
    """Refuse a file that scales its pixels itself: from 0 to 1 it would see black pictures, and find nothing."""
    if find_spec("onnx") is None:
        return
    from onnx import numpy_helper

    graph = _parsed(data).graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            values[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    pixels = {value.name for value in graph.input if value.name not in values}
    for node in graph.node:
        if not pixels & set(node.input):
            continue
        if node.op_type in ("Cast", "Identity", "Transpose", "Gather", "Slice", "Split"):
            pixels |= set(node.output)
            continue
        factors = [values[name] for name in node.input if name in values]
        if node.op_type not in ("Mul", "Div") or not factors or factors[0].size > 3:
            continue
        factor = float(np.abs(factors[0]).max())
        if (1 / factor if node.op_type == "Div" and factor else factor) <= _LARGEST_SCALE:
            raise BadInputError(
                "the file scales its pixels itself: it takes 0 to 255, and agents give 0 to 1; export it without that "
                f"layer: {_EXPORT}"
            )


def _parsed(data: bytes) -> onnx.ModelProto:
    """By the package ``onnx``, which knows more of a file than ``vision.onnx_file`` looks at."""
    import onnx

    return onnx.load_model_from_string(data)


def _words(shape: Shape) -> str:
    return "[" + ", ".join("not fixed" if size is None else str(size) for size in shape) + "]"


# What is rewritten ----------------------------------------------------------------------------------------------------


class _Edits:
    """The bytes of a file, and what was rewritten in them."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.changes: list[str] = []

    def fix_sides(self, sides: tuple[int, int]) -> None:
        """Height and width become fixed; a free batch stays free, of input and output."""
        model = self._load()
        (dimensions,) = (value.type.tensor_type.shape.dim for value in _pixels(model))
        for dimension, side in zip(dimensions[2:], sides, strict=True):
            dimension.dim_value = side
        for entry in model.metadata_props:
            if entry.key == "args":  # other programs would send smaller pictures on the strength of it
                entry.value = entry.value.replace("'dynamic': True", "'dynamic': False")
        self._keep(model, f"height and width fixed to {sides[0]}x{sides[1]}")

    def one_frame(self, batch: int, sides: tuple[int, int]) -> None:
        """A file for ``batch`` frames at once becomes one for a single frame, proven to give the same."""
        model, before = self._load(), self.data
        _divide_reshapes(model.graph, batch)
        for value in (*_pixels(model), *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = 1
        del model.graph.value_info[:]
        for entry in model.metadata_props:
            entry.value = "1" if entry.key == "batch" else entry.value
        refusal = f"the file takes {batch} frames at once; export it for one: {_EXPORT} batch=1"
        try:
            same = _same_results(before, model.SerializeToString(deterministic=True), batch, sides)
        except UserError:
            raise BadInputError(refusal) from None
        if not same:
            raise BadInputError(refusal)
        self._keep(model, f"batch {batch} made 1")

    def name_classes(self, names: tuple[str, ...]) -> None:
        """The names in the metadata become those that were given."""
        model = self._load()
        for entry in model.metadata_props:
            if entry.key == "names":
                entry.value = repr(dict(enumerate(names)))
        self._keep(model, "class names replaced by those that were given")

    def _load(self) -> onnx.ModelProto:
        if find_spec("onnx") is None:
            raise UserError(f"the file must be rewritten for agents, and {missing_package('onnx', 'train')}")
        return _parsed(self.data)

    def _keep(self, model: onnx.ModelProto, change: str) -> None:
        self.data = model.SerializeToString(deterministic=True)
        self.changes.append(change)


def _pixels(model: onnx.ModelProto) -> list[Any]:
    """The input that is no stored value."""
    stored = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in stored]


def _divide_reshapes(graph: onnx.GraphProto, batch: int) -> None:
    """Divide the first size in the target of each reshape by the batch, wherever it is a multiple of it."""
    from onnx import numpy_helper

    targets = {node.input[1] for node in graph.node if node.op_type in ("Reshape", "Expand") and len(node.input) > 1}
    tensors = [tensor for tensor in graph.initializer if tensor.name in targets]
    tensors += [
        node.attribute[0].t
        for node in graph.node
        if node.op_type == "Constant" and node.output[0] in targets and node.attribute
    ]
    for tensor in tensors:
        sizes = numpy_helper.to_array(tensor).copy()
        if sizes.ndim == 1 and sizes.size and sizes[0] > 0 and sizes[0] % batch == 0:
            sizes[0] //= batch
            tensor.CopyFrom(numpy_helper.from_array(sizes, tensor.name))


def _same_results(before: bytes, after: bytes, batch: int, sides: tuple[int, int]) -> bool:
    """Whether a file for several frames and one for a single frame give the same for the same pixels."""
    engines = installed_engines()
    if not engines:
        raise UserError(missing_package("openvino", "edge"))
    frames = np.random.default_rng(0).random((batch, 3, *sides), np.float32)
    shape = (1, 3, *sides)
    together = load_here(before, shape, EngineSpec(engines[-1]), EngineSetup(batch=batch))
    alone = load_here(after, shape, EngineSpec(engines[-1]), EngineSetup())
    try:
        wanted = together.infer(frames)
        found = np.concatenate([alone.infer(frames[row : row + 1]) for row in range(batch)])
    finally:
        together.close()
        alone.close()
    if wanted.shape != found.shape:
        return False
    return bool(np.abs(wanted - found).max() <= _SAME * max(1.0, float(np.abs(wanted).max())))
