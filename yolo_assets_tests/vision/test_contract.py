"""What a file's shapes and element types say against its manifest; what its metadata calls them does not count."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnxruntime.transformers import float16

from yolo_assets.contracts.model import ModelManifest
from yolo_assets.vision.contract import file_problems, layout_of
from yolo_assets.vision.engines.interface import EngineName, EngineSetup, EngineSpec
from yolo_assets.vision.engines.opening import load_here
from yolo_assets.vision.onnx_file import OnnxFile, read_onnx
from yolo_assets_tests.support.tiny_model import CLASS_NAMES, tiny_bundle_files, tiny_onnx

SHAPE = (1, 3, 96, 128)


def declared(
    given: list, result: list, kinds: tuple[int, int] = (TensorProto.FLOAT, TensorProto.FLOAT), **metadata: str
) -> OnnxFile:
    """A file with these declarations and nothing else."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["images"], ["output0"])],
        "g",
        [helper.make_tensor_value_info("images", kinds[0], given)],
        [helper.make_tensor_value_info("output0", kinds[1], result)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    return read_onnx(model.SerializeToString())


def end2end() -> ModelManifest:
    return tiny_bundle_files()[0].model_copy(update={"output_layout": "end2end"})


def test_suppression_inside_is_end2end_whatever_the_file_calls_it() -> None:
    for called in ("False", "True", "perhaps"):
        file = declared([1, 3, 96, 128], [1, 300, 6], end2end=called, args="{'nms': True}")
        assert layout_of(file, 4) == "end2end"
        assert file_problems(end2end(), file) == []
        raw = declared([1, 3, 96, 128], [1, 8, 252], end2end=called)
        assert layout_of(raw, 4) == "raw"
        assert file_problems(tiny_bundle_files()[0], raw) == []
        assert "[1, boxes, 6], file [1, 8, 252]" in file_problems(end2end(), raw)[0]


@pytest.mark.parametrize("result", [[1, 252, 8], [1, 84, 252], [1, 9], [1, 8, 12, 16]])
def test_a_shape_of_neither_layout_has_none(result: list[int]) -> None:
    assert layout_of(declared([1, 3, 96, 128], result), 4) is None


@pytest.mark.parametrize("result", [["batch", 300, 6], [None, None, 6]])
def test_a_free_batch_with_fixed_sides_is_taken(result: list) -> None:
    assert file_problems(end2end(), declared(["batch", 3, 96, 128], result)) == []


@pytest.mark.parametrize("given", [[None, 3, None, None], [1, 3, None, 128], [2, 3, 96, 128]])
def test_free_sides_and_a_fixed_batch_are_refused(given: list) -> None:
    (problem, *_) = file_problems(end2end(), declared(given, [1, 300, 6]))
    assert problem.startswith("input shape: manifest [1, 3, 96, 128], file [")


@pytest.mark.parametrize(
    ("kind", "name"), [(TensorProto.UINT8, "uint8"), (TensorProto.DOUBLE, "float64"), (9, "type 9")]
)
def test_other_element_types_are_refused(kind: int, name: str) -> None:
    file = declared([1, 3, 96, 128], [1, 300, 6], (kind, TensorProto.FLOAT))
    assert file_problems(end2end(), file) == [
        f"element type: frames go in and boxes come out as float32 or float16, images of the file is {name}"
    ]


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_a_file_of_halves_takes_frames_as_any_other(engine: EngineName) -> None:
    graph = float16.convert_float_to_float16(tiny_onnx(CLASS_NAMES, 96, 128), keep_io_types=False)
    assert isinstance(graph, onnx.ModelProto)
    batch = np.random.default_rng(0).random(SHAPE, np.float32)
    assert file_problems(tiny_bundle_files()[0], read_onnx(graph.SerializeToString())) == []
    full = load_here(tiny_onnx(CLASS_NAMES, 96, 128).SerializeToString(), SHAPE, EngineSpec(engine), EngineSetup())
    half = load_here(graph.SerializeToString(), SHAPE, EngineSpec(engine), EngineSetup())
    np.testing.assert_allclose(half.infer(batch), full.infer(batch), atol=0.5)
