"""What an operator allows, and the ways to run a model that this leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from yolo_assets.vision.engine import Device, EngineName, EngineSpec, Mode, Precision

EngineChoice = Literal["auto", "openvino", "onnxruntime"]
DeviceChoice = Literal["auto", "cpu", "cuda", "tensorrt"]
PrecisionChoice = Literal["auto", "f32", "bf16", "f16"]

_KNOWN: dict[tuple[EngineName, Device], tuple[Precision, ...]] = {
    ("openvino", "cpu"): ("f32", "bf16"),
    ("onnxruntime", "cpu"): ("f32",),
    ("onnxruntime", "cuda"): ("f32",),
    ("onnxruntime", "tensorrt"): ("f32", "f16", "bf16"),
}
"""Every way that exists, the exact ones first."""


@dataclass(frozen=True)
class Wanted:
    """``auto`` leaves that part to measurement.

    Attributes:
        mode: ``latency`` chooses the shortest time of one frame, ``throughput`` the most frames a second.
        batch: frames in one inference at most, where a file allows more than one.
        batch_latency_ms: a batch that takes longer is not used.
    """

    engine: EngineChoice = "auto"
    device: DeviceChoice = "auto"
    precision: PrecisionChoice = "auto"
    mode: Mode = "latency"
    batch: int = 1
    batch_latency_ms: float = 100.0

    def specs(self) -> list[EngineSpec]:
        """The ways this leaves, whether they work on this machine or not; float32 first."""
        found = [
            EngineSpec(engine, device, precision)
            for (engine, device), precisions in _KNOWN.items()
            for precision in precisions
            if self.engine in ("auto", engine)
            and self.device in ("auto", device)
            and self.precision in ("auto", precision)
        ]
        return sorted(found, key=lambda spec: get_args(Precision).index(spec.precision))
