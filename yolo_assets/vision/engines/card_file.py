"""The ONNX file that a card runs: pixels in as the picture has them, and where it is asked for, arithmetic in float16.

Belongs here: rewriting a checked file, in memory, before a card's session opens it. Does not belong here: sessions.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from yolo_assets.contracts.errors import UserError

PIXELS = "pixels"
"""Name of the input: uint8 ``[n, h, w, 3]``, BGR."""
_PREPARED = "pixels/prepared"
_FULL = 255.0


def card_file(onnx_bytes: bytes, *, f16: bool) -> bytes:
    """A file of float input as one that takes pixels, with a float32 output.

    Args:
        onnx_bytes: checked bytes; one input ``[n, 3, h, w]`` and one output.
        f16: compute in float16. What follows the last convolutions, boxes from distances and scores, stays in float32:
            in float16 a coordinate above 512 has steps of half a pixel.

    Raises:
        UserError: the package onnx is not installed, or the file cannot be rewritten.
    """
    try:
        import onnx
    except ImportError:
        raise UserError(
            "a card needs the package onnx beside onnxruntime-gpu, to prepare the file; run: pip install onnx"
        ) from None
    model = onnx.load_model_from_string(onnx_bytes)
    given = _network_input(model)
    narrow = given.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
    if f16 and not narrow:
        model = _in_f16(model, given.name)
        given = _network_input(model)
    _take_pixels(model, given)
    _give_floats(model)
    return model.SerializeToString()


def _network_input(model: Any) -> Any:
    """The input that is no stored value."""
    stored = {tensor.name for tensor in model.graph.initializer}
    return next(value for value in model.graph.input if value.name not in stored)


def _in_f16(model: Any, name: str) -> Any:
    """The network in float16, its input in float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    head = _arithmetic_of_head(model)
    try:
        kept: Any = [name]  # its annotation forgets that names may be listed
        narrow = convert_float_to_float16(model, keep_io_types=kept, node_block_list=head)
    except Exception as error:  # it raises whatever a file makes it raise
        raise UserError(f"the file cannot be computed in f16: {' '.join(str(error).split())[:200]}") from None
    # Where two nodes in float32 take one value it writes the same cast twice.
    casts = {node.output[0]: node for node in narrow.graph.node if node.op_type == "Cast"}
    nodes = [n for n in narrow.graph.node if n.op_type != "Cast" or casts.pop(n.output[0], None) is not None]
    del narrow.graph.node[:]
    narrow.graph.node.extend(nodes)
    return narrow


def _arithmetic_of_head(model: Any) -> list[str]:
    """Nodes of the detection head that are no convolutions; Ultralytics names them ``/model.<last>/…``."""
    numbers = [re.match(r"/model\.(\d+)/", node.name) for node in model.graph.node]
    last = max((int(number[1]) for number in numbers if number), default=None)
    prefix = f"/model.{last}/"
    return [
        node.name
        for node in model.graph.node
        if node.name.startswith(prefix) and "/cv" not in node.name and "/one2one_cv" not in node.name
    ]


def _take_pixels(model: Any, given: Any) -> None:
    """Put in front of the network what ``processing.Letterbox`` does on a CPU: to RGB, planes, 0 to 1."""
    from onnx import TensorProto, helper, numpy_helper

    kind = given.type.tensor_type.elem_type
    graph, name = model.graph, given.name
    sizes = [size.dim_param or size.dim_value for size in given.type.tensor_type.shape.dim]
    nodes = [
        helper.make_node("Cast", [PIXELS], ["pixels/float"], to=TensorProto.FLOAT, name="pixels/cast"),
        helper.make_node("Transpose", ["pixels/float"], ["pixels/planes"], perm=[0, 3, 1, 2], name="pixels/transpose"),
        helper.make_node("Gather", ["pixels/planes", "pixels/order"], ["pixels/rgb"], axis=1, name="pixels/gather"),
        helper.make_node("Div", ["pixels/rgb", "pixels/full"], [_PREPARED], name="pixels/div"),
    ]
    if kind == TensorProto.FLOAT16:
        nodes.append(helper.make_node("Cast", [_PREPARED], [name], to=kind, name="pixels/half"))
    else:
        nodes[-1].output[0] = name
    graph.initializer.append(numpy_helper.from_array(np.array([2, 1, 0], np.int64), "pixels/order"))
    graph.initializer.append(numpy_helper.from_array(np.array(_FULL, np.float32), "pixels/full"))
    pixels = helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, [sizes[0], *sizes[2:], sizes[1]])
    graph.input.remove(given)
    graph.input.insert(0, pixels)
    before = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *before])


def _give_floats(model: Any) -> None:
    """A float16 output as float32."""
    from onnx import TensorProto, helper

    (output,) = model.graph.output
    if output.type.tensor_type.elem_type != TensorProto.FLOAT16:
        return
    name = f"{output.name}/float"
    model.graph.node.append(helper.make_node("Cast", [output.name], [name], to=TensorProto.FLOAT, name="output/float"))
    output.name = name
    output.type.tensor_type.elem_type = TensorProto.FLOAT
