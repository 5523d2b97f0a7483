"""The parent's side of an engine in a child process, and the memory that both share.

The memory of a bad load is returned with the process, and a native crash ends no caller. Frames and outputs cross in
shared memory; only a few bytes a frame go through a socket. Each child has sockets of its own: those of a killed one
are not used again.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import socket
import sys
import threading
from collections import deque
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.runtime.processes import ChildProcess
from yolo_assets.vision.engines.interface import Batch, EngineSetup, EngineSpec, InputLayout

log = logging.getLogger(__name__)

PROGRAM = "yolo_assets.vision.engines.subprocess_child"
_RESTARTS = 1
_LOAD_SECONDS = 600.0
"""Building a TensorRT engine takes minutes; everything else seconds."""
_END_SECONDS = 5.0
_MESSAGE = 1 << 16
_PAGE = 4096


class ChildGoneError(UserError):
    """The child died, or hung and was ended."""


class ChildHungError(ChildGoneError):
    """The child took too long and was ended: it may be at fault, or the machine too busy."""


def shared_file(name: str, data: bytes | None = None) -> int:
    """An anonymous file in memory; it is gone when the last process closes it.

    Returns:
        Its descriptor.
    """
    descriptor = os.memfd_create(name)
    if data is not None:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(data)
    return descriptor


def map_lanes(descriptor: int, shape: tuple[int, ...], count: int, dtype: type[Any] = np.float32) -> list[NDArray[Any]]:
    """Size the file for ``count`` arrays of this shape and type and map them; each begins on a page of its own.

    The arrays keep the mapping alive; a file that has the size already keeps its content.

    Raises:
        OSError: no memory.
    """
    size = int(np.prod(shape))
    step = -(-size * np.dtype(dtype).itemsize // _PAGE) * _PAGE  # lanes never share a cache line
    if os.fstat(descriptor).st_size != step * count:
        os.ftruncate(descriptor, step * count)
    view = mmap.mmap(descriptor, step * count)
    return [np.frombuffer(view, dtype, size, lane * step).reshape(shape) for lane in range(count)]


class InferenceChild:
    """A child process that has loaded its model.

    Attributes:
        output_shape: of a full batch.
    """

    def __init__(
        self, spec: EngineSpec, setup: EngineSetup, shape: tuple[int, ...], files: dict[str, int], lanes: int
    ) -> None:
        """Start it and wait until it has loaded.

        Raises:
            UserError: it could not load the file.
            ChildGoneError: it died of it.
        """
        self._timeout = setup.timeout_s
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(lanes + 1)]
        self._control, *self._lanes = (ours for ours, _ in pairs)
        theirs = [socket_.fileno() for _, socket_ in pairs]
        order = {
            "spec": asdict(spec),
            "setup": {**asdict(setup), "cache": str(setup.cache) if setup.cache else None},
            "shape": shape,
            "control": theirs[0],
            "lanes": theirs[1:],
            # Its threads inherit the priority of the thread that starts it, which may have a lower one.
            "nice": os.getpriority(os.PRIO_PROCESS, os.getpid()),
            **files,
        }
        command = [sys.executable, "-m", PROGRAM, json.dumps(order)]
        try:
            self._process = ChildProcess("the inference process", command, pass_fds=(*theirs, *files.values()))
        except UserError:
            self._close_sockets()
            raise
        finally:
            for _, socket_ in pairs:
                socket_.close()
        try:
            answer = self._receive(self._control, _LOAD_SECONDS, "loading the model")
            if "error" in answer:
                raise UserError(answer["error"])
        except BaseException:
            self.end()
            raise
        self.output_shape: tuple[int, ...] = tuple(answer["output"])

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def ask(self, lane: int, count: int) -> dict[str, Any]:
        """Run what lies in a lane's input.

        Args:
            lane: which; one call at a time.
            count: frames of it that are filled.

        Returns:
            ``count`` of frames in the lane's output; or ``error`` and whether the input was ``bad``.

        Raises:
            ChildGoneError: it died, or took too long and was ended.
        """
        try:
            self._lanes[lane].send(str(count).encode())
        except OSError:
            raise self._gone("an inference") from None
        return self._receive(self._lanes[lane], self._timeout, "an inference")

    def end(self) -> None:
        """Close its sockets, which ends it; kill it when it does not. Calling it twice is no error."""
        self._close_sockets()
        self._process.end(_END_SECONDS, ask=None)

    def _receive(self, channel: socket.socket, seconds: float, doing: str) -> dict[str, Any]:
        channel.settimeout(seconds)
        try:
            message = channel.recv(_MESSAGE)
        except TimeoutError:
            self._process.kill()
            raise ChildHungError(f"the inference process hung for {seconds:g} s in {doing} and was ended") from None
        except OSError:
            message = b""
        if not message:
            raise self._gone(doing)
        return json.loads(message)

    def _gone(self, doing: str) -> ChildGoneError:
        how = self._process.how_it_ended(_END_SECONDS)
        if how is None:
            return ChildGoneError(f"the inference process closed its connection in {doing}")
        return ChildGoneError(f"the inference process ended in {doing}, {how}")

    def _close_sockets(self) -> None:
        for channel in (self._control, *self._lanes):
            channel.close()


class ProcessEngine:
    """An `InferenceEngine`; its child is started at once, and once more after it died.

    Every lane is one inference at a time. As many buffers as may run in parallel lie in the shared memory itself; any
    other array is copied into one more lane.
    """

    def __init__(self, onnx: bytes, shape: tuple[int, ...], spec: EngineSpec, setup: EngineSetup) -> None:
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
        self._layout = InputLayout.of(spec, shape)
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
            self._inputs = map_lanes(
                self._files["input"], (setup.batch, *self._layout.frame), count, self._layout.dtype
            )
            self._locks = [threading.Lock() for _ in range(count)]
            self._lane_at = {array.ctypes.data: lane for lane, array in enumerate(self._inputs[:-1])}
            self._free = deque(self._inputs[:-1])
            self._child: InferenceChild | None = InferenceChild(spec, setup, self._shape, self._files, count)
            self._outputs = map_lanes(self._files["output"], self._child.output_shape, count)
        except BaseException:
            self._close_files()
            raise

    @property
    def pid(self) -> int | None:
        """Of the child; None while there is none."""
        child = self._child
        return child.pid if child is not None else None

    def new_input(self, count: int) -> Batch:
        """See `InferenceEngine.new_input`."""
        if count == self._setup.batch:
            try:
                return self._free.popleft()
            except IndexError:
                pass
        return self._layout.empty(count)

    def infer(self, batch: Batch) -> NDArray[np.float32]:
        """See `InferenceEngine.infer`.

        Raises:
            BadInputError: another shape or type.
            UserError: closed; the child died in this call, or did before and was started again once already.
        """
        self._layout.check(batch, self._setup.batch)
        lane = self._lane_at.get(batch.ctypes.data, len(self._inputs) - 1)
        with self._locks[lane]:
            child = self._running()
            if lane == len(self._inputs) - 1:
                self._inputs[lane][: len(batch)] = batch
            try:
                reply = child.ask(lane, len(batch))
            except ChildGoneError as error:
                self._lost(child, str(error))
                raise
            if "error" in reply:
                raise (BadInputError if reply["bad"] else UserError)(reply["error"])
            return np.array(self._outputs[lane][: reply["count"]])

    def close(self) -> None:
        """See `InferenceEngine.close`."""
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

    def _running(self) -> InferenceChild:
        """The child, started again when it died and may be."""
        with self._lock:
            if self._closed:
                raise UserError("the model was closed; load it again")
            if self._child is not None:
                return self._child
            if not self._restarts_left:
                raise UserError(f"{self._death}, and it had been started again before; load another model")
            self._restarts_left -= 1
            child = InferenceChild(self.spec, self._setup, self._shape, self._files, len(self._inputs))
            if child.output_shape != self._outputs[0].shape:
                child.end()
                raise BadInputError(f"the model gave {child.output_shape} after {self._outputs[0].shape}")
            self._child = child
            log.warning("started the inference process of %s again: %s", self.spec, self._death)
            return child

    def _lost(self, child: InferenceChild, reason: str) -> None:
        with self._lock:
            if self._child is child:
                self._child, self._death = None, reason
                child.end()
                log.error("%s (%s)", reason, self.spec)

    def _close_files(self) -> None:
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files = {}
