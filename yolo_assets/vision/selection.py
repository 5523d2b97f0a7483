"""Which engine runs a model on this machine: by measurement, among those that find what float32 finds.

Belongs here: which ways to run it are allowed, whether one agrees with float32, how fast it is, and the decision with
its table. Does not belong here: the engines themselves, and remembering the decision.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from yolo_assets.contracts.base import Record, Time
from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.model import GoldenDetection, ModelManifest
from yolo_assets.contracts.times import utc_now
from yolo_assets.vision.engines.interface import Device, EngineName, EngineSetup, EngineSpec, Mode, Precision
from yolo_assets.vision.engines.opening import open_engine
from yolo_assets.vision.golden import box_problems, golden_detections
from yolo_assets.vision.model import Model
from yolo_assets.vision.onnx_file import read_onnx

log = logging.getLogger(__name__)

_WORTH = 1.05
"""A way must be so much faster to displace a more exact or an earlier one: less is noise."""
_BATCH_WORTH = 1.1
_FAINT = 0.01
"""A picture in which nothing reaches the operating point is compared by the best scores of its faint boxes."""
_FAINT_TOLERANCE = 0.05
_RUNS, _SECONDS = 30, 0.6
_LEAST = 3

Frames = Sequence[NDArray[np.uint8]]
EngineChoice = Literal["auto", "openvino", "onnxruntime"]
DeviceChoice = Literal["auto", "cpu", "cuda", "tensorrt", "tensorrt_rtx", "gpu", "npu"]
PrecisionChoice = Literal["auto", "f32", "bf16", "f16"]

_WAYS: dict[tuple[EngineName, Device], tuple[Precision, ...]] = {
    ("openvino", "cpu"): ("f32", "bf16"),
    ("openvino", "gpu"): ("f32", "f16"),
    ("openvino", "npu"): ("f16",),
    ("onnxruntime", "cpu"): ("f32",),
    ("onnxruntime", "cuda"): ("f32", "f16"),
    ("onnxruntime", "tensorrt"): ("f32", "f16", "bf16"),
    ("onnxruntime", "tensorrt_rtx"): ("f32", "f16"),
}
"""Every way that exists, the exact ones first."""


@dataclass(frozen=True)
class EngineOptions:
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
        specs = [
            EngineSpec(engine, device, precision)
            for (engine, device), precisions in _WAYS.items()
            for precision in precisions
            if self.engine in ("auto", engine)
            and self.device in ("auto", device)
            and self.precision in ("auto", precision)
        ]
        return sorted(specs, key=lambda spec: get_args(Precision).index(spec.precision))


class EngineMeasurement(Record):
    """One way to run the model: its speed, or why it is not used."""

    engine: EngineName
    device: Device
    precision: Precision
    latency_ms: float | None = Field(default=None, description="median from picture to boxes")
    per_second: float | None = Field(default=None, description="frames, all workers at work")
    problem: str | None = None

    @property
    def spec(self) -> EngineSpec:
        """Which way."""
        return EngineSpec(self.engine, self.device, self.precision)


class BatchMeasurement(Record):
    """Speed of the chosen way with so many frames at once."""

    batch: int
    latency_ms: float
    per_second: float


class EngineSelection(Record):
    """What was chosen, and the table it was chosen from."""

    chosen: EngineMeasurement
    batch: int = 1
    rows: tuple[EngineMeasurement, ...]
    batches: tuple[BatchMeasurement, ...] = ()
    model_version: str
    measured_at: Time
    remembered: bool = Field(default=False, description="measured in an earlier run on the same device")

    def table(self) -> str:
        """As text, one line a way."""
        lines = []
        for row in self.rows:
            mark = "*" if row.spec == self.chosen.spec else " "
            speed = f"{row.latency_ms:8.1f} ms {row.per_second:8.1f} /s" if row.latency_ms and row.per_second else ""
            lines.append(f"{mark} {row.spec!s:28}{speed}{'  ' if speed and row.problem else ''}{row.problem or ''}")
        lines += [
            f"{'*' if row.batch == self.batch else ' '} {f'batch {row.batch}':28}"
            f"{row.latency_ms:8.1f} ms {row.per_second:8.1f} /s"
            for row in self.batches
        ]
        return "\n".join(lines)


def select_engine(
    onnx: bytes, manifest: ModelManifest, options: EngineOptions, setup: EngineSetup, frames: Frames = ()
) -> EngineSelection:
    """Measure every way that is allowed, one after the other, and keep the best that agrees with float32.

    Args:
        onnx: checked bytes.
        manifest: of the model.
        options: what is allowed and what counts.
        setup: what an engine may use; its mode and batch are taken from ``options``.
        frames: pictures as the model sees them, its golden frames for example; none: noise.

    Raises:
        BadInputError: the file is at fault.
        UserError: no way can be used.
    """
    pictures = frames or _noise(manifest)
    setup = replace(setup, mode=options.mode, batch=1)
    rows: list[EngineMeasurement] = []
    expected: ReferenceResults | None = None
    for spec in options.specs():
        row = EngineMeasurement(engine=spec.engine, device=spec.device, precision=spec.precision)
        try:
            model = Model(manifest, open_engine(onnx, manifest, spec, setup))
        except BadInputError:
            raise  # every engine would say so
        except UserError as error:
            rows.append(row.model_copy(update={"problem": str(error)}))
            continue
        try:
            model.warm_up()
            problem = expected.problem(model) if expected is not None else None
            if expected is None and spec.precision == "f32":
                expected = ReferenceResults(model, pictures)
            rows.append(_measured(row, measure(model, pictures, setup.parallel), problem))
        except UserError as error:
            rows.append(row.model_copy(update={"problem": str(error)}))
        finally:
            model.close()
    chosen = _best(rows, options)
    if chosen is None:
        raise UserError(
            f"no engine can run model {manifest.model_version}: "
            + "; ".join(f"{row.spec}: {row.problem}" for row in rows)
        )
    batches = _batches(onnx, manifest, chosen, options, setup, pictures)
    return EngineSelection(
        chosen=chosen,
        batch=_best_batch(batches, options),
        rows=tuple(rows),
        batches=tuple(batches),
        model_version=manifest.model_version,
        measured_at=utc_now(),
    )


def _best(rows: list[EngineMeasurement], options: EngineOptions) -> EngineMeasurement | None:
    best: EngineMeasurement | None = None
    for row in rows:
        if row.problem is None and (best is None or _gain(row, best, options) > _WORTH):
            best = row
    return best


def _gain(row: EngineMeasurement, than: EngineMeasurement, options: EngineOptions) -> float:
    if options.mode == "latency":
        return (than.latency_ms or 0.0) / (row.latency_ms or 1.0)
    return (row.per_second or 0.0) / (than.per_second or 1.0)


def _batches(
    onnx: bytes,
    manifest: ModelManifest,
    chosen: EngineMeasurement,
    options: EngineOptions,
    setup: EngineSetup,
    frames: Frames,
) -> list[BatchMeasurement]:
    """Speeds of 1, 2, 4, ... frames at once; empty where the file or the operator allows only one.

    The speed of one frame is that of a model for one frame, which an engine may compile to be faster.
    """
    if options.batch == 1 or not read_onnx(onnx).free_batch:
        return []
    sizes = [1 << power for power in range(options.batch.bit_length()) if 1 << power < options.batch] + [options.batch]
    alone = InferenceSpeed(chosen.latency_ms or 0.0, chosen.per_second or 0.0)
    measured = [_batch_measurement(1, alone)]
    try:
        most = replace(setup, batch=options.batch)
        model = Model(manifest, open_engine(onnx, manifest, chosen.spec, most), batch=options.batch)
    except UserError as error:
        log.warning("model %s is not run in batches: %s", manifest.model_version, error)
        return []
    try:
        for size in sizes[1:]:
            speed = measure(model, frames, setup.parallel, size)
            measured.append(_batch_measurement(size, speed))
            if speed.latency_ms > options.batch_latency_ms:
                break  # more frames take longer still
    except UserError as error:
        log.warning("model %s is not run in batches of %d: %s", manifest.model_version, sizes[len(measured)], error)
    finally:
        model.close()
    return measured


def _best_batch(rows: list[BatchMeasurement], options: EngineOptions) -> int:
    """The smallest batch that nothing larger beats by a margin, within the limit of latency."""
    best: BatchMeasurement | None = None
    for row in rows:
        if best is None or (
            row.per_second > best.per_second * _BATCH_WORTH and row.latency_ms <= options.batch_latency_ms
        ):
            best = row
    return best.batch if best is not None else 1


def _measured(row: EngineMeasurement, speed: InferenceSpeed, problem: str | None) -> EngineMeasurement:
    return row.model_copy(
        update={
            "latency_ms": _round(speed.latency_ms),
            "per_second": _round(speed.per_second),
            "problem": problem,
        }
    )


def _batch_measurement(size: int, speed: InferenceSpeed) -> BatchMeasurement:
    return BatchMeasurement(batch=size, latency_ms=_round(speed.latency_ms), per_second=_round(speed.per_second))


def _round(value: float) -> float:
    return round(value, 3)


def _noise(manifest: ModelManifest) -> Frames:
    height, width = manifest.input_shape[2:]
    return [np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)]


class ReferenceResults:
    """What a float32 engine found."""

    def __init__(self, model: Model, frames: Frames) -> None:
        """Run the frames.

        Raises:
            UserError: the model fails here.
        """
        self._frames = frames
        self._detections: list[tuple[GoldenDetection, ...]] = [golden_detections(model, frame) for frame in frames]
        self._faint = [_best_scores(model, frame) for frame in frames]

    @property
    def boxes(self) -> int:
        """How many there are to compare."""
        return sum(map(len, self._detections))

    def problem(self, model: Model) -> str | None:
        """Why another way to run the same model must not be used; None when it agrees."""
        names = model.manifest.record_names
        thresholds = model.manifest.thresholds.of(names)
        references = zip(self._frames, self._detections, self._faint, strict=True)
        for number, (frame, expected, faint) in enumerate(references):
            try:
                problems = box_problems(expected, model.predict(frame), names, thresholds)
                apart = float(np.abs(_best_scores(model, frame) - faint).max())
            except UserError as error:
                return str(error)
            if problems:
                more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
                return f"differs from f32 in picture {number}: {problems[0]}{more}"
            if apart > _FAINT_TOLERANCE:
                return f"differs from f32 in picture {number}: a class's best score by {apart:.3f}"
        return None


def _best_scores(model: Model, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The best confidence of each class, 0 where nothing is even faint."""
    detections = model.predict(frame, confidence=_FAINT)
    best = np.zeros(len(model.manifest.record_names), np.float32)
    np.maximum.at(best, detections.class_id, detections.confidence)
    return best


