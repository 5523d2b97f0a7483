"""Reading ONNX without the onnx package, compared with the onnx package; and refusing data outside the file."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.vision.engines.interface import EngineName, EngineSpec
from yolo_assets.vision.engines.opening import open_engine
from yolo_assets.vision.onnx_file import TENSOR_PATHS, read_onnx
from yolo_assets_tests.support.tiny_model import CLASS_NAMES, tiny_bundle_files, tiny_onnx


def test_every_way_from_a_model_to_a_tensor_is_walked() -> None:
    """Compared with the schema of the installed onnx: a new place for tensors fails here before it is a hole."""
    pool = onnx.ModelProto.DESCRIPTOR.file.message_types_by_name
    holders = {"TensorProto"}
    while True:
        more = {
            name
            for name, message in pool.items()
            if any(field.message_type and field.message_type.name in holders for field in message.fields)
        }
        if more <= holders:
            break
        holders |= more
    wanted = {
        name: {
            f.number: f.message_type.name
            for f in pool[name].fields
            if f.message_type and f.message_type.name in holders
        }
        for name in holders - {"TensorProto"}
    }
    assert wanted == TENSOR_PATHS


def test_what_a_file_declares_is_read_as_onnx_reads_it() -> None:
    model = tiny_onnx(CLASS_NAMES, 96, 128)
    model.metadata_props.add(key="names", value=repr(dict(enumerate(CLASS_NAMES))))
    dim = model.graph.output[0].type.tensor_type.shape.dim[2]
    dim.dim_param = "anchors"
    found = read_onnx(model.SerializeToString())
    assert found.inputs == {"images": (1, 3, 96, 128)}
    assert found.outputs == {"output0": (1, 8, None)}
    assert found.class_names == CLASS_NAMES


@pytest.mark.parametrize("text", ["{0: 'a', 2: 'b'}", "__import__('os').system('true')", "7", "", "[" * 5000])
def test_names_that_make_no_sense_are_none_and_never_run(text: str) -> None:
    model = tiny_onnx(CLASS_NAMES, 96, 128)
    model.metadata_props.add(key="names", value=text)
    assert read_onnx(model.SerializeToString()).class_names is None


def _external(tensor: onnx.TensorProto, location: str) -> onnx.TensorProto:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def _weight(name: str) -> onnx.TensorProto:
    return numpy_helper.from_array(np.ones(4, np.float32), name)


def _model(nodes: list, weights: list | None = None) -> onnx.ModelProto:
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", value[:1], value[1:], weights or [])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def _hidden() -> dict[str, onnx.ModelProto]:
    """External data in each place that can hold a tensor."""
    leak = _external(_weight("leak"), "../../secret")
    add = helper.make_node("Add", ["x", "w"], ["y"])
    constant = helper.make_node("Constant", [], ["w"], value=leak)
    models = {"initializer": _model([add], [leak]), "constant": _model([constant, add])}
    branch = helper.make_graph([constant, helper.make_node("Identity", ["w"], ["z"])], "b", [], [])
    models["subgraph"] = _model([helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)])
    nested = helper.make_graph(
        [helper.make_node("If", ["x"], ["z"], then_branch=branch, else_branch=branch)], "n", [], []
    )
    models["nested subgraph"] = _model([helper.make_node("Loop", ["x"], ["y"], body=nested)])
    sparse = onnx.SparseTensorProto(dims=[4])
    sparse.values.CopyFrom(_weight("sparse"))
    sparse.indices.CopyFrom(leak)
    models["sparse initializer"] = _model([add])
    models["sparse initializer"].graph.sparse_initializer.append(sparse)
    models["function"] = _model([add])
    models["function"].functions.append(onnx.FunctionProto(name="f", node=[constant]))
    models["training"] = _model([add])
    models["training"].training_info.add().algorithm.initializer.append(leak)
    flag = _model([add], [_weight("w")])
    flag.graph.initializer[0].data_location = TensorProto.EXTERNAL
    models["flag without a path"] = flag
    path = _model([add], [_weight("w")])
    path.graph.initializer[0].external_data.add(key="location", value="x")
    models["path without a flag"] = path
    return models


@pytest.mark.parametrize("place", sorted(_hidden()))
def test_external_data_is_refused_wherever_it_hides(place: str) -> None:
    with pytest.raises(BadInputError, match="outside the ONNX file"):
        read_onnx(_hidden()[place].SerializeToString())


def test_a_file_that_onnx_itself_saved_with_external_data_is_refused(tmp_path: Path) -> None:
    onnx.save_model(
        tiny_onnx(CLASS_NAMES, 96, 128),
        tmp_path / "m.onnx",
        save_as_external_data=True,
        location="m.data",
        size_threshold=64,
    )
    assert (tmp_path / "m.data").stat().st_size > 0
    manifest, _ = tiny_bundle_files()
    for engine in get_args(EngineName):
        with pytest.raises(BadInputError, match="outside the ONNX file"):
            open_engine((tmp_path / "m.onnx").read_bytes(), manifest, EngineSpec(engine))


def test_a_self_contained_file_is_accepted() -> None:
    assert read_onnx(_model([helper.make_node("Add", ["x", "w"], ["y"])], [_weight("w")]).SerializeToString()).inputs


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_refused_in_one_line(data: bytes) -> None:
    try:
        read_onnx(data)
    except UserError as error:
        assert "export" in str(error)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_file_never_ends_in_anything_but_an_answer_or_one_line(data: st.DataObject) -> None:
    good = tiny_bundle_files()[1]["model.onnx"]
    at = data.draw(st.integers(0, len(good) - 1))
    damaged = good[:at] + bytes([data.draw(st.integers(0, 255))]) + good[at + 1 :]
    for candidate in (damaged, good[:at]):
        try:
            read_onnx(candidate)
        except UserError:
            pass


def test_nesting_without_end_is_refused() -> None:
    """Written by hand: the onnx package itself cannot hold it."""

    def field(number: int, body: bytes) -> bytes:
        size, digits = len(body), b""
        while size >= 0x80:
            digits, size = digits + bytes([size & 0x7F | 0x80]), size >> 7
        return bytes([number << 3 | 2]) + digits + bytes([size]) + body

    graph = b""
    for _ in range(1000):  # a graph in an attribute of a node of a graph
        graph = field(1, field(5, field(6, graph)))
    with pytest.raises(BadInputError, match="nested deeper"):
        read_onnx(field(7, graph))
