"""One child from its start to its end. What follows its death is `engine`'s."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import asdict
from typing import Any

from yolo_assets.contracts.errors import UserError
from yolo_assets.vision.engine import EngineSpec, Setup

_LOAD_SECONDS = 600.0
"""Building a TensorRT engine takes minutes; everything else seconds."""
_END_SECONDS = 5.0
_MESSAGE = 1 << 16


class ChildGoneError(UserError):
    """The child died or was ended because it hung."""


class RunningChild:
    """A child process that has loaded its model.

    Attributes:
        output_shape: of a full batch.
    """

    def __init__(
        self, spec: EngineSpec, setup: Setup, shape: tuple[int, ...], files: dict[str, int], lanes: int
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
            # Its threads inherit the priority of the thread that starts it, which may work beside the line.
            "nice": os.getpriority(os.PRIO_PROCESS, os.getpid()),
            **files,
        }
        command = [sys.executable, "-m", "yolo_assets.vision.process.child", json.dumps(order)]
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, pass_fds=(*theirs, *files.values()), close_fds=True
            )
        except OSError as error:
            self._close_sockets()
            raise UserError(f"cannot start a process for inference: {error}") from None
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
            raise ChildGoneError(self._words("an inference")) from None
        return self._receive(self._lanes[lane], self._timeout, "an inference")

    def end(self) -> None:
        """Let it go; kill it when it does not end. Calling it twice is no error."""
        self._close_sockets()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _receive(self, channel: socket.socket, seconds: float, doing: str) -> dict[str, Any]:
        channel.settimeout(seconds)
        try:
            message = channel.recv(_MESSAGE)
        except TimeoutError:
            self._process.kill()
            self._process.wait()
            raise ChildGoneError(f"the inference process hung for {seconds:g} s in {doing} and was ended") from None
        except OSError:
            message = b""
        if not message:
            raise ChildGoneError(self._words(doing))
        return json.loads(message)

    def _words(self, doing: str) -> str:
        try:
            code = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            return f"the inference process let go in {doing}"
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit status {code}"
        return f"the inference process ended in {doing}, {how}"

    def _close_sockets(self) -> None:
        for channel in (self._control, *self._lanes):
            channel.close()
