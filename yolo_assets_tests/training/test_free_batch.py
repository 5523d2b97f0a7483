"""A file that was exported for one frame takes several, with the same outputs, or stays as it is."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import numpy_helper

from yolo_assets.training.export import free_batch
from yolo_assets.vision.onnx_file import read_onnx
from yolo_assets_tests.support.tiny_model import CLASS_NAMES, tiny_onnx


def fixed(*target: int) -> onnx.ModelProto:
    """The small network as Ultralytics exports one: the batch of one stands in a constant."""
    model = tiny_onnx(CLASS_NAMES, 64, 96)
    (flat,) = (tensor for tensor in model.graph.initializer if tensor.name == "flat")
    flat.CopyFrom(numpy_helper.from_array(np.array(target, np.int64), "flat"))
    return model


def outputs(model: onnx.ModelProto, frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """By ONNX Runtime."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"images": frames})[0])


def test_several_frames_give_what_each_gives_alone() -> None:
    model = fixed(1, 8, 96)
    freed = free_batch(model)
    assert read_onnx(freed.SerializeToString()).free_batch
    assert not read_onnx(model.SerializeToString()).free_batch
    assert read_onnx(freed.SerializeToString()).inputs == {"images": (None, 3, 64, 96)}
    onnx.checker.check_model(freed, full_check=True)
    frames = np.random.default_rng(1).random((4, 3, 64, 96), np.float32)
    alone = np.concatenate([outputs(model, frames[at : at + 1]) for at in range(4)])
    np.testing.assert_allclose(outputs(freed, frames), alone, rtol=1e-4, atol=1e-3)


def test_a_network_that_mixes_frames_stays_at_one() -> None:
    model = fixed(8, 96)  # the batch has no dimension of its own
    model.graph.node[-1].output[0] = "rows"
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 8, 96], np.int64), "back"))
    model.graph.node.append(onnx.helper.make_node("Reshape", ["rows", "back"], ["output0"]))
    assert free_batch(model) is model
