"""ONNX Runtime, from bytes: the CPU, CUDA, or TensorRT with its engine cache."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.errors import UserError, missing_package
from yolo_assets.vision.engines.interface import Device, EngineSetup, EngineSpec, check_batch
from yolo_assets.vision.hardware import fingerprint
from yolo_assets.vision.onnx_file import read_onnx

_ONLY_ERRORS = 3
_PROVIDERS: dict[Device, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_PRECISIONS: dict[Device, tuple[str, ...]] = {
    "cpu": ("f32",),
    "cuda": ("f32",),
    "tensorrt": ("f32", "f16", "bf16"),
}


def _import_onnxruntime() -> Any:
    # From 1.31 on it reports from Linux too, to mobile.events.data.microsoft.com, from a thread of its own; switching
    # that off after the import is too late. It reads the variable while it is imported.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError:
        raise UserError(
            f"the engine {missing_package('onnxruntime', 'edge-onnxruntime')}; or choose the engine openvino"
        ) from None
    onnxruntime.disable_telemetry_events()  # what builds for Windows send has this switch
    return onnxruntime


class OnnxRuntimeEngine:
    """On the CPU one session that several threads run at once; on a card a session for each of them.

    A CUDA session that two threads run at the same time gives wrong outputs without an error. So a session of a card
    has one caller at a time; who finds none idle waits for one.
    """

    def __init__(self, onnx: bytes, shape: tuple[int, ...], spec: EngineSpec, setup: EngineSetup) -> None:
        """Open a session.

        Args:
            onnx: checked bytes of the file.
            shape: its input, ``[1, 3, h, w]``.
            spec: device and precision.
            setup: its threads are for the CPU, its cache for TensorRT; on a card each parallel frame gets a session.

        Raises:
            UserError: not installed, the device or precision is not available, or the file cannot be loaded.
        """
        if spec.precision not in _PRECISIONS[spec.device]:
            raise UserError(
                f"onnxruntime does not compute in {spec.precision} on {spec.device}; "
                f"there it has {', '.join(_PRECISIONS[spec.device])}"
            )
        onnxruntime = _import_onnxruntime()
        self.spec = spec
        self._shape, self._most = tuple(shape), setup.batch
        provider = _PROVIDERS[spec.device]
        available = onnxruntime.get_available_providers()
        if provider not in available:
            raise UserError(f"onnxruntime has no {provider} here; available: {', '.join(available)}")
        if spec.device != "cpu" and hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()  # finds CUDA and cuDNN that were installed as Python packages
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = setup.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ONLY_ERRORS
        # Idle threads that spin take the cores from capture, encoding and the other model.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        # Without a cache TensorRT would build its engine, which takes minutes, for each session again.
        alone = spec.device == "tensorrt" and setup.cache is None
        self._shared = spec.device == "cpu"
        providers = provider_list(spec, setup, onnx)
        first, *more = (
            _open_session(onnxruntime, onnx, options, providers)
            for _ in range(1 if self._shared or alone else setup.parallel)
        )
        self._idle: SimpleQueue[Any] | None = SimpleQueue()
        for session in (first, *more):
            self._idle.put(session)
        given = first.get_inputs()[0]
        self._input, self._type = given.name, np.float16 if given.type == "tensor(float16)" else np.float32
        self._output = first.get_outputs()[0].name

    def new_input(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """See `InferenceEngine.new_input`."""
        return np.empty(shape, np.float32)

    def infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `InferenceEngine.infer`."""
        check_batch(batch, self._shape, self._most)
        given = {self._input: batch.astype(self._type, copy=False)}
        try:
            with self._session() as session:
                return np.asarray(session.run([self._output], given)[0], np.float32)
        except UserError:
            raise
        except Exception as error:  # its exceptions share no base class but this
            raise UserError(f"onnxruntime could not run the model: {error}") from None

    def close(self) -> None:
        """See `InferenceEngine.close`."""
        self._idle = None

    @contextmanager
    def _session(self) -> Generator[Any]:
        """A session for one inference; on a card nobody else has it meanwhile."""
        idle = self._idle
        if idle is None:
            raise UserError("the model was closed; load it again")
        session = idle.get()
        if self._shared:
            idle.put(session)
            yield session
            return
        try:
            yield session
        finally:
            idle.put(session)


def _open_session(onnxruntime: Any, onnx: bytes, options: Any, providers: list[tuple[str, dict[str, str]]]) -> Any:
    try:
        session = onnxruntime.InferenceSession(onnx, options, providers=providers)
    except Exception as error:  # its exceptions share no base class but this
        raise UserError(f"onnxruntime cannot load the model: {error}") from None
    if session.get_providers()[0] != providers[0][0]:
        # ONNX Runtime falls back silently; a device bought for its GPU would be slow.
        raise UserError(f"onnxruntime could not start {providers[0][0]}; check its driver and libraries")
    return session


def provider_list(spec: EngineSpec, setup: EngineSetup, onnx: bytes) -> list[tuple[str, dict[str, str]]]:
    """ONNX Runtime's providers with their options, in order of preference.

    A TensorRT engine fits one model, one device, one precision and one batch: its cache lies in a folder of these, so
    that no stale engine is ever taken. Operators that a GPU provider lacks run on the next one.
    """
    cpu: list[tuple[str, dict[str, str]]] = [(_PROVIDERS["cpu"], {})]
    if spec.device == "cpu":
        return cpu
    # Without this CUDA rounds the operands of f32 products to 10 bits and is no f32.
    cuda = [(_PROVIDERS["cuda"], {"device_id": "0", "use_tf32": "0", "do_copy_in_default_stream": "1"}), *cpu]
    if spec.device == "cuda":
        return cuda
    options = {
        "device_id": "0",
        "trt_fp16_enable": str(int(spec.precision == "f16")),
        "trt_bf16_enable": str(int(spec.precision == "bf16")),
    }
    if setup.cache is not None:
        folder = engine_cache(setup.cache, onnx, spec, setup.batch)
        folder.mkdir(parents=True, exist_ok=True)
        options |= {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(folder),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(folder.parent),
        }
    if setup.batch > 1:
        [(name, shape)] = read_onnx(onnx).inputs.items()
        sides = "x".join(map(str, shape[1:]))
        for kind, count in (("min", 1), ("opt", setup.batch), ("max", setup.batch)):
            options[f"trt_profile_{kind}_shapes"] = f"{name}:{count}x{sides}"
    return [(_PROVIDERS["tensorrt"], options), *cuda]


def engine_cache(folder: Path, onnx: bytes, spec: EngineSpec, batch: int) -> Path:
    """Where the TensorRT engine of these bytes lies here: ``<folder>/tensorrt/<device>/<model>-<precision>-b<n>``."""
    model = hashlib.sha256(onnx).hexdigest()[:32]
    return folder / "tensorrt" / fingerprint()[:16] / f"{model}-{spec.precision}-b{batch}"
