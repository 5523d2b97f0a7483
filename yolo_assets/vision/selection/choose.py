"""Measures every way that is allowed and keeps the best, with the table of what was measured."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
from pydantic import Field

from yolo_assets.contracts.base import Record, Time
from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.model import ModelManifest
from yolo_assets.contracts.times import utc_now
from yolo_assets.vision.engine import Device, EngineName, EngineSpec, Precision, Setup
from yolo_assets.vision.model import Model
from yolo_assets.vision.onnx_file import read_onnx
from yolo_assets.vision.opening import open_engine
from yolo_assets.vision.selection.agreement import Expected, Frames
from yolo_assets.vision.selection.speed import Speed, measure
from yolo_assets.vision.selection.wanted import Wanted

log = logging.getLogger(__name__)

_WORTH = 1.05
"""A way must be so much faster to displace a more exact or an earlier one: less is noise."""
_BATCH_WORTH = 1.1


class Row(Record):
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


class BatchRow(Record):
    """Speed of the chosen way with so many frames at once."""

    batch: int
    latency_ms: float
    per_second: float


class Choice(Record):
    """What was chosen, and the table it was chosen from."""

    chosen: Row
    batch: int = 1
    rows: tuple[Row, ...]
    batches: tuple[BatchRow, ...] = ()
    model_version: str
    measured_at: Time
    remembered: bool = Field(default=False, description="measured in an earlier run on the same device")

    def table(self) -> str:
        """For people, one line a way."""
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


def choose(onnx: bytes, manifest: ModelManifest, wanted: Wanted, setup: Setup, frames: Frames = ()) -> Choice:
    """Measure every way that is allowed, one after the other, and keep the best that agrees with float32.

    Args:
        onnx: checked bytes.
        manifest: of the model.
        wanted: what is allowed and what counts.
        setup: what an engine may use; its mode and batch are taken from ``wanted``.
        frames: pictures as the model sees them, its golden frames for example; none: noise.

    Raises:
        BadInputError: the file is at fault.
        UserError: no way can be used.
    """
    pictures = frames or _noise(manifest)
    setup = replace(setup, mode=wanted.mode, batch=1)
    rows: list[Row] = []
    expected: Expected | None = None
    for spec in wanted.specs():
        row = Row(engine=spec.engine, device=spec.device, precision=spec.precision)
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
                expected = Expected(model, pictures)
            rows.append(_with(row, measure(model, pictures, setup.parallel), problem))
        except UserError as error:
            rows.append(row.model_copy(update={"problem": str(error)}))
        finally:
            model.close()
    chosen = _best(rows, wanted)
    if chosen is None:
        raise UserError(
            f"no engine can run model {manifest.model_version}: "
            + "; ".join(f"{row.spec}: {row.problem}" for row in rows)
        )
    batches = _batches(onnx, manifest, chosen.spec, wanted, setup, pictures)
    return Choice(
        chosen=chosen,
        batch=_best_batch(batches, wanted),
        rows=tuple(rows),
        batches=tuple(batches),
        model_version=manifest.model_version,
        measured_at=utc_now(),
    )


def _best(rows: list[Row], wanted: Wanted) -> Row | None:
    best: Row | None = None
    for row in rows:
        if row.problem is None and (best is None or _gain(row, best, wanted) > _WORTH):
            best = row
    return best


def _gain(row: Row, than: Row, wanted: Wanted) -> float:
    if wanted.mode == "latency":
        return (than.latency_ms or 0.0) / (row.latency_ms or 1.0)
    return (row.per_second or 0.0) / (than.per_second or 1.0)


def _batches(
    onnx: bytes, manifest: ModelManifest, spec: EngineSpec, wanted: Wanted, setup: Setup, frames: Frames
) -> list[BatchRow]:
    """Speeds of 1, 2, 4, ... frames at once; empty where the file or the operator allows only one."""
    if wanted.batch == 1 or not read_onnx(onnx).free_batch:
        return []
    sizes = [1 << power for power in range(wanted.batch.bit_length()) if 1 << power < wanted.batch] + [wanted.batch]
    found = []
    try:
        most = replace(setup, batch=wanted.batch)
        model = Model(manifest, open_engine(onnx, manifest, spec, most), batch=wanted.batch)
    except UserError as error:
        log.warning("model %s is not run in batches: %s", manifest.model_version, error)
        return []
    try:
        for size in sizes:
            speed = measure(model, frames, setup.parallel, size)
            found.append(BatchRow(batch=size, latency_ms=_round(speed.latency_ms), per_second=_round(speed.per_second)))
            if speed.latency_ms > wanted.batch_latency_ms:
                break  # more frames take longer still
    except UserError as error:
        log.warning("model %s is not run in batches of %d: %s", manifest.model_version, len(found) + 1, error)
    finally:
        model.close()
    return found


def _best_batch(rows: list[BatchRow], wanted: Wanted) -> int:
    """The smallest batch that nothing larger beats by a margin, within the limit of latency."""
    best: BatchRow | None = None
    for row in rows:
        if best is None or (
            row.per_second > best.per_second * _BATCH_WORTH and row.latency_ms <= wanted.batch_latency_ms
        ):
            best = row
    return best.batch if best is not None else 1


def _with(row: Row, speed: Speed, problem: str | None) -> Row:
    return row.model_copy(
        update={
            "latency_ms": _round(speed.latency_ms),
            "per_second": _round(speed.per_second),
            "problem": problem,
        }
    )


def _round(value: float) -> float:
    return round(value, 3)


def _noise(manifest: ModelManifest) -> Frames:
    height, width = manifest.input_shape[2:]
    return [np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)]
