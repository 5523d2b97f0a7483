"""One ONNX Runtime session on one NVIDIA card: its own thread, buffers in the card's memory, and captured graphs.

A session of a card that two threads run gives wrong outputs without an error, and ONNX Runtime keeps a captured graph
for the thread that captured it. So each session lives on a thread of its own, and callers hand their frames to it.

While a graph is captured, no other thread of the process may allocate memory on a card or copy to it: ONNX Runtime
captures in CUDA's global mode, where that breaks the capture and the other call alike. So sessions are opened one after
the other, with all their graphs, and inferences of other sessions wait for the milliseconds of a capture.

Belongs here: running a session. Does not belong here: the file it runs (``card_file``), which provider and which of its
options (``onnxruntime``).
"""

from __future__ import annotations

import ctypes
import logging
import threading
import weakref
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo_assets.vision.engines.card_file import PIXELS
from yolo_assets.vision.engines.interface import Batch, InputLayout

log = logging.getLogger(__name__)

MEMORY = "cuda"
"""Where ONNX Runtime keeps the buffers of a session."""
_NO_GRAPH = "-1"
"""ONNX Runtime's id of a run that neither captures a graph nor replays one."""
_PORTABLE = 1
"""CUDA's flag of page-locked memory that is so for every card."""

_opening = threading.Lock()


class _Captures:
    """Many inferences at the same time, or one capture alone."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._running = 0
        self._capturing = False

    @contextmanager
    def inference(self) -> Generator[None]:
        """Runs while nothing is captured."""
        with self._condition:
            self._condition.wait_for(lambda: not self._capturing)
            self._running += 1
        try:
            yield
        finally:
            with self._condition:
                self._running -= 1
                self._condition.notify_all()

    @contextmanager
    def capture(self) -> Generator[None]:
        """Runs alone; inferences that come meanwhile wait."""
        with self._condition:
            self._condition.wait_for(lambda: not self._capturing)
            self._capturing = True
            self._condition.wait_for(lambda: not self._running)
        try:
            yield
        finally:
            with self._condition:
                self._capturing = False
                self._condition.notify_all()


_captures = _Captures()


class _Bound:
    """So many frames at once: buffers on the card that stay where they are, and the graph that was captured on them."""

    def __init__(self, onnxruntime: Any, session: Any, card: int, layout: InputLayout, count: int, graph: bool) -> None:
        self.count = count
        self._session = session
        self._binding = session.io_binding()
        grey = np.full((count, *layout.frame), 114, np.uint8)
        self._pixels = onnxruntime.OrtValue.ortvalue_from_numpy(grey, MEMORY, card)
        self._binding.bind_ortvalue_input(PIXELS, self._pixels)
        name = session.get_outputs()[0].name
        self._binding.bind_output(name)
        self._options = _run_options(onnxruntime, _NO_GRAPH)
        self._run()  # the first run chooses kernels and shows the output's shape
        empty = np.zeros(self._binding.get_outputs()[0].shape(), np.float32)
        self._result = onnxruntime.OrtValue.ortvalue_from_numpy(empty, MEMORY, card)
        self._binding.bind_ortvalue_output(name, self._result)
        self._run()
        if graph:
            self._options = _run_options(onnxruntime, str(count))
            with _captures.capture():
                self._run()

    def infer(self, pixels: Batch) -> NDArray[np.float32]:
        """The output of a full batch; the caller's own copy."""
        with _captures.inference():
            self._pixels.update_inplace(pixels)
            self._run()
            return np.array(self._result.numpy())

    def _run(self) -> None:
        self._session.run_with_iobinding(self._binding, self._options)


def _run_options(onnxruntime: Any, graph: str) -> Any:
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("gpu_graph_id", graph)
    return options


class CardSession:
    """A session on its thread. One caller at a time; who comes meanwhile waits."""

    def __init__(
        self, onnxruntime: Any, open_session: Callable[[bool], Any], card: int, layout: InputLayout, batch: int
    ) -> None:
        """Open it and capture a graph for 1, 2, 4, … frames and for a full batch.

        Args:
            onnxruntime: the library.
            open_session: opens the session, for captured graphs or without.
            card: its number.
            layout: of its frames.
            batch: frames at once at most.

        Raises:
            UserError: it cannot be opened.
        """
        self._layout = layout
        self._counts = sorted({1 << power for power in range(batch.bit_length()) if 1 << power <= batch} | {batch})
        self._thread = ThreadPoolExecutor(1, f"card-{card}")
        self._staging = page_locked(np.empty((batch, *layout.frame), np.uint8), onnxruntime)
        try:
            self._bound: list[_Bound] = self._thread.submit(self._open, onnxruntime, open_session, card).result()
        except BaseException:
            self._thread.shutdown()
            raise

    def infer(self, batch: Batch) -> NDArray[np.float32]:
        """Run so many frames as buffers were bound for; fewer are filled up with what was there before."""
        return self._thread.submit(self._infer, batch).result()

    def close(self) -> None:
        """Free the card's memory once what is running has ended."""
        self._thread.submit(self._bound.clear)
        self._thread.shutdown(wait=False)

    def _open(self, onnxruntime: Any, open_session: Callable[[bool], Any], card: int) -> list[_Bound]:
        with _opening:
            try:
                session = open_session(True)
                return [_Bound(onnxruntime, session, card, self._layout, count, True) for count in self._counts]
            except Exception as error:  # a part of the network runs on the processor, as suppression inside it does
                log.info("card %d cannot run this model as a captured graph: %s", card, error)
            session = open_session(False)
            return [_Bound(onnxruntime, session, card, self._layout, count, False) for count in self._counts]

    def _infer(self, batch: Batch) -> NDArray[np.float32]:
        bound = next(bound for bound in self._bound if bound.count >= len(batch))
        if bound.count == len(batch):
            return bound.infer(batch)
        self._staging[: len(batch)] = batch
        return bound.infer(self._staging[: bound.count])[: len(batch)]


def page_locked(array: NDArray[Any], onnxruntime: Any) -> NDArray[Any]:
    """The array, its memory locked so that a card copies from it directly; as it is where that cannot be done.

    ONNX Runtime has loaded CUDA's runtime library by now: the one of that version.
    """
    version = str(getattr(onnxruntime, "cuda_version", "")).split(".")[0]
    try:
        cuda = ctypes.CDLL(f"libcudart.so.{version}")
    except OSError:
        return array
    address = ctypes.c_void_p(array.ctypes.data)
    if cuda.cudaHostRegister(address, ctypes.c_size_t(array.nbytes), ctypes.c_uint(_PORTABLE)) == 0:
        weakref.finalize(array, cuda.cudaHostUnregister, address)
    return array
