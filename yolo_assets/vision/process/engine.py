"""The parent's side: an engine whose work is done by a child process, and what happens when that dies."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque

import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.vision.engine import EngineSpec, Setup, check_batch
from yolo_assets.vision.process.lanes import map_lanes, shared_file
from yolo_assets.vision.process.running import ChildGoneError, RunningChild

log = logging.getLogger(__name__)

_RESTARTS = 1


class ProcessEngine:
    """An `Engine`; its child is started at once, and once more after it died.

    Every lane is one inference at a time. The first ``Setup.parallel`` buffers that callers ask for lie in the shared
    memory itself; any other array is copied into one more lane.
    """

    def __init__(self, onnx: bytes, shape: tuple[int, ...], spec: EngineSpec, setup: Setup) -> None:
        """Start the child and load.

        Args:
            onnx: checked bytes of the file.
            shape: its input, ``[1, 3, h, w]``.
            spec: what the child runs.
            setup: as for the engine inside; its timeout ends a child that hangs.

        Raises:
            UserError: the child could not load the file, or died of it.
        """
        self.spec = spec
        self._setup, self._shape = setup, tuple(shape)
        self._lock = threading.Lock()
        self._closed = False
        self._restarts_left = _RESTARTS
        self._death = ""
        count = setup.parallel + 1
        self._files = {
            "onnx": shared_file("onnx", onnx),
            "input": shared_file("input"),
            "output": shared_file("output"),
        }
        try:
            self._inputs = map_lanes(self._files["input"], (setup.batch, *self._shape[1:]), count)
            self._locks = [threading.Lock() for _ in range(count)]
            self._lane_at = {array.ctypes.data: lane for lane, array in enumerate(self._inputs[:-1])}
            self._free = deque(self._inputs[:-1])
            self._child: RunningChild | None = RunningChild(spec, setup, self._shape, self._files, count)
            self._outputs = map_lanes(self._files["output"], self._child.output_shape, count)
        except BaseException:
            self._close_files()
            raise

    @property
    def pid(self) -> int | None:
        """Of the child; None while there is none."""
        child = self._child
        return child.pid if child is not None else None

    def new_input(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """See `Engine.new_input`."""
        if shape == self._inputs[0].shape:
            try:
                return self._free.popleft()
            except IndexError:
                pass
        return np.empty(shape, np.float32)

    def infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Engine.infer`.

        Raises:
            BadInputError: another shape or type.
            UserError: closed; the child died in this call, or did before and was started again once already.
        """
        check_batch(batch, self._shape, self._setup.batch)
        lane = self._lane_at.get(batch.ctypes.data, len(self._inputs) - 1)
        with self._locks[lane]:
            child = self._running()
            if lane == len(self._inputs) - 1:
                self._inputs[lane][: len(batch)] = batch
            try:
                reply = child.ask(lane, len(batch))
            except ChildGoneError as error:
                self._buried(child, str(error))
                raise UserError(str(error)) from None
            if "error" in reply:
                raise (BadInputError if reply["bad"] else UserError)(reply["error"])
            return np.array(self._outputs[lane][: reply["count"]])

    def close(self) -> None:
        """See `Engine.close`."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        for lock in self._locks:  # a call that runs ends first, at the latest by its own timeout
            lock.acquire()
            lock.release()
        with self._lock:
            if self._child is not None:
                self._child.end()
                self._child = None
            self._close_files()

    def _running(self) -> RunningChild:
        """The child, started again when it died and may be."""
        with self._lock:
            if self._closed:
                raise UserError("the model was closed; load it again")
            if self._child is not None:
                return self._child
            if not self._restarts_left:
                raise UserError(f"{self._death}, and it had been started again before; load another model")
            self._restarts_left -= 1
            child = RunningChild(self.spec, self._setup, self._shape, self._files, len(self._inputs))
            if child.output_shape != self._outputs[0].shape:
                child.end()
                raise BadInputError(f"the model gave {child.output_shape} after {self._outputs[0].shape}")
            self._child = child
            log.warning("started the inference process of %s again: %s", self.spec, self._death)
            return child

    def _buried(self, child: RunningChild, why: str) -> None:
        with self._lock:
            if self._child is child:
                self._child, self._death = None, why
                child.end()
                log.error("%s (%s)", why, self.spec)

    def _close_files(self) -> None:
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files = {}
