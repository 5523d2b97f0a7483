"""What an ONNX file says about itself, read from its bytes without loading it and without the ``onnx`` package.

An engine that loads a file may follow its *external data*: paths inside the file that name other files, which has been
used to read outside the model's folder. Such a file is refused before any engine sees it. The reader walks only the
messages that can hold a tensor, and skips everything else by its length.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from yolo_assets.contracts.errors import BadInputError

# Message -> field -> message: every way from a model to a tensor. A test compares it with onnx's schema.
TENSOR_PATHS: dict[str, dict[int, str]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
}
_GRAPH, _METADATA = 7, 14
_INITIALIZER, _INPUT, _OUTPUT = 5, 11, 12
_TENSOR_NAME, _EXTERNAL_DATA, _DATA_LOCATION = 8, 13, 14
_MAX_DEPTH = 100  # protobuf's own limit

Shape = tuple[int | None, ...]
"""A declared shape; None is a dimension that is not fixed."""
_ELEMENT_TYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    6: "int32",
    7: "int64",
    10: "float16",
    11: "float64",
    16: "bfloat16",
}


@dataclass(frozen=True)
class OnnxFile:
    """What a file declares.

    Attributes:
        inputs: name to shape, without those that have a stored value.
        outputs: name to shape, in order.
        types: input or output to its element type as NumPy spells it; ``type 8`` for one without such a name.
        metadata: custom key to text.
    """

    inputs: dict[str, Shape]
    outputs: dict[str, Shape]
    types: dict[str, str]
    metadata: dict[str, str]

    @property
    def free_batch(self) -> bool:
        """Whether several frames may go in at once."""
        return all(shape[:1] == (None,) for shape in self.inputs.values())

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The ordered names that Ultralytics writes as ``names``; None without them, or when they cannot be read."""
        try:
            names = ast.literal_eval(self.metadata["names"])
            if isinstance(names, dict):
                names = [names[position] for position in range(len(names))]
            return tuple(str(name) for name in names)
        except (KeyError, ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return None


def read_onnx(data: bytes) -> OnnxFile:
    """Read what a file declares, and refuse it when it is not self-contained.

    Args:
        data: the whole file.

    Raises:
        BadInputError: not ONNX, or it refers to data outside itself.
    """
    view = memoryview(data)
    try:
        _refuse_external(view, "ModelProto", 0)
        graphs = [part for number, part in _parts(view) if number == _GRAPH]
        stored = {_text(value, _TENSOR_NAME) for graph in graphs for value in _children(graph, _INITIALIZER)}
        given = {_text(value, 1): value for graph in graphs for value in _children(graph, _INPUT)}
        results = {_text(value, 1): value for graph in graphs for value in _children(graph, _OUTPUT)}
        inputs = {name: _shape(value) for name, value in given.items() if name not in stored}
        outputs = {name: _shape(value) for name, value in results.items()}
        types = {name: _element_type(value) for name, value in (given | results).items() if name not in stored}
        metadata = {_text(entry, 1): _text(entry, 2) for entry in _children(view, _METADATA)}
    except (ValueError, IndexError) as error:
        raise BadInputError(f"the file is not a readable ONNX model: {error}; export it again") from None
    if not given or not outputs:
        raise BadInputError("the file is not an ONNX model: it declares no input or no output; export it again")
    return OnnxFile(inputs, outputs, types, metadata)


def _refuse_external(message: memoryview, kind: str, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise ValueError(f"messages nested deeper than {_MAX_DEPTH}")
    if kind == "TensorProto":
        for number, value in _fields(message):
            if number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0):
                raise BadInputError(
                    f"tensor {_text(message, _TENSOR_NAME)!r} keeps its data outside the ONNX file, which is refused; "
                    "export the model as one file"
                )
        return
    for number, part in _parts(message):
        child = TENSOR_PATHS[kind].get(number)
        if child is not None:
            _refuse_external(part, child, depth + 1)


def _shape(value_info: memoryview) -> Shape:
    """The shape in the type of a ``ValueInfoProto``: ``dim_value`` where a dimension is fixed."""
    shape: list[int | None] = []
    for kind in _children(value_info, 2):
        for tensor in _children(kind, 1):
            for dimensions in _children(tensor, 2):
                for dimension in _children(dimensions, 1):
                    fixed = [value for number, value in _fields(dimension) if number == 1 and isinstance(value, int)]
                    shape.append(fixed[-1] if fixed else None)
    return tuple(shape)


def _element_type(value_info: memoryview) -> str:
    """What the numbers of a ``ValueInfoProto`` are."""
    numbers = [
        value
        for kind in _children(value_info, 2)
        for tensor in _children(kind, 1)
        for field, value in _fields(tensor)
        if field == 1 and isinstance(value, int)
    ]
    number = numbers[-1] if numbers else 0
    return _ELEMENT_TYPES.get(number, f"type {number}")


def _children(message: memoryview, field: int) -> Iterator[memoryview]:
    return (part for number, part in _parts(message) if number == field)


def _text(message: memoryview, field: int) -> str:
    texts = [bytes(part).decode("utf-8", "replace") for part in _children(message, field)]
    return texts[-1] if texts else ""


def _parts(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    return ((number, value) for number, value in _fields(message) if isinstance(value, memoryview))


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field: an int for varints, a view of the bytes for everything else.

    Raises:
        ValueError, IndexError: the bytes are not a protobuf message.
    """
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire == 2:
            length, at = _varint(message, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if number == 0 or at + length > end:
            raise ValueError("a field reaches past the end")
        yield number, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for position in range(10):
        byte = message[at + position]
        value |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            return value, at + position + 1
    raise ValueError("a number longer than 10 bytes")
