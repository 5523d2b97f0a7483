"""An engine in a child process: the same boxes, and a crash is an error, not the end."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.model import ONNX, ModelManifest
from yolo_assets.vision.engines.interface import EngineSetup, EngineSpec
from yolo_assets.vision.engines.opening import load_here
from yolo_assets.vision.engines.subprocess import ProcessEngine
from yolo_assets.vision.model import Model
from yolo_assets_tests.support.tiny_model import blob_frame, tiny_bundle_files

Bundle = tuple[ModelManifest, dict[str, bytes]]
SPEC = EngineSpec("onnxruntime")


def start(bundle: Bundle, **setup) -> ProcessEngine:
    manifest, files = bundle
    return ProcessEngine(files[ONNX], manifest.input_shape, SPEC, EngineSetup(process=True, **setup))


def kill(engine: ProcessEngine) -> None:
    pid = engine.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def test_many_callers_get_the_boxes_of_their_own_frame(tiny_bundle: Bundle) -> None:
    here = Model.load(*tiny_bundle, engine=SPEC)
    there = Model.load(*tiny_bundle, engine=SPEC, setup=EngineSetup(process=True, parallel=2))
    frames = [blob_frame(seed)[0] for seed in range(24)]
    with ThreadPoolExecutor(4) as pool:  # more callers than lanes
        found = list(pool.map(there.predict, frames))
    for frame, boxes in zip(frames, found, strict=True):
        np.testing.assert_array_equal(boxes.xyxy, here.predict(frame).xyxy)
    assert there.engine_name == "onnxruntime cpu f32"
    there.close()
    there.close()
    with pytest.raises(UserError, match="closed"):
        there.predict(frames[0])


def test_a_foreign_buffer_never_disturbs_one_that_is_being_filled(tiny_bundle: Bundle) -> None:
    manifest, files = tiny_bundle
    engine = start(tiny_bundle)
    random = np.random.default_rng(0)
    mine = engine.new_input(1)
    mine[:] = kept = random.random(mine.shape, np.float32)
    other = random.random(mine.shape, np.float32)
    reference = load_here(files[ONNX], manifest.input_shape, SPEC, EngineSetup())
    np.testing.assert_array_equal(engine.infer(other), reference.infer(other))
    np.testing.assert_array_equal(mine, kept)
    np.testing.assert_array_equal(engine.infer(mine), reference.infer(kept))
    with pytest.raises(BadInputError, match="takes float32"):
        engine.infer(other[:, :, :8])
    engine.close()


def test_a_crash_is_an_inference_error_and_the_child_is_started_once_again(tiny_bundle: Bundle) -> None:
    engine = start(tiny_bundle)
    model = Model(tiny_bundle[0], engine)
    frame = blob_frame(0)[0]
    before, first = model.predict(frame), engine.pid
    kill(engine)
    with pytest.raises(UserError, match="the inference process ended in an inference, by SIGKILL"):
        model.predict(frame)
    np.testing.assert_array_equal(model.predict(frame).xyxy, before.xyxy)
    assert engine.pid not in (None, first)
    kill(engine)
    with pytest.raises(UserError, match="by SIGKILL"):
        model.predict(frame)
    with pytest.raises(UserError, match="by SIGKILL, and it had been started again before; load another model"):
        model.predict(frame)
    model.close()


def test_a_crash_in_the_middle_of_an_inference_ends_that_call(tiny_bundle: Bundle) -> None:
    manifest, files = tiny_bundle_files(variant="slow", height=384, width=512)
    engine = ProcessEngine(files[ONNX], manifest.input_shape, SPEC, EngineSetup(process=True))
    batch = np.zeros(manifest.input_shape, np.float32)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(engine.infer, batch)
        time.sleep(0.05)
        kill(engine)
        with pytest.raises(UserError, match="by SIGKILL"):
            call.result(30)
    engine.close()


def test_a_child_that_hangs_is_ended_and_replaced(tiny_bundle: Bundle) -> None:
    engine = start(tiny_bundle, timeout_s=0.5)
    model = Model(tiny_bundle[0], engine)
    frame = blob_frame(0)[0]
    model.predict(frame)
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGSTOP)
    child, until = psutil.Process(engine.pid), time.monotonic() + 10
    while child.status() != psutil.STATUS_STOPPED and time.monotonic() < until:
        time.sleep(0.01)
    with pytest.raises(UserError, match=r"hung for 0.5 s in an inference and was ended"):
        model.predict(frame)
    assert len(model.predict(frame)) >= 3
    model.close()


@pytest.mark.parametrize("order", ["close", "lose"])
def test_no_child_outlives_its_engine(tiny_bundle: Bundle, order: str) -> None:
    engine = start(tiny_bundle)
    assert engine.pid is not None
    child = psutil.Process(engine.pid)
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    child.send_signal(signal.SIGTERM)  # a stop of the whole service reaches the child too: the parent drains first
    child.send_signal(signal.SIGINT)
    engine.infer(np.zeros(tiny_bundle[0].input_shape, np.float32))
    if order == "lose":
        kill(engine)
        with pytest.raises(UserError):
            engine.infer(np.zeros(tiny_bundle[0].input_shape, np.float32))
    engine.close()
    assert not child.is_running()
    assert len(list(Path("/proc/self/fd").iterdir())) < descriptors


def test_a_file_that_cannot_be_loaded_gives_the_same_error_as_here(tiny_bundle: Bundle) -> None:
    manifest, files = tiny_bundle
    wrong = files[ONNX][: len(files[ONNX]) // 2]
    with pytest.raises(UserError, match="onnxruntime cannot load the model"):
        ProcessEngine(wrong, manifest.input_shape, SPEC, EngineSetup(process=True))
    with pytest.raises(UserError, match="openvino does not run on cuda; choose onnxruntime"):
        ProcessEngine(files[ONNX], manifest.input_shape, EngineSpec("openvino", "cuda"), EngineSetup(process=True))


def test_memory_of_a_model_goes_back_with_its_process(tiny_bundle: Bundle) -> None:
    start(tiny_bundle).close()
    own = psutil.Process()
    before = own.memory_info().rss
    for _ in range(2):
        start(tiny_bundle).close()
    assert own.memory_info().rss - before < 8 << 20
