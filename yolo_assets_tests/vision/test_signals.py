"""A signal reaches its handler, whatever models came and went before. In processes of their own: they may crash."""

from __future__ import annotations

import subprocess
import sys

import pytest

FREED_BY_ANOTHER_THREAD = """
import os, signal, sys, threading
from yolo_assets.vision.model import Model
from yolo_assets_tests.support.tiny_model import blob_frame, tiny_bundle_files

heard = []
signal.signal(signal.SIGTERM, lambda *_: heard.append(True))
models = [Model.load(*tiny_bundle_files(), engine=sys.argv[1])]
models[0].predict(blob_frame(1)[0])

def free():
    models.pop().close()

for _ in range(2):
    thread = threading.Thread(target=free)
    thread.start()
    thread.join()
    os.kill(os.getpid(), signal.SIGTERM)
    models.append(Model.load(*tiny_bundle_files(), engine=sys.argv[1]))
print("heard", len(heard))
"""


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_a_signal_is_received_after_another_thread_freed_a_model(engine: str) -> None:
    """OpenVINO's plugin lends the thread that loads it a stack for signals, and takes it back with the last model."""
    call = [sys.executable, "-c", FREED_BY_ANOTHER_THREAD, engine]
    done = subprocess.run(call, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "heard 2\n"), done.stderr
