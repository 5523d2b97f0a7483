"""The interface that every engine offers, which ways there are to run a model file, and what an engine may use.

Belongs here: what callers of any engine need. Does not belong here: any one engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.errors import BadInputError

EngineName = Literal["openvino", "onnxruntime"]
Device = Literal["cpu", "cuda", "tensorrt", "tensorrt_rtx", "gpu", "npu"]
"""NVIDIA's cards by ONNX Runtime's provider of that name; ``gpu`` and ``npu`` are Intel's, by OpenVINO."""
CARDS: frozenset[Device] = frozenset({"cuda", "tensorrt", "tensorrt_rtx"})
"""Where frames go in as pixels and the card itself scales them to 0 to 1: a quarter of the bytes, and no work here."""
Precision = Literal["f32", "bf16", "f16"]
"""Of the arithmetic inside; the output is float32 always."""
Batch = NDArray[Any]
"""Frames as an engine takes them; see `InputLayout`."""
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
class InputLayout:
    """How an engine takes a frame: float32 ``[3, h, w]``, RGB, 0 to 1; or on a card uint8 ``[h, w, 3]``, BGR, 0 to 255.

    Attributes:
        frame: shape of one.
        pixels: whether they are uint8.
    """

    frame: tuple[int, ...]
    pixels: bool

    @classmethod
    def of(cls, spec: EngineSpec, shape: tuple[int, ...]) -> InputLayout:
        """That of an engine for a file with this input, ``[1, 3, h, w]``."""
        pixels = spec.device in CARDS
        return cls((*shape[2:], shape[1]) if pixels else tuple(shape[1:]), pixels)

    @property
    def dtype(self) -> type[np.generic]:
        """Of the numbers."""
        return np.uint8 if self.pixels else np.float32

    def empty(self, count: int) -> Batch:
        """A buffer for so many frames."""
        return np.empty((count, *self.frame), self.dtype)

    def check(self, batch: Batch, most: int) -> None:
        """Refuse what is no batch of such frames, or has more than ``most``.

        Raises:
            BadInputError: another shape or type.
        """
        if batch.dtype != self.dtype or batch.shape[1:] != self.frame or not 1 <= batch.shape[0] <= most:
            counts = "1" if most == 1 else f"1 to {most}"
            raise BadInputError(
                f"the model takes {np.dtype(self.dtype).name} [{counts}, {', '.join(map(str, self.frame))}], "
                f"got {batch.dtype.name} {list(batch.shape)}"
            )


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
        cards: numbers of the cards that the parallel inferences are spread over; without meaning on a CPU.
        timeout_s: an inference in a child process that takes longer ends that process.
    """

    threads: int = 1
    parallel: int = 1
    mode: Mode = "latency"
    process: bool = False
    idle: bool = False
    cache: Path | None = None
    batch: int = 1
    cards: tuple[int, ...] = (0,)
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

    def new_input(self, count: int) -> Batch:
        """A buffer for frames that `infer` takes without copying it; the caller fills it, and may use it again."""
        ...

    def infer(self, batch: Batch) -> NDArray[np.float32]:
        """Run the model.

        Args:
            batch: frames in the `InputLayout` of the engine, at most the setup's batch; not changed, not kept.

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
