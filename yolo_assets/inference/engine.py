"""What runs an ONNX file: the interface that every engine offers, and what engines share."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.errors import BadInputError

EngineName = Literal["openvino", "onnxruntime"]
EngineChoice = Literal["openvino", "onnxruntime", "auto"]
CPU_PROVIDERS = ("CPUExecutionProvider",)


class Engine(Protocol):
    """One loaded model file. Safe to call from several threads at once."""

    @property
    def name(self) -> EngineName:
        """Which engine this is."""
        ...

    def infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the model.

        Args:
            batch: float32 ``[n, 3, h, w]``, just the shape the file declares; not changed, not kept.

        Returns:
            The one output, float32; the caller's own copy.

        Raises:
            BadInputError: another shape or type.
            UserError: closed.
        """
        ...

    def close(self) -> None:
        """Give memory back once the calls in progress have returned; calling it twice is no error."""
        ...


def check_batch(batch: NDArray[np.float32], shape: tuple[int, ...]) -> None:
    """Refuse a batch that is not what the file declares.

    Raises:
        BadInputError: another shape or type.
    """
    if batch.dtype != np.float32 or batch.shape != shape:
        raise BadInputError(f"the model takes float32 {list(shape)}, got {batch.dtype.name} {list(batch.shape)}")
