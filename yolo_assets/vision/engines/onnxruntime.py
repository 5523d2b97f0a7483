"""ONNX Runtime, from bytes: the CPU, and NVIDIA's cards by CUDA, TensorRT or TensorRT for RTX."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.errors import UserError, missing_package
from yolo_assets.vision.engines.card import CardSession, page_locked
from yolo_assets.vision.engines.card_file import card_file
from yolo_assets.vision.engines.interface import Batch, Device, EngineSetup, EngineSpec, InputLayout
from yolo_assets.vision.hardware import fingerprint
from yolo_assets.vision.onnx_file import read_onnx

_ONLY_ERRORS = 3
_RTX_PLUGIN = "onnxruntime_ep_nv_tensorrt_rtx"
_PROVIDERS: dict[Device, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "tensorrt_rtx": "NvTensorRTRTXExecutionProvider",
}
_PRECISIONS: dict[Device, tuple[str, ...]] = {
    "cpu": ("f32",),
    "cuda": ("f32", "f16"),
    "tensorrt": ("f32", "f16", "bf16"),
    "tensorrt_rtx": ("f32", "f16"),
}
_NEEDED: dict[Device, str] = {
    "cuda": "install onnxruntime-gpu in the place of onnxruntime",
    "tensorrt": "install onnxruntime-gpu in the place of onnxruntime, and NVIDIA's TensorRT",
    "tensorrt_rtx": "install onnxruntime-ep-nv-tensorrt-rtx beside onnxruntime",
}
_GRAPHS: dict[Device, str] = {"cuda": "enable_cuda_graph", "tensorrt": "trt_cuda_graph_enable"}
"""The options by which a provider captures graphs."""
Options = dict[str, str]


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
    """On the CPU one session that several threads run at once; on cards a session for each of them.

    A CUDA session that two threads run at the same time gives wrong outputs without an error. So a session of a card
    has one caller at a time; who finds none idle waits for one.
    """

    def __init__(self, onnx: bytes, shape: tuple[int, ...], spec: EngineSpec, setup: EngineSetup) -> None:
        """Open a session.

        Args:
            onnx: checked bytes of the file.
            shape: its input, ``[1, 3, h, w]``.
            spec: device and precision.
            setup: its threads are for the CPU, its cache for TensorRT; on cards each parallel frame gets a session.

        Raises:
            UserError: not installed, the device or precision is not available, or the file cannot be loaded.
        """
        if spec.device not in _PROVIDERS:
            raise UserError(f"onnxruntime does not run on {spec.device} here; choose openvino for Intel's devices")
        if spec.precision not in _PRECISIONS[spec.device]:
            raise UserError(
                f"onnxruntime does not compute in {spec.precision} on {spec.device}; "
                f"there it has {', '.join(_PRECISIONS[spec.device])}"
            )
        self._onnxruntime = _import_onnxruntime()
        self.spec = spec
        self._layout, self._most = InputLayout.of(spec, shape), setup.batch
        self._shared = not self._layout.pixels
        self._sessions: list[_PlainSession | CardSession] = []
        self._idle: SimpleQueue[_PlainSession | CardSession] | None = SimpleQueue()
        try:
            for session in self._opened(onnx, setup):
                self._sessions.append(session)
                self._idle.put(session)
        except BaseException:
            self.close()
            raise

    def new_input(self, count: int) -> Batch:
        """See `InferenceEngine.new_input`."""
        buffer = self._layout.empty(count)
        return page_locked(buffer, self._onnxruntime) if self._layout.pixels else buffer

    def infer(self, batch: Batch) -> NDArray[np.float32]:
        """See `InferenceEngine.infer`."""
        self._layout.check(batch, self._most)
        try:
            with self._session() as session:
                return session.infer(batch)
        except UserError:
            raise
        except Exception as error:  # its exceptions share no base class but this
            raise UserError(f"onnxruntime could not run the model: {error}") from None

    def close(self) -> None:
        """See `InferenceEngine.close`."""
        self._idle = None
        while self._sessions:
            self._sessions.pop().close()

    def _opened(self, onnx: bytes, setup: EngineSetup) -> Iterator[_PlainSession | CardSession]:
        """One on the CPU; on cards as many as frames run in parallel, on one card after the other."""
        library, spec = self._onnxruntime, self.spec
        if self._shared:
            yield _PlainSession(_open(library, onnx, setup, provider_list(spec, setup, onnx)))
            return
        _find_provider(library, spec.device)
        onnx = card_file(onnx, f16=spec.precision == "f16" and spec.device != "tensorrt")
        # Without a cache TensorRT would build its engine, which takes minutes, for each session again.
        alone = spec.device == "tensorrt" and setup.cache is None
        for number in range(1 if alone else setup.parallel):
            card = setup.cards[number % len(setup.cards)]

            def open_session(graph: bool, card: int = card) -> Any:
                return _open(library, onnx, setup, provider_list(spec, setup, onnx, card=card, graph=graph))

            if spec.device in _GRAPHS:
                yield CardSession(library, open_session, card, self._layout, setup.batch)
            else:
                yield _PlainSession(open_session(False))

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


class _PlainSession:
    """A session whose frames ONNX Runtime itself brings to the device. On the CPU it takes any number of callers."""

    def __init__(self, session: Any) -> None:
        given = session.get_inputs()[0]
        kinds = {"tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
        self._session: Any = session
        self._input, self._type = given.name, kinds.get(given.type, np.float32)

    def infer(self, batch: Batch) -> NDArray[np.float32]:
        """The output of a batch."""
        (output,) = self._session.run(None, {self._input: batch.astype(self._type, copy=False)})
        return np.asarray(output, np.float32)

    def close(self) -> None:
        """Its memory goes with the last reference to it."""


def _find_provider(onnxruntime: Any, device: Device) -> None:
    """See that a card's provider is installed, and load the libraries that it needs.

    Raises:
        UserError: it is not; what to install.
    """
    provider = _PROVIDERS[device]
    if device == "tensorrt_rtx":
        _rtx_devices(onnxruntime)
        return
    available = onnxruntime.get_available_providers()
    if provider not in available:
        raise UserError(f"onnxruntime has no {provider} here, only {', '.join(available)}; {_NEEDED[device]}")
    if hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()  # finds CUDA and cuDNN that were installed as Python packages


@cache
def _rtx_devices(onnxruntime: Any) -> list[Any]:
    """The cards that TensorRT for RTX can use; its provider is a plug-in with a package of its own.

    Raises:
        UserError: it is not installed, or there is no such card.
    """
    provider, needed = _PROVIDERS["tensorrt_rtx"], _NEEDED["tensorrt_rtx"]
    try:
        plugin = import_module(_RTX_PLUGIN)
        onnxruntime.register_execution_provider_library(provider, plugin.get_library_path())
    except ImportError:
        raise UserError(f"onnxruntime has no {provider} here; {needed}") from None
    except Exception as error:  # onnxruntime's exceptions share no base class but this
        raise UserError(f"onnxruntime cannot load {provider}: {_one_line(error)}; check NVIDIA's driver") from None
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == provider]
    if not devices:
        raise UserError(f"{provider} finds no card here; it needs one of the RTX 30 series or newer, and its driver")
    return devices


def _open(onnxruntime: Any, onnx: bytes, setup: EngineSetup, providers: list[tuple[str, Options]]) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = setup.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ONLY_ERRORS
    # Idle threads that spin take the cores from capture, encoding and the other model.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    device, provider_options = providers[0]
    named: dict[str, Any] = {"providers": providers}
    if device == _PROVIDERS["tensorrt_rtx"]:
        devices = _rtx_devices(onnxruntime)
        card = int(provider_options["device_id"])
        if card >= len(devices):
            raise UserError(f"there is no card {card} for {device} here, only {len(devices)}")
        options.add_provider_for_devices([devices[card]], provider_options)
        named = {}
    try:
        session = onnxruntime.InferenceSession(onnx, options, **named)
    except Exception as error:  # its exceptions share no base class but this
        raise UserError(f"onnxruntime cannot load the model: {_one_line(error)}") from None
    if session.get_providers()[0] != device:
        # ONNX Runtime falls back silently; a device bought for its GPU would be slow.
        raise UserError(f"onnxruntime could not start {device}; check its driver and libraries")
    return session


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def provider_list(
    spec: EngineSpec, setup: EngineSetup, onnx: bytes, *, card: int = 0, graph: bool = False
) -> list[tuple[str, Options]]:
    """ONNX Runtime's providers with their options, in order of preference.

    A TensorRT engine fits one model, one device, one precision and one batch: its cache lies in a folder of these, so
    that no stale engine is ever taken. Operators that a GPU provider lacks run on the next one.

    Args:
        spec: device and precision.
        setup: its cache and batch are for TensorRT.
        onnx: the bytes that the session gets.
        card: number of the card.
        graph: let it capture graphs.
    """
    cpu: list[tuple[str, Options]] = [(_PROVIDERS["cpu"], {})]
    if spec.device == "cpu":
        return cpu
    number = {"device_id": str(card)}
    captured = {_GRAPHS[spec.device]: "1"} if graph else {}
    if spec.device == "tensorrt_rtx":
        return [(_PROVIDERS["tensorrt_rtx"], number | _profile(onnx, setup.batch, "nv_profile")), *cpu]
    # Without the first CUDA rounds the operands of f32 products to 10 bits and is no f32.
    exact = {"use_tf32": "0", "do_copy_in_default_stream": "1"}
    if spec.device == "cuda":
        return [(_PROVIDERS["cuda"], number | exact | captured), *cpu]
    options = (
        number
        | captured
        | {
            "trt_fp16_enable": str(int(spec.precision == "f16")),
            "trt_bf16_enable": str(int(spec.precision == "bf16")),
        }
    )
    if setup.cache is not None:
        folder = engine_cache(setup.cache, onnx, spec, setup.batch)
        folder.mkdir(parents=True, exist_ok=True)
        options |= {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(folder),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(folder.parent),
        }
    options |= _profile(onnx, setup.batch, "trt_profile")
    return [(_PROVIDERS["tensorrt"], options), (_PROVIDERS["cuda"], number | exact), *cpu]


def _profile(onnx: bytes, batch: int, prefix: str) -> Options:
    """The batches that TensorRT is to build for; nothing where one frame goes in at a time."""
    if batch == 1:
        return {}
    [(name, shape)] = read_onnx(onnx).inputs.items()
    sides = "x".join(map(str, shape[1:]))
    counts = (("min", 1), ("opt", batch), ("max", batch))
    return {f"{prefix}_{kind}_shapes": f"{name}:{count}x{sides}" for kind, count in counts}


def engine_cache(folder: Path, onnx: bytes, spec: EngineSpec, batch: int) -> Path:
    """Where the TensorRT engine of these bytes lies here: ``<folder>/tensorrt/<device>/<model>-<precision>-b<n>``."""
    model = hashlib.sha256(onnx).hexdigest()[:32]
    return folder / "tensorrt" / fingerprint()[:16] / f"{model}-{spec.precision}-b{batch}"
