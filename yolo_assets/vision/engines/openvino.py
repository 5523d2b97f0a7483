"""OpenVINO on the CPU, or on Intel's GPU or NPU, from bytes, in the requested precision, without telemetry."""

from __future__ import annotations

import signal
import sys
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.errors import UserError, missing_package
from yolo_assets.vision.engines.interface import Batch, Device, EngineSetup, EngineSpec, InputLayout

_BLOBS_KEPT = 8
_CAPABILITIES = {"f32": "FP32", "bf16": "BF16", "f16": "FP16"}
_NEEDED: dict[Device, str] = {
    "gpu": "install Intel's driver for it (Debian: intel-opencl-icd) and give the agent's user the group render",
    "npu": "install Intel's driver for it (intel-npu-driver) and give the agent's user the group render",
}


def _import_openvino() -> Any:
    # Importing openvino sends a usage event when openvino-telemetry is installed. None in sys.modules makes that one
    # import fail, and openvino falls back to its own silent stand-in: no socket is ever opened.
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # pyright: ignore[reportArgumentType]
    try:
        import openvino
    except ImportError:
        raise UserError(
            f"the engine {missing_package('openvino', 'edge-openvino')}; or choose the engine onnxruntime"
        ) from None
    return openvino


def _new_core(openvino: Any, device: str) -> tuple[Any, list[str]]:
    """A core with the plugin of a device loaded, and what that can compute in; nothing where it is not there.

    The plugin gives the thread that loads it a stack for signals (for the large registers of AMX), and unmaps it when
    the plugin is freed, in whatever thread that happens. In the main thread, which receives the signals, the next
    SIGTERM after another thread freed the model ended the process with SIGSEGV and without a message. So a thread
    loads it that ends at once: its signal stack then belongs to no thread. One core for all models would do too, but
    its threads would stay at normal priority, and a candidate would warm up on them at the expense of the serving
    model.
    """

    def load() -> tuple[Any, list[str]]:
        core = openvino.Core()
        if device != "CPU" and device not in (name.split(".")[0] for name in core.available_devices):
            return core, []
        return core, core.get_property(device, "OPTIMIZATION_CAPABILITIES")

    block_signals = partial(signal.pthread_sigmask, signal.SIG_BLOCK, signal.valid_signals())
    with ThreadPoolExecutor(1, "openvino-core", block_signals) as loader:
        return loader.submit(load).result()


class OpenVinoEngine:
    """A compiled model, for each card one, with as many inference requests as callers ever ran at once."""

    def __init__(self, onnx: bytes, shape: tuple[int, ...], spec: EngineSpec, setup: EngineSetup) -> None:
        """Compile.

        Args:
            onnx: checked bytes of the file.
            shape: its input, ``[1, 3, h, w]``.
            spec: on the CPU ``f32`` or ``bf16``, on a GPU ``f32`` or ``f16``, on an NPU ``f16``.
            setup: each of its parallel frames gets a stream, on the CPU with threads of its own; its cache keeps
                compiled models.

        Raises:
            UserError: not installed, the device is not there or cannot do it, or the file cannot be compiled.
        """
        if spec.device not in ("cpu", "gpu", "npu"):
            raise UserError(f"openvino does not run on {spec.device}; choose onnxruntime for NVIDIA's cards")
        openvino = _import_openvino()
        self.spec = spec
        self._layout, self._most = InputLayout.of(spec, shape), setup.batch
        try:
            core, able = _new_core(openvino, spec.device.upper())
            if not able:
                raise UserError(f"openvino sees no {spec.device} here; {_NEEDED[spec.device]}, or choose device: cpu")
            # The CPU plugin takes f16 and bf16 on processors without them too, and then crawls.
            if _CAPABILITIES[spec.precision] not in able or (spec.device, spec.precision) == ("cpu", "f16"):
                what = "processor" if spec.device == "cpu" else spec.device
                raise UserError(f"this {what} does not compute in {spec.precision} with openvino")
            model = core.read_model(onnx)
            if setup.batch == 1 and model.is_dynamic():  # a free batch that is not used would cost time
                model.reshape(list(shape))
            names = _device_names(spec.device, setup.cards)
            settings = _settings(spec, setup, len(names))
            self._compiled: list[Any] = [core.compile_model(model, name, settings) for name in names]
        except (RuntimeError, OSError) as error:
            raise UserError(f"openvino cannot load the model: {_first_line(error)}") from None
        # Appending to and popping from a deque is atomic: no lock is needed around the idle requests.
        self._idle: deque[Any] = deque()
        self._next = cycle(self._compiled)

    def new_input(self, count: int) -> Batch:
        """See `InferenceEngine.new_input`."""
        return self._layout.empty(count)

    def infer(self, batch: Batch) -> NDArray[np.float32]:
        """See `InferenceEngine.infer`."""
        self._layout.check(batch, self._most)
        idle = self._idle
        if not self._compiled:
            raise UserError("the model was closed; load it again")
        try:
            request = idle.pop()
        except IndexError:
            request = next(self._next).create_infer_request()
        try:
            request.infer([batch], share_inputs=True, share_outputs=True)
            return np.array(request.get_output_tensor(0).data, np.float32)
        except RuntimeError as error:
            raise UserError(f"openvino could not run the model: {_first_line(error)}") from None
        finally:
            idle.append(request)

    def close(self) -> None:
        """See `InferenceEngine.close`."""
        self._compiled, self._next, self._idle = [], cycle(()), deque()


def _device_names(device: Device, cards: tuple[int, ...]) -> list[str]:
    """As OpenVINO spells them: ``CPU``, ``NPU``, or ``GPU.1`` for each card."""
    return [f"GPU.{card}" for card in cards] if device == "gpu" else [device.upper()]


def _settings(spec: EngineSpec, setup: EngineSetup, cards: int) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": setup.mode.upper(),
        "PERFORMANCE_HINT_NUM_REQUESTS": -(-setup.parallel // cards),
        # Without this a processor with AMX or AVX512-bf16 computes in bf16, and detections differ between devices.
        "INFERENCE_PRECISION_HINT": spec.precision,
    }
    if spec.device == "cpu":
        settings |= {
            "NUM_STREAMS": setup.parallel,
            "INFERENCE_NUM_THREADS": setup.threads * setup.parallel,
            # Pinned, the current and the candidate model (or a second process) would fight for the same cores.
            "ENABLE_CPU_PINNING": False,
        }
    if setup.cache is not None:
        settings["CACHE_DIR"] = str(_blobs(setup.cache))
    return settings


def _blobs(cache: Path) -> Path:
    """The folder of compiled models; the oldest are deleted.

    OpenVINO names them by the content of the file, the settings, its version and the processor, and compiles again what
    it cannot read.
    """
    folder = cache / "openvino"
    folder.mkdir(parents=True, exist_ok=True)
    for old in sorted(folder.glob("*.blob"), key=lambda file: file.stat().st_mtime)[:-_BLOBS_KEPT]:
        old.unlink(missing_ok=True)
    return folder


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
