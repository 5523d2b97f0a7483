"""Every engine and device that is here, under more threads than it was opened for: each gets its own frame's output.

On a machine with a card the same tests run on it: a CUDA session that two threads run at once gives wrong outputs
without an error.
"""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from yolo_assets.contracts.errors import UserError
from yolo_assets.vision.engines.interface import Batch, EngineSetup, EngineSpec, InferenceEngine
from yolo_assets.vision.engines.opening import load_here
from yolo_assets.vision.model import Model
from yolo_assets.vision.selection import EngineOptions
from yolo_assets_tests.support.tiny_model import CLASS_NAMES, blob_frame, tiny_bundle_files, tiny_onnx

THREADS, FRAMES = 8, 200
ON_A_CARD = 1e-3
"""Of the largest output: a card sums in another order from run to run. A CPU gives the same bits."""


def noise(engine: InferenceEngine, seed: int, count: int = 1) -> Batch:
    """Frames as the engine takes them: float32 planes, or on a card pixels."""
    batch, random = engine.new_input(count), np.random.default_rng(seed)
    batch[:] = random.random(batch.shape) if batch.dtype == np.float32 else random.integers(0, 256, batch.shape)
    return batch


def differing(spec: EngineSpec, parallel: int, sides: tuple[int, int]) -> int:
    """Outputs under threads that differ from those of one caller."""
    shape = (1, 3, *sides)
    onnx = tiny_onnx(CLASS_NAMES, *sides).SerializeToString()
    engine = load_here(onnx, shape, spec, EngineSetup(parallel=parallel))
    frames = [noise(engine, seed) for seed in range(FRAMES)]
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


class PretendedSession:
    """A session that says it is on a card, and fails where a card's would go wrong silently.

    Two callers at once, a caller on another thread than the one that captured, and anything beside a capture.
    """

    opened: list[PretendedSession]
    running: int
    original: Any

    def __init__(self, onnx: bytes, options: Any, providers: list[tuple[str, dict[str, str]]]) -> None:
        self.provider, self.options = providers[0]
        self._session = self.original(onnx, options, providers=["CPUExecutionProvider"])
        self._busy = threading.Lock()
        self._graphs: dict[str, int] = {}
        self.runs = 0
        self.opened.append(self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def get_providers(self) -> list[str]:
        return [self.provider, "CPUExecutionProvider"]

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        assert self._busy.acquire(blocking=False), "two callers in one session of a card"
        graph, me = options.get_run_config_entry("gpu_graph_id"), threading.get_ident()
        captures = graph != "-1" and graph not in self._graphs
        PretendedSession.running += 1
        try:
            assert not captures or PretendedSession.running == 1, "another session runs beside a capture"
            assert self._graphs.setdefault(graph, me) == me, "a graph belongs to the thread that captured it"
            self.runs += graph != "-1" and not captures
            self._session.run_with_iobinding(binding, options)
        finally:
            PretendedSession.running -= 1
            self._busy.release()

    @property
    def sizes(self) -> set[int]:
        """Frames at once for which a graph was captured."""
        return {int(graph) for graph in self._graphs if graph != "-1"}


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> list[PretendedSession]:
    """Cards that are the processor inside: providers and the memory of buffers are the edge of the world."""
    PretendedSession.opened, PretendedSession.running = [], 0
    PretendedSession.original = onnxruntime.InferenceSession
    there = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: there)
    monkeypatch.setattr(onnxruntime, "InferenceSession", PretendedSession)
    original = onnxruntime.OrtValue.ortvalue_from_numpy
    value = lambda array, device, card: original(array.copy())  # noqa: E731
    monkeypatch.setattr(onnxruntime.OrtValue, "ortvalue_from_numpy", value)
    return PretendedSession.opened


CARD_WAYS = [spec for spec in EngineOptions().specs() if spec.device in ("cuda", "tensorrt")]


