"""ONNX Runtime, from bytes: the CPU by default, other execution providers by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.errors import UserError
from yolo_assets.inference.engine import CPU_PROVIDERS, EngineName, check_batch

_ONLY_ERRORS = 3


def _import_onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise UserError(
            "the engine onnxruntime is not installed; run: pip install 'yolo-assets[edge]', or choose openvino"
        ) from None
    onnxruntime.disable_telemetry_events()  # builds for Windows send some
    return onnxruntime


class OnnxRuntimeEngine:
    """One session; ONNX Runtime lets several threads run it at once."""

    name: EngineName = "onnxruntime"

    def __init__(
        self, onnx: bytes, shape: tuple[int, ...], *, threads: int = 1, providers: Sequence[str] = CPU_PROVIDERS
    ) -> None:
        """Open a session.

        Args:
            onnx: checked bytes of the file.
            shape: its input.
            threads: CPU threads for one frame.
            providers: execution providers in order of preference.

        Raises:
            UserError: not installed, a provider is not available, or the file cannot be loaded.
        """
        onnxruntime = _import_onnxruntime()
        self._shape = tuple(shape)
        available = onnxruntime.get_available_providers()
        missing = [provider for provider in providers if provider not in available]
        if missing or not providers:
            raise UserError(
                f"onnxruntime has no {', '.join(missing) or 'provider to use'} here; available: {', '.join(available)}"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ONLY_ERRORS
        # Idle threads that spin take the cores from capture, encoding and the other model.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        try:
            self._session: Any = onnxruntime.InferenceSession(onnx, options, providers=list(providers))
        except Exception as error:  # its exceptions share no base class but this
            raise UserError(f"onnxruntime cannot load the model: {error}") from None
        if self._session.get_providers()[0] != providers[0]:
            # ONNX Runtime falls back without a word; a box sold as a GPU box would crawl.
            raise UserError(f"onnxruntime could not start {providers[0]}; check its driver and libraries")
        self._input = self._session.get_inputs()[0].name
        self._output = self._session.get_outputs()[0].name

    def infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Engine.infer`."""
        check_batch(batch, self._shape)
        session = self._session
        if session is None:
            raise UserError("the model was closed; load it again")
        return np.asarray(session.run([self._output], {self._input: batch})[0], np.float32)

    def close(self) -> None:
        """See `Engine.close`."""
        self._session = None
