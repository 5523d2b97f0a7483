"""Makes an exported file take several frames at once.

Belongs here: freeing the batch of a file that was exported for one frame, with its sides fixed, and proving it.
Ultralytics' own ``dynamic=True`` frees height and width, too, and then no output dimension is fixed. Does not belong
here: exporting.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from yolo_assets.contracts.errors import UserError
from yolo_assets.vision.engines.interface import EngineSetup, EngineSpec
from yolo_assets.vision.engines.opening import load_here

log = logging.getLogger(__name__)
_FRAMES = 3
_TOLERANCE = 1e-3
"""Of the largest output: sums are made in another order."""


def free_batch(model: Any) -> Any:
    """The same network with a free batch dimension; the given one where that does not give the same outputs.

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
    problem = _problem(model, freed)
    if problem is not None:
        log.warning("the model is exported for one frame at a time: %s", problem)
        return model
    return freed


def _problem(model: Any, freed: Any) -> str | None:
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
