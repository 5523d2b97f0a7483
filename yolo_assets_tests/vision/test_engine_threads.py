"""Every engine and device that is here, under more threads than it was opened for: each gets its own frame's output.

On a machine with a card the same tests run on it: a CUDA session that two threads run at once gives wrong outputs
without an error.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_args

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from yolo_assets.contracts.errors import UserError
from yolo_assets.vision.engines.interface import Device, EngineSetup, EngineSpec
from yolo_assets.vision.engines.opening import load_here
from yolo_assets.vision.selection import EngineOptions
from yolo_assets_tests.support.tiny_model import CLASS_NAMES, tiny_onnx

THREADS, FRAMES = 8, 200
ON_A_CARD = 1e-3
"""Of the largest output: a card sums in another order from run to run. A CPU gives the same bits."""


def differing(spec: EngineSpec, parallel: int, sides: tuple[int, int]) -> int:
    """Outputs under threads that differ from those of one caller."""
    shape = (1, 3, *sides)
    onnx = tiny_onnx(CLASS_NAMES, *sides).SerializeToString()
    engine = load_here(onnx, shape, spec, EngineSetup(parallel=parallel))
    random = np.random.default_rng(0)
    frames = [random.random(shape, np.float32) for _ in range(FRAMES)]
    alone = [engine.infer(frame) for frame in frames]
    assert len({output.tobytes() for output in alone}) == FRAMES, "frames that look alike would prove nothing"
    bound = 0.0 if spec.device == "cpu" else ON_A_CARD * float(np.abs(alone).max())
    barrier = threading.Barrier(THREADS)

    def work(thread: int) -> int:
        barrier.wait(30)
        order = np.random.default_rng(thread).permutation(FRAMES)
        return sum(float(np.abs(engine.infer(frames[at]) - alone[at]).max()) > bound for at in order)

    with ThreadPoolExecutor(THREADS) as pool:
        wrong = sum(pool.map(work, range(THREADS)))
    engine.close()
    return wrong


@pytest.mark.parametrize("parallel", [1, 4])
@pytest.mark.parametrize("spec", EngineOptions().specs(), ids=str)
def test_eight_threads_get_the_outputs_of_one(spec: EngineSpec, parallel: int) -> None:
    try:
        load_here(tiny_onnx(CLASS_NAMES, 32, 32).SerializeToString(), (1, 3, 32, 32), spec, EngineSetup()).close()
    except UserError as error:
        pytest.skip(str(error))
    assert differing(spec, parallel, (64, 96) if spec.device == "cpu" else (640, 640)) == 0


class CardSession:
    """A session that says it is on a card, and fails when two threads run it at once, as a card's would silently."""

    opened: list[CardSession]
    original: Any

    def __init__(self, onnx: bytes, options: Any, providers: list[tuple[str, dict[str, str]]]) -> None:
        self._provider = providers[0][0]
        self._session = self.original(onnx, options, providers=["CPUExecutionProvider"])
        self._running = threading.Lock()
        self.runs = 0
        self.opened.append(self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def get_providers(self) -> list[str]:
        return [self._provider, "CPUExecutionProvider"]

    def run(self, *arguments: Any) -> list[NDArray[np.float32]]:
        assert self._running.acquire(blocking=False), "two callers in one session of a card"
        try:
            self.runs += 1
            return self._session.run(*arguments)
        finally:
            self._running.release()


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> list[CardSession]:
    """Providers of a card that are CPU sessions inside: the list of providers is the edge of the world."""
    CardSession.opened, CardSession.original = [], onnxruntime.InferenceSession
    there = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: there)
    monkeypatch.setattr(onnxruntime, "InferenceSession", CardSession)
    return CardSession.opened


@pytest.mark.parametrize("device", [name for name in get_args(Device) if name in ("cuda", "tensorrt")])
def test_a_session_of_a_card_has_one_caller_at_a_time(card: list[CardSession], device: Device, tmp_path) -> None:
    onnx, shape = tiny_onnx(CLASS_NAMES, 64, 96).SerializeToString(), (1, 3, 64, 96)
    engine = load_here(onnx, shape, EngineSpec("onnxruntime", device), EngineSetup(parallel=3, cache=tmp_path))
    assert len(card) == 3
    reference = load_here(onnx, shape, EngineSpec("openvino"), EngineSetup())
    frames = np.random.default_rng(0).random((40, *shape), np.float32)
    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(engine.infer, frames))
    for frame, output in zip(frames, found, strict=True):
        np.testing.assert_allclose(output, reference.infer(frame), rtol=1e-3, atol=1e-2)
    assert sum(session.runs for session in card) == len(frames)
    engine.close()
    with pytest.raises(UserError, match="closed"):
        engine.infer(frames[0])


def test_without_a_cache_tensorrt_builds_its_engine_once(card: list[CardSession]) -> None:
    onnx = tiny_onnx(CLASS_NAMES, 32, 32).SerializeToString()
    load_here(onnx, (1, 3, 32, 32), EngineSpec("onnxruntime", "tensorrt"), EngineSetup(parallel=3)).close()
    assert len(card) == 1
