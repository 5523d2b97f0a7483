"""The program of the child: load one engine and answer inferences until the parent closes the connection.

The parent's end of the sockets closes when the parent ends, however it ends: the child then ends too. Signals to stop
are for the parent alone: it finishes its work first, and its end ends the child.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.vision.engines.interface import Batch, EngineSetup, EngineSpec, InferenceEngine, InputLayout
from yolo_assets.vision.engines.opening import load_here
from yolo_assets.vision.engines.subprocess import map_lanes


def serve(order: dict[str, Any]) -> None:
    """Load, report the outcome, answer on every lane, return when the parent is gone.

    Args:
        order: what `subprocess.InferenceChild` writes: how to load, and descriptors.
    """
    control = socket.socket(fileno=order["control"])
    shape, lanes = tuple(order["shape"]), [socket.socket(fileno=number) for number in order["lanes"]]
    cache = order["setup"]["cache"]
    cards = tuple(order["setup"]["cards"])
    setup = EngineSetup(**{**order["setup"], "cache": Path(cache) if cache else None, "cards": cards})
    spec = EngineSpec(**order["spec"])
    layout = InputLayout.of(spec, shape)
    if setup.idle:
        for task in Path("/proc/self/task").iterdir():  # NumPy has made threads by now; later ones inherit the class
            with contextlib.suppress(OSError):
                os.sched_setscheduler(int(task.name), os.SCHED_IDLE, os.sched_param(0))
    try:
        with os.fdopen(order["onnx"], "rb") as file:
            file.seek(0)
            engine = load_here(file.read(), shape, spec, setup)
        inputs = map_lanes(order["input"], (setup.batch, *layout.frame), len(lanes), layout.dtype)
        grey = layout.empty(setup.batch)
        grey.fill(114 if layout.pixels else 0.5)
        first = engine.infer(grey)
        outputs = map_lanes(order["output"], first.shape, len(lanes))
    except (UserError, OSError) as error:
        control.send(json.dumps({"error": str(error)}).encode())
        return
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # without the right to raise it, the parent did not lower it either
            os.setpriority(os.PRIO_PROCESS, int(task.name), order["nice"])
    control.send(json.dumps({"output": list(first.shape)}).encode())
    for lane in zip(lanes, inputs, outputs, strict=True):
        threading.Thread(target=_answer, args=(engine, *lane), daemon=True).start()
    control.recv(1)  # nothing is ever sent: this returns when the parent is gone


def _answer(engine: InferenceEngine, lane: socket.socket, given: Batch, result: NDArray[np.float32]) -> None:
    while message := lane.recv(16):
        try:
            output = engine.infer(given[: int(message)])
            if output.shape[1:] != result.shape[1:]:
                raise BadInputError(f"the model gave {list(output.shape)} after {list(result.shape)}; export it again")
            result[: len(output)] = output
            reply = {"count": len(output)}
        except Exception as error:  # a runtime may raise anything; the parent reports it as an inference error
            reply = {"error": str(error), "bad": isinstance(error, BadInputError)}
        lane.send(json.dumps(reply).encode())


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    serve(json.loads(sys.argv[1]))
    os._exit(0)  # lanes may still compute; destructors of a runtime under a running inference crash
