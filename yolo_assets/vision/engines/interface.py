"""The interface that every engine offers, which ways there are to run a model file, and what an engine may use.

Belongs here: what callers of any engine need. Does not belong here: any one engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.errors import BadInputError

EngineName = Literal["openvino", "onnxruntime"]
Device = Literal["cpu", "cuda", "tensorrt"]
"""``tensorrt`` is a GPU too, by ONNX Runtime's TensorRT provider."""
Precision = Literal["f32", "bf16", "f16"]
"""Of the arithmetic inside; input and output are float32 always."""
Mode = Literal["latency", "throughput"]


@dataclass(frozen=True)
class EngineSpec:
    """One way to run a model file."""

    engine: EngineName
    device: Device = "cpu"
    precision: Precision = "f32"

    def __str__(self) -> str:
        return f"{self.engine} {self.device} {self.precision}"


@dataclass(frozen=True)
class EngineSetup:
    """What an engine may use.

    Attributes:
        threads: CPU threads for one inference.
        parallel: inferences that callers will run at the same time.
        mode: what the engine optimises for.
        process: run it in a child process: the memory of a bad load is returned, and a native crash ends no caller.
        idle: the child process takes only processor time that nothing else on the machine wants.
        cache: folder for what an engine compiles (OpenVINO, TensorRT); None compiles anew at each load.
        batch: frames in one inference at most; more than one needs a file with a free batch dimension.
        timeout_s: an inference in a child process that takes longer ends that process.
    """

    threads: int = 1
    parallel: int = 1
    mode: Mode = "latency"
    process: bool = False
    idle: bool = False
    cache: Path | None = None
    batch: int = 1
    timeout_s: float = 30.0

    def __post_init__(self) -> None:
        if min(self.threads, self.parallel, self.batch) < 1 or self.timeout_s <= 0:
            raise BadInputError(
                f"threads, parallel and batch must be at least 1 and the timeout positive, got "
                f"{self.threads}, {self.parallel}, {self.batch} and {self.timeout_s}"
            )


class InferenceEngine(Protocol):
    """One loaded model file. Safe to call from several threads at once."""

    @property
    def spec(self) -> EngineSpec:
        """How it runs the file."""
        ...

    def new_input(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """A buffer that `infer` takes without copying it; the caller fills it, and may use it again and again."""
        ...

    def infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the model.

        Args:
            batch: float32 ``[n, 3, h, w]`` as the file declares it, n at most the setup's batch; not changed, not kept.

        Returns:
            The one output, float32 ``[n, ...]``; the caller's own copy.

        Raises:
            BadInputError: another shape or type.
            UserError: closed, or the inference failed.
        """
        ...

    def close(self) -> None:
        """Give memory back once the calls in progress have returned; calling it twice is no error."""
        ...


def check_batch(batch: NDArray[np.float32], shape: tuple[int, ...], most: int) -> None:
    """Refuse a batch that is not what the file declares.

    Args:
        batch: what came.
        shape: of one frame, ``[1, 3, h, w]``.
        most: frames at most.

    Raises:
        BadInputError: another shape or type.
    """
    if batch.dtype != np.float32 or batch.shape[1:] != shape[1:] or not 1 <= batch.shape[0] <= most:
        counts = "1" if most == 1 else f"1 to {most}"
        raise BadInputError(
            f"the model takes float32 [{counts}, {', '.join(map(str, shape[1:]))}], "
            f"got {batch.dtype.name} {list(batch.shape)}"
        )
