"""A network with int8 arithmetic, by NNCF from its ONNX file and pictures of the line. Child process.

Belongs here: what only NNCF can do, and the form in which both engines of the edge read its result. Does not belong
here: the version that this makes (``building``), and whether it is any good (``models.gate``).
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from yolo_assets.contracts.errors import UserError
from yolo_assets.runtime.files import write_atomic
from yolo_assets.training.environment import quiet_environment
from yolo_assets.training.jobs import QuantizeJob
from yolo_assets.vision.pictures import decode_image
from yolo_assets.vision.processing import Letterbox


def quantize(job: QuantizeJob) -> None:
    """Write the quantised network: inputs, outputs and metadata stay as they are.

    Raises:
        UserError: NNCF cannot quantise the file.
        BadInputError: a picture cannot be unpacked.
    """
    quiet_environment(Path(job.work) / "config", job.threads)
    # NNCF reports each call through the first; without it NNCF takes a stand-in that sends nothing. The second it would
    # load for nothing.
    sys.modules |= {"openvino_telemetry": None, "torch": None}  # pyright: ignore[reportArgumentType]
    import nncf
    import onnx

    model = onnx.load(job.onnx)
    name = model.graph.input[0].name
    letterbox = Letterbox(*job.input_size)
    frames = [letterbox(decode_image(Path(file).read_bytes(), file))[0].copy() for file in job.pictures]
    try:
        quantised: Any = nncf.quantize(
            model,
            nncf.Dataset(frames, lambda frame: {name: frame}),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(frames),
            ignored_scope=_head_scope(nncf, model),
        )
    except Exception as error:  # its errors share no base class but this
        raise UserError(
            f"NNCF cannot quantise the file: {' '.join(str(error).split())[:300]}; build from a float32 export"
        ) from None
    write_atomic(Path(job.out), unsigned_activations(quantised).SerializeToString(deterministic=True))


def _head_scope(nncf: Any, model: Any) -> Any:
    """The detection head stays in float, as in Ultralytics' own int8 export: its boxes suffer most.

    Ultralytics names a node by its module, ``/model.23/cv2.0/...``; a file without such names is quantised whole.
    """
    (output,) = model.graph.output
    last = next(node for node in reversed(model.graph.node) if output.name in node.output)
    module = re.match(r"/model\.\d+/", last.name)
    return nncf.IgnoredScope(patterns=[f"{re.escape(module[0])}.*"]) if module else None


def unsigned_activations(model: Any) -> Any:
    """The same network with activations as uint8 instead of int8, which changes no result.

    OpenVINO 2026.4 computes something else from int8 activations: boxes are hundreds of pixels away from those of ONNX
    Runtime and of the network before. From uint8 both engines compute the same.

    Args:
        model: an ``onnx.ModelProto``; changed.
    """
    from onnx import numpy_helper

    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    zeros = {
        node.input[2]
        for node in model.graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] not in stored and len(node.input) > 2
    }
    for name in zeros & stored.keys():
        zero = numpy_helper.to_array(stored[name])
        if zero.dtype == np.int8:
            moved = (zero.astype(np.int16) + 128).astype(np.uint8)
            stored[name].CopyFrom(numpy_helper.from_array(moved, name))
    del model.graph.value_info[:]  # they name the element types of before
    return model
