"""Which engine runs a model file: the one that is asked for, or the fastest by measurement. None is imported before."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.model import ModelManifest
from yolo_assets.inference.contract import file_problems
from yolo_assets.inference.engine import CPU_PROVIDERS, Engine, EngineChoice, EngineName
from yolo_assets.inference.onnx_file import read_onnx

_TRIALS, _TRIAL_SECONDS = 20, 0.5


def open_engine(
    onnx: bytes,
    manifest: ModelManifest,
    *,
    engine: EngineChoice = "auto",
    threads: int = 1,
    parallel: int = 1,
    providers: Sequence[str] = CPU_PROVIDERS,
) -> Engine:
    """Load a model file from its bytes.

    Args:
        onnx: the whole file; external data is refused before an engine sees it.
        manifest: what the file must be; a contradiction is refused.
        engine: ``auto`` measures those that are installed and keeps the faster one.
        threads: CPU threads for one frame.
        parallel: frames that callers will run at the same time.
        providers: ONNX Runtime's execution providers in order of preference; other engines ignore it.

    Raises:
        BadInputError: no usable ONNX, or not what the manifest says.
        UserError: the engine is not installed or cannot load the file.
    """
    if engine == "auto":
        return choose_engine(onnx, manifest, threads=threads, parallel=parallel, providers=providers)[0]
    if engine not in get_args(EngineName):
        raise BadInputError(f"there is no engine {engine!r}; use one of: {', '.join(get_args(EngineChoice))}")
    if threads < 1 or parallel < 1:
        raise BadInputError(f"threads and parallel must be at least 1, got {threads} and {parallel}")
    problems = file_problems(manifest, read_onnx(onnx))
    if problems:
        raise BadInputError(f"model {manifest.model_version} is not what its manifest says: {'; '.join(problems)}")
    if engine == "openvino":
        from yolo_assets.inference.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(onnx, manifest.input_shape, threads=threads, parallel=parallel)
    from yolo_assets.inference.onnxruntime_engine import OnnxRuntimeEngine

    return OnnxRuntimeEngine(onnx, manifest.input_shape, threads=threads, providers=providers)


def choose_engine(
    onnx: bytes,
    manifest: ModelManifest,
    *,
    threads: int = 1,
    parallel: int = 1,
    providers: Sequence[str] = CPU_PROVIDERS,
) -> tuple[Engine, dict[str, float | str]]:
    """Measure every installed engine for a moment and keep the fastest.

    Args: as `open_engine`.

    Returns:
        The engine, and by engine name its median milliseconds a frame, or why it could not be used.

    Raises:
        UserError: none can be used.
    """
    table: dict[str, float | str] = {}
    best: Engine | None = None
    best_ms = float("inf")
    for name in get_args(EngineName):
        try:
            candidate = open_engine(
                onnx, manifest, engine=name, threads=threads, parallel=parallel, providers=providers
            )
        except BadInputError:
            raise  # the file is at fault, every engine would say so
        except UserError as error:
            table[name] = str(error)
            continue
        table[name] = milliseconds = _median_ms(lambda batch, engine=candidate: engine.infer(batch), manifest)
        if milliseconds < best_ms:
            candidate, best, best_ms = best, candidate, milliseconds
        if candidate is not None:
            candidate.close()
    if best is None:
        raise UserError(f"no engine can run model {manifest.model_version}: {'; '.join(map(str, table.values()))}")
    return best, table


def _median_ms(infer: Callable[[NDArray[np.float32]], NDArray[np.float32]], manifest: ModelManifest) -> float:
    batch = np.full(manifest.input_shape, 0.5, np.float32)
    infer(batch)  # the first call also allocates
    spent: list[float] = []
    started = time.perf_counter()
    while len(spent) < _TRIALS and (not spent or time.perf_counter() - started < _TRIAL_SECONDS):
        before = time.perf_counter()
        infer(batch)
        spent.append(time.perf_counter() - before)
    return float(np.median(spent)) * 1e3
