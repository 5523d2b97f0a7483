"""Files of other people: what they are by their shapes, what is rewritten in them, and why the rest is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.models.foreign_file import read_foreign
from yolo_assets.vision.engines.interface import EngineName, EngineSetup, EngineSpec
from yolo_assets.vision.engines.opening import load_here
from yolo_assets.vision.onnx_file import read_onnx
from yolo_assets_tests.support.tiny_model import CLASS_NAMES, tiny_onnx

NAMES = repr(dict(enumerate(CLASS_NAMES)))
Edit = Callable[[onnx.ModelProto], None]


def written(*edits: Edit, names: str | None = NAMES, **metadata: str) -> bytes:
    """The tiny detector with edits and metadata, as another tool might have exported it."""
    model = tiny_onnx(CLASS_NAMES, 96, 128)
    for edit in edits:
        edit(model)
    told = {"stride": "32", **({"names": names} if names else {}), **metadata}
    for key, value in told.items():
        model.metadata_props.add(key=key, value=value)
    return model.SerializeToString(deterministic=True)


def shape(model: onnx.ModelProto, *, of: str, sizes: list[int | str]) -> None:
    (value,) = model.graph.input if of == "input" else model.graph.output
    kind = value.type.tensor_type.elem_type
    value.CopyFrom(helper.make_tensor_value_info(value.name, kind, sizes))


def free_sides(model: onnx.ModelProto) -> None:
    shape(model, of="input", sizes=["batch", 3, "height", "width"])
    shape(model, of="output", sizes=["batch", 4 + len(CLASS_NAMES), "anchors"])


def four_frames(model: onnx.ModelProto) -> None:
    shape(model, of="input", sizes=[4, 3, 96, 128])
    shape(model, of="output", sizes=[4, 4 + len(CLASS_NAMES), 192])
    (target,) = [tensor for tensor in model.graph.initializer if tensor.name == "flat"]
    target.CopyFrom(numpy_helper.from_array(np.array([4, 4 + len(CLASS_NAMES), 192]), "flat"))


def mixes_frames(model: onnx.ModelProto) -> None:
    """Four frames whose results depend on each other: alone none of them gives the same."""
    four_frames(model)
    graph = model.graph
    graph.node.append(helper.make_node("ReduceMean", ["output0"], ["mean"], axes=[0], keepdims=1))
    graph.node.append(helper.make_node("Add", ["output0", "mean"], ["mixed"]))
    graph.output[0].name = "mixed"


def scaled(kind: str, factor: float) -> Edit:
    def edit(model: onnx.ModelProto) -> None:
        graph = model.graph
        for node in graph.node:
            for place, name in enumerate(node.input):
                if name == "images":
                    node.input[place] = "scaled"
        graph.initializer.append(numpy_helper.from_array(np.asarray(factor, np.float32), "factor"))
        graph.node.insert(0, helper.make_node(kind, ["images", "factor"], ["scaled"]))

    return edit


def bytes_in(model: onnx.ModelProto) -> None:
    scaled("Mul", 1 / 255)(model)
    model.graph.node[0].input[0] = "floats"
    model.graph.node.insert(0, helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT))
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8


def masks_too(model: onnx.ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("colours", TensorProto.FLOAT, [1, 3, 12, 16]))


def test_a_file_that_fits_is_taken_as_it_is() -> None:
    data = written()
    foreign = read_foreign(data)
    assert foreign.onnx == data
    assert (foreign.class_names, foreign.input_shape, foreign.layout) == (CLASS_NAMES, (1, 3, 96, 128), "raw")
    assert (foreign.stride, foreign.changes) == (32, ())


def test_free_sides_are_fixed_to_those_of_the_export() -> None:
    foreign = read_foreign(written(free_sides, imgsz="[96, 128]", args="{'dynamic': True}"))
    declared = read_onnx(foreign.onnx)
    assert declared.inputs == {"images": (None, 3, 96, 128)}
    assert declared.metadata["args"] == "{'dynamic': False}"
    assert foreign.input_shape == (1, 3, 96, 128)
    assert foreign.changes == ("height and width fixed to 96x128",)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_a_file_of_four_frames_gives_the_same_for_one(engine: EngineName) -> None:
    data = written(four_frames)
    foreign = read_foreign(data)
    assert read_onnx(foreign.onnx).inputs == {"images": (1, 3, 96, 128)}
    frames = np.random.default_rng(1).random((4, 3, 96, 128), np.float32)
    together = load_here(data, (1, 3, 96, 128), EngineSpec(engine), EngineSetup(batch=4)).infer(frames)
    alone = load_here(foreign.onnx, (1, 3, 96, 128), EngineSpec(engine), EngineSetup())
    for row in range(4):
        np.testing.assert_allclose(alone.infer(frames[row : row + 1])[0], together[row], rtol=1e-4, atol=1e-4)


def test_names_that_are_given_replace_those_of_the_file() -> None:
    foreign = read_foreign(written(), ["a", "b", "c", "d"])
    assert foreign.class_names == read_onnx(foreign.onnx).class_names == ("a", "b", "c", "d")
    assert foreign.changes == ("class names replaced by those that were given",)
    assert read_foreign(written(names=None), ["a", "b", "c", "d"]).class_names == ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (written(free_sides), "dynamic=False"),
        (written(mixes_frames), "batch=1"),
        (written(bytes_in), "takes pixels as uint8"),
        (written(scaled("Mul", 1 / 255)), "it takes 0 to 255"),
        (written(scaled("Div", 255.0)), "it takes 0 to 255"),
        (written(masks_too), "2 outputs"),
        (written(task="segment"), "a model for segmentation"),
        (written(task="pose"), "a model for pose estimation"),
        (written(task="obb"), "a model for oriented boxes"),
        (written(task="classify"), "a model for classification"),
        (written(names=None), "--classes"),
        (written(names="{0: 'crack', 1: 'crack', 2: 'dent', 3: 'dirt'}"), "named twice"),
        (written(names="{0: 'crack', 1: 'dent'}"), "[1, 6, boxes]"),
        (written(lambda m: shape(m, of="output", sizes=[1, 192, 8])), "transposed"),
        (written(lambda m: shape(m, of="output", sizes=[1, 192, 9])), "repository yolov5"),
        (written(lambda m: shape(m, of="output", sizes=[1, 4])), "classifies whole pictures"),
        (written(lambda m: shape(m, of="input", sizes=[1, 1, 96, 128])), "[1, 3, height, width]"),
        (written(stride="64"), "no multiple of its stride 64"),
    ],
    ids=range(18),
)
def test_what_agents_cannot_run_is_refused_with_what_helps(data: bytes, words: str) -> None:
    with pytest.raises(BadInputError) as refused:
        read_foreign(data)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_scale_that_leaves_pixels_as_they_are_is_no_reason() -> None:
    assert read_foreign(written(scaled("Mul", 0.9))).layout == "raw"


def test_damage_that_only_the_package_onnx_meets_is_told() -> None:
    good = written()
    opset = good.rindex(b"\x42\x04\x0a\x00\x10")
    damaged = good[:opset] + b"\x42\x04\x00\x00\x10" + good[opset + 5 :]  # a field with the number 0
    with pytest.raises(BadInputError, match="not a readable ONNX model"):
        read_foreign(damaged)
    no_text = written(four_frames, author="plant").replace(b"plant", b"pl\xdbnt")  # text that is not UTF-8
    with pytest.raises(BadInputError, match="not a readable ONNX model"):
        read_foreign(no_text)