@dataclass(frozen=True)
class InferenceSpeed:
    """From picture to boxes.

    Attributes:
        latency_ms: median of one call.
        per_second: frames, with all callers at work.
    """

    latency_ms: float
    per_second: float


def measure(model: Model, frames: Frames, callers: int, batch: int = 1) -> InferenceSpeed:
    """Run a warm model from as many threads as will use it.

    Args:
        model: at most ``model.batch`` frames are given at once.
        frames: taken in turn.
        callers: threads that call at the same time.
        batch: frames in each call.

    Raises:
        UserError: an inference failed.
    """
    group = [frames[position % len(frames)] for position in range(batch)]
    model.predict_many(group)  # the first call of a shape allocates
    spent: list[list[float]] = [[] for _ in range(callers)]
    failed: list[Exception] = []
    started = time.perf_counter()

    def call(seconds: list[float]) -> None:
        try:
            while len(seconds) < _LEAST or (len(seconds) < _RUNS and time.perf_counter() - started < _SECONDS):
                before = time.perf_counter()
                model.predict_many(group)
                seconds.append(time.perf_counter() - before)
        except Exception as error:  # raised in the thread that measures
            failed.append(error)

    threads = [threading.Thread(target=call, args=(seconds,), daemon=True) for seconds in spent[1:]]
    for thread in threads:
        thread.start()
    call(spent[0])
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    # From medians, not from the whole time: one hiccup of a busy machine must not decide.
    return InferenceSpeed(
        latency_ms=float(np.median(np.concatenate(spent))) * 1e3,
        per_second=sum(batch / float(np.median(seconds)) for seconds in spent),
    )