@pytest.mark.parametrize("spec", CARD_WAYS, ids=str)
def test_a_card_gives_each_caller_the_output_of_its_own_frame(
    card: list[PretendedSession], spec: EngineSpec, tmp_path: Path
) -> None:
    """Pixels go in, on two cards and in batches, and come out as on a CPU that is given the same as floats."""
    onnx, shape = tiny_onnx(CLASS_NAMES, 64, 96, free_batch=True).SerializeToString(), (1, 3, 64, 96)
    setup = EngineSetup(parallel=3, batch=3, cards=(0, 2), cache=tmp_path)
    engine = load_here(onnx, shape, spec, setup)
    assert [session.options["device_id"] for session in card] == ["0", "2", "0"]
    assert all(session.sizes == {1, 2, 3} for session in card)
    reference = load_here(onnx, shape, EngineSpec("openvino"), EngineSetup(batch=3))
    frames = [noise(engine, seed, 1 + seed % 3) for seed in range(40)]
    assert frames[0].dtype == np.uint8
    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(engine.infer, frames))
    exact = spec.precision != "f16" or spec.device == "tensorrt"  # TensorRT rounds by itself, when there is one
    for frame, output in zip(frames, found, strict=True):
        planes = np.ascontiguousarray(frame[..., ::-1].transpose(0, 3, 1, 2), np.float32) / np.float32(255)
        wanted = reference.infer(planes)
        np.testing.assert_allclose(output, wanted, rtol=1e-3, atol=1e-2 if exact else 0.3)
    assert sum(session.runs for session in card) == len(frames)
    engine.close()
    with pytest.raises(UserError, match="closed"):
        engine.infer(frames[0])


def test_a_network_that_no_graph_can_hold_runs_without(
    card: list[PretendedSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Suppression inside a file runs on the processor: ONNX Runtime then refuses to capture."""

    def refuse(onnx: bytes, options: Any, providers: list[tuple[str, dict[str, str]]]) -> PretendedSession:
        if providers[0][1].get("enable_cuda_graph") == "1":
            raise RuntimeError("This session cannot use the graph capture feature as requested by the user")
        return PretendedSession(onnx, options, providers)

    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)
    onnx = tiny_onnx(CLASS_NAMES, 32, 32).SerializeToString()
    engine = load_here(onnx, (1, 3, 32, 32), EngineSpec("onnxruntime", "cuda"), EngineSetup())
    assert engine.infer(noise(engine, 0)).shape[0] == 1
    assert card[0].sizes == set()


def test_without_a_cache_tensorrt_builds_its_engine_once(card: list[PretendedSession]) -> None:
    onnx = tiny_onnx(CLASS_NAMES, 32, 32).SerializeToString()
    load_here(onnx, (1, 3, 32, 32), EngineSpec("onnxruntime", "tensorrt"), EngineSetup(parallel=3)).close()
    assert len(card) == 1


def test_a_model_on_a_card_finds_what_it_finds_on_the_processor(card: list[PretendedSession]) -> None:
    manifest, files = tiny_bundle_files()
    on_card = Model.load(manifest, files, engine=EngineSpec("onnxruntime", "cuda"))
    here = Model.load(manifest, files, engine="onnxruntime")
    boxes = 0
    for seed, (height, width) in enumerate([(96, 128), (48, 300), (500, 90)]):
        frame = blob_frame(seed, height, width)[0]
        found, wanted = on_card.predict(frame), here.predict(frame)
        np.testing.assert_array_equal(found.xyxy, wanted.xyxy)
        np.testing.assert_array_equal(found.confidence, wanted.confidence)
        boxes += len(wanted)
    assert boxes > 5
    assert [session.sizes for session in card if session.provider.startswith("CUDA")] == [{1}]


MISSING = [
    (EngineSpec("onnxruntime", "cuda"), "no CUDAExecutionProvider here, .*; install onnxruntime-gpu"),
    (EngineSpec("onnxruntime", "tensorrt"), "no TensorrtExecutionProvider here, .*; install onnxruntime-gpu"),
    (EngineSpec("onnxruntime", "tensorrt_rtx"), "install onnxruntime-ep-nv-tensorrt-rtx beside onnxruntime"),
    (EngineSpec("openvino", "gpu", "f16"), "sees no gpu here; install Intel's driver for it .*intel-opencl-icd"),
    (EngineSpec("openvino", "npu", "f16"), "sees no npu here; install Intel's driver for it"),
    (EngineSpec("onnxruntime", "npu", "f16"), "choose openvino for Intel's devices"),
]


@pytest.mark.parametrize(("spec", "said"), MISSING, ids=lambda value: str(value)[:24])
def test_what_is_missing_for_a_device_is_one_line(spec: EngineSpec, said: str) -> None:
    onnx = tiny_onnx(CLASS_NAMES, 32, 32).SerializeToString()
    try:
        load_here(onnx, (1, 3, 32, 32), spec, EngineSetup()).close()
    except UserError as error:
        if "check" not in str(error):  # the library is here, and something else is missing
            assert re.search(said, str(error)), error
        assert "\n" not in str(error)
    else:
        pytest.skip("this machine has one")
