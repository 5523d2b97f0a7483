"""A version in int8: quantised by NNCF itself, registered as a version of its own, the same on both engines."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from yolo_assets.contracts.errors import BadInputError, IntegrityError
from yolo_assets.contracts.model import ONNX
from yolo_assets.models.registry import Registry
from yolo_assets.storage.open import open_store
from yolo_assets.training.building import BuildRequest, build_int8
from yolo_assets.training.importing import ImportRequest, import_model
from yolo_assets.training.quantize import unsigned_activations
from yolo_assets.vision.matching import class_overlaps, match
from yolo_assets.vision.model import Model
from yolo_assets.vision.pictures import decode_image
from yolo_assets_tests.cli.command_line import cli, refused
from yolo_assets_tests.support.tiny_model import tiny_bundle_files
from yolo_assets_tests.training.exporting import Exports


def test_an_int8_build_is_a_version_that_both_engines_run_alike(brought: Exports, tmp_path: Path) -> None:
    """Of YOLO11n with random weights: int8 moves its boxes, but the two engines must agree on where to."""
    (tmp_path / "store").mkdir()
    registry = Registry(open_store((tmp_path / "store").as_uri()))
    file = brought.file("yolo11n", "dynamic")
    origin = import_model(registry, ImportRequest(file, "line", "1", brought.pictures, "A. Berg", compare=False))
    request = BuildRequest("line", "1", "1-int8", by="A. Berg", pictures=brought.pictures)
    built = build_int8(registry, request).manifest
    assert built.built is not None
    assert (built.built.of, built.built.precision, built.built.pictures) == ("line/1", "int8", 12)
    assert built.built.tool.startswith("nncf ")
    assert (built.parent_version, built.imported) == ("line/1", None)
    assert built.evidence not in (None, origin.manifest.evidence)
    bundle = registry.read_bundle("line", "1-int8", signed=False)
    operators = [node.op_type for node in onnx.load_model_from_string(bundle.files[ONNX]).graph.node]
    assert operators.count("QuantizeLinear") > 50
    models = [Model.load(built, bundle.files, engine=engine) for engine in ("openvino", "onnxruntime")]
    assert models[0].check_golden(bundle.files) == []
    boxes = apart = 0
    for picture in sorted(brought.pictures.iterdir()):
        found, other = (model.predict(decode_image(picture.read_bytes(), picture.name)) for model in models)
        boxes += len(other)
        apart += int((match(class_overlaps(other, found), 0.7) < 0).sum()) + max(len(found) - len(other), 0)
    assert boxes > 300
    assert apart < 0.1 * boxes, f"{apart} of {boxes} boxes differ between the engines"
    assert build_int8(registry, request).built_before
    assert cli("models", "keygen", home=tmp_path).returncode == 0
    again = cli("models", "build", "line/1", "--calibration", str(brought.pictures), "--json", home=tmp_path)
    told = json.loads(again.stdout)
    assert (told["model"], told["built_before"], told["gate"]) == ("line/1-int8", True, None), again.stderr
    with pytest.raises(BadInputError, match=r"line/1-int8 is a build of line/1; build from that"):
        build_int8(registry, BuildRequest("line", "1-int8", "2", by="A. Berg", pictures=brought.pictures))
    with pytest.raises(IntegrityError, match="give another --version"):
        build_int8(registry, BuildRequest("line", "2", "1", by="A. Berg"))


def test_unsigned_activations_change_no_result() -> None:
    """A product of int8 activations: to uint8 its zero point moves by 128, and every result stays."""
    random = np.random.default_rng(0)
    weight = random.integers(-127, 128, (4, 8), np.int8)
    constants = {"s": np.float32(0.02), "z": np.int8(-7), "ws": np.float32(0.01), "wz": np.int8(0), "w": weight}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"]),
        helper.make_node("MatMul", ["d", "wd"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 8])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        value_info=[helper.make_tensor_value_info("q", TensorProto.INT8, [3, 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    given = {"x": random.normal(0, 2, (3, 4)).astype(np.float32)}

    def result() -> np.ndarray:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return np.asarray(session.run(None, given)[0])

    before = result()
    unsigned_activations(model)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert (stored["z"].dtype, int(stored["z"])) == (np.uint8, 121)
    assert (stored["wz"].dtype, stored["w"].dtype) == (np.int8, np.int8), "weights stay signed"
    np.testing.assert_allclose(result(), before, rtol=1e-6)


def test_without_a_dataset_the_pictures_must_be_named(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    manifest, files = tiny_bundle_files("line", "1")
    Registry(open_store((tmp_path / "store").as_uri())).write_bundle(manifest, files)
    assert cli("models", "keygen", home=tmp_path).returncode == 0
    refused(cli("models", "build", "line/1", home=tmp_path), "give pictures of the line with --calibration DIR")
    refused(cli("models", "build", "line/9", home=tmp_path), "line/9")
