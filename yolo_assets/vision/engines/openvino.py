"""OpenVINO on the CPU, from bytes, in the requested precision, without telemetry."""

from __future__ import annotations

import signal
import sys
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.errors import UserError, missing_package
from yolo_assets.vision.engines.interface import EngineSetup, EngineSpec, check_batch

_BLOBS_KEPT = 8


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


def _new_core(openvino: Any) -> tuple[Any, list[str]]:
    """A core with its CPU plugin loaded, and what the processor can compute in.

    The plugin gives the thread that loads it a stack for signals (for the large registers of AMX), and unmaps it when
    the plugin is freed, in whatever thread that happens. In the main thread, which receives the signals, the next
    SIGTERM after another thread freed the model ended the process with SIGSEGV and without a message. So a thread
    loads it that ends at once: its signal stack then belongs to no thread. One core for all models would do too, but
    its threads would stay at normal priority, and a candidate would warm up on them at the expense of the serving
    model.
    """

    def load() -> tuple[Any, list[str]]:
        core = openvino.Core()
        return core, core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")

    block_signals = partial(signal.pthread_sigmask, signal.SIG_BLOCK, signal.valid_signals())
    with ThreadPoolExecutor(1, "openvino-core", block_signals) as loader:
        return loader.submit(load).result()


class OpenVinoEngine:
    """A compiled model with as many inference requests as callers ever ran at once."""

    def __init__(self, onnx: bytes, shape: tuple[int, ...], spec: EngineSpec, setup: EngineSetup) -> None:
        """Compile.

        Args:
            onnx: checked bytes of the file.
            shape: its input, ``[1, 3, h, w]``.
            spec: on the CPU, ``f32`` or ``bf16``.
            setup: each of its parallel frames gets a stream with threads of its own; its cache keeps compiled models.

        Raises:
            UserError: not installed, the processor cannot do it, or the file cannot be compiled.
        """
        if spec.device != "cpu":
            raise UserError(f"openvino runs on the cpu here, not on {spec.device}; choose onnxruntime for a GPU")
        openvino = _import_openvino()
        self.spec = spec
        self._shape, self._most = tuple(shape), setup.batch
        settings = {
            "PERFORMANCE_HINT": setup.mode.upper(),
            "PERFORMANCE_HINT_NUM_REQUESTS": setup.parallel,
            "NUM_STREAMS": setup.parallel,
            "INFERENCE_NUM_THREADS": setup.threads * setup.parallel,
            # Without this a processor with AMX or AVX512-bf16 computes in bf16, and detections differ between devices.
            "INFERENCE_PRECISION_HINT": spec.precision,
            # Pinned, the current and the candidate model (or a second process) would fight for the same cores.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            core, able = _new_core(openvino)
            # The CPU plugin takes f16 and bf16 on processors without them too, and then crawls.
            if {"f32": "FP32", "bf16": "BF16"}.get(spec.precision) not in able:
                raise UserError(f"this processor does not compute in {spec.precision} with openvino")
            if setup.cache is not None:
                settings["CACHE_DIR"] = str(_blobs(setup.cache))
            model = core.read_model(onnx)
            if setup.batch == 1 and model.is_dynamic():  # a free batch that is not used would cost time
                model.reshape(list(shape))
            self._compiled: Any = core.compile_model(model, "CPU", settings)
        except (RuntimeError, OSError) as error:
            raise UserError(f"openvino cannot load the model: {_first_line(error)}") from None
        # Appending to and popping from a deque is atomic: no lock is needed around the idle requests.
        self._idle: deque[Any] = deque()

    def new_input(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """See `InferenceEngine.new_input`."""
        return np.empty(shape, np.float32)

    def infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `InferenceEngine.infer`."""
        check_batch(batch, self._shape, self._most)
        compiled, idle = self._compiled, self._idle
        if compiled is None:
            raise UserError("the model was closed; load it again")
        try:
            request = idle.pop()
        except IndexError:
            request = compiled.create_infer_request()
        try:
            request.infer([batch], share_inputs=True, share_outputs=True)
            return np.array(request.get_output_tensor(0).data, np.float32)
        except RuntimeError as error:
            raise UserError(f"openvino could not run the model: {_first_line(error)}") from None
        finally:
            idle.append(request)

    def close(self) -> None:
        """See `InferenceEngine.close`."""
        self._compiled, self._idle = None, deque()


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
