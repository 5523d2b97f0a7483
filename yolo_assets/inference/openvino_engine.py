"""OpenVINO on the CPU, from bytes, in the precision that was asked for, without telemetry."""

from __future__ import annotations

import sys
import threading
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.errors import UserError
from yolo_assets.inference.engine import EngineSpec, Setup, check_batch


def _import_openvino() -> Any:
    # Importing openvino sends a usage event when openvino-telemetry is installed. None in sys.modules makes that one
    # import fail, and openvino falls back to its own silent stand-in: no socket is ever opened.
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # pyright: ignore[reportArgumentType]
    try:
        import openvino
    except ImportError:
        raise UserError(
            "the engine openvino is not installed; run: pip install 'yolo-assets[edge-openvino]', or take onnxruntime"
        ) from None
    return openvino


_creating = threading.Lock()
_kept: list[Any] = []


def _core(openvino: Any) -> Any:
    """The one core of this process, which is never freed.

    The CPU plugin gives the thread that creates it a stack for signals (for the large registers of AMX) and unmaps that
    stack with itself. A core for each model, freed by another thread than the one that loaded it, left that thread with
    a signal stack that is gone: the next SIGTERM ended the process with SIGSEGV and without a word.
    """
    with _creating:
        if not _kept:
            _kept.append(openvino.Core())
        return _kept[0]


class OpenVinoEngine:
    """A compiled model with as many inference requests as callers ever ran at once."""

    def __init__(self, onnx: bytes, shape: tuple[int, ...], spec: EngineSpec, setup: Setup) -> None:
        """Compile.

        Args:
            onnx: checked bytes of the file.
            shape: its input, ``[1, 3, h, w]``.
            spec: on the CPU, ``f32`` or ``bf16``.
            setup: each of its parallel frames gets a stream with threads of its own.

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
            # Without this a processor with AMX or AVX512-bf16 computes in bf16, and boxes differ between boxes.
            "INFERENCE_PRECISION_HINT": spec.precision,
            # Pinned, the current and the candidate model (or a second process) would fight for the same cores.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            core = _core(openvino)
            # The CPU plugin takes f16 and bf16 on processors without them too, and then crawls.
            able = {"f32": "FP32", "bf16": "BF16"}.get(spec.precision)
            if able not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
                raise UserError(f"this processor does not compute in {spec.precision} with openvino")
            self._compiled: Any = core.compile_model(core.read_model(onnx), "CPU", settings)
        except RuntimeError as error:
            raise UserError(f"openvino cannot load the model: {_first_line(error)}") from None
        # Appending to and popping from a deque is atomic: no lock is needed around the idle requests.
        self._idle: deque[Any] = deque()

    def new_input(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """See `Engine.new_input`."""
        return np.empty(shape, np.float32)

    def infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Engine.infer`."""
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
        """See `Engine.close`."""
        self._compiled, self._idle = None, deque()


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
