"""Opens an engine on a model file: here or in a child process. Engines are imported only when they are used."""

from __future__ import annotations

from typing import get_args

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.model import ModelManifest
from yolo_assets.vision.contract import file_problems
from yolo_assets.vision.engines.interface import EngineName, EngineSetup, EngineSpec, InferenceEngine
from yolo_assets.vision.onnx_file import read_onnx


def open_engine(
    onnx: bytes, manifest: ModelManifest, spec: EngineSpec, setup: EngineSetup | None = None
) -> InferenceEngine:
    """Load a model file from its bytes.

    Args:
        onnx: the whole file; external data is refused before an engine sees it.
        manifest: what the file must be; a contradiction is refused.
        spec: how to run it.
        setup: what it may use; None: one thread, one frame at a time.

    Raises:
        BadInputError: no usable ONNX, or not what the manifest says, or a batch that it does not take.
        UserError: the engine is not installed or cannot load the file.
    """
    if spec.engine not in get_args(EngineName):
        raise BadInputError(f"there is no engine {spec.engine!r}; use one of: {', '.join(get_args(EngineName))}")
    setup = setup or EngineSetup()
    file = read_onnx(onnx)
    problems = file_problems(manifest, file)
    if problems:
        raise BadInputError(f"model {manifest.model_version} is not what its manifest says: {'; '.join(problems)}")
    if setup.batch > 1 and not file.free_batch:
        raise BadInputError(f"model {manifest.model_version} takes one frame at a time, not {setup.batch}")
    if setup.process:
        from yolo_assets.vision.engines.subprocess import ProcessEngine

        return ProcessEngine(onnx, manifest.input_shape, spec, setup)
    return load_here(onnx, manifest.input_shape, spec, setup)


def load_here(onnx: bytes, shape: tuple[int, ...], spec: EngineSpec, setup: EngineSetup) -> InferenceEngine:
    """Load checked bytes in this process.

    Raises:
        UserError: the engine is not installed or cannot load the file.
    """
    if spec.engine == "openvino":
        from yolo_assets.vision.engines.openvino import OpenVinoEngine

        return OpenVinoEngine(onnx, shape, spec, setup)
    from yolo_assets.vision.engines.onnxruntime import OnnxRuntimeEngine

    return OnnxRuntimeEngine(onnx, shape, spec, setup)
