"""`Model`: a verified bundle, loaded; frames in, detections out.

Belongs here: one model version and its buffers. Does not belong here: fetching a bundle, swapping versions, counting
frames.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.errors import BadInputError, IntegrityError
from yolo_assets.contracts.model import ONNX, ModelManifest
from yolo_assets.vision.detections import Detections
from yolo_assets.vision.engines.interface import EngineName, EngineSetup, EngineSpec, InferenceEngine
from yolo_assets.vision.engines.opening import open_engine
from yolo_assets.vision.golden import golden_problems
from yolo_assets.vision.processing import Geometry, Letterbox, decode


class Model:
    """One model version, ready to predict.

    Threads: `predict` may be called from any number of threads at once. Each call takes its own input buffer from a
    pool that grows to the number of simultaneous callers, and the engines are safe to share. Frames run side by side
    when ``parallel`` was given at `load`. `close` may come while a call is running: that call ends normally, later ones
    raise ``UserError``.
    """

    def __init__(self, manifest: ModelManifest, engine: InferenceEngine, *, batch: int = 1) -> None:
        """Take an open engine over; it is closed with the model.

        Args:
            manifest: what the engine runs.
            engine: open.
            batch: frames in one inference at most.
        """
        self.manifest = manifest
        self.batch = batch
        own = tuple(range(len(manifest.class_names)))
        self._reported = manifest.reported_ids if manifest.reported_ids != own else None
        self._engine = engine
        self._idle: deque[_Input] = deque()

    @classmethod
    def load(
        cls,
        manifest: ModelManifest,
        files: Mapping[str, bytes],
        *,
        engine: EngineName | EngineSpec = "openvino",
        threads: int = 1,
        parallel: int = 1,
        setup: EngineSetup | None = None,
    ) -> Model:
        """Load the ONNX of a bundle from its bytes.

        Args:
            manifest: of the bundle; its signature is the caller's to check.
            files: bytes by name as in ``manifest.files``; only ``model.onnx`` is used here.
            engine: which engine and how; a name alone is that engine on the CPU in float32.
            threads: CPU threads for one frame.
            parallel: frames that callers will run at the same time.
            setup: everything that an engine may use, in place of ``threads`` and ``parallel``.

        Raises:
            IntegrityError: the file is missing, or its size or SHA-256 is not the manifest's.
            BadInputError: the file is no self-contained ONNX, or contradicts the manifest.
            UserError: the engine is not installed or cannot load the file.
        """
        onnx = verified_file(manifest, files, ONNX)
        spec = engine if isinstance(engine, EngineSpec) else EngineSpec(engine)
        setup = setup or EngineSetup(threads=threads, parallel=parallel)
        return cls(manifest, open_engine(onnx, manifest, spec, setup), batch=setup.batch)

    @property
    def engine_name(self) -> str:
        """The engine in use, with device and precision."""
        return str(self._engine.spec)

    def predict(
        self, bgr: NDArray[np.uint8], *, confidence: float | None = None, iou: float | None = None
    ) -> Detections:
        """Find objects in a frame.

        Args:
            bgr: uint8 ``[h, w, 3]``, any size, BGR as OpenCV reads it; not changed.
            confidence: report boxes above this; None for the manifest's operating point.
            iou: overlap above which boxes of a class are one; None for the manifest's.

        Returns:
            Boxes in frame pixels, inside the frame; class ids as ``manifest.record_names`` has them.

        Raises:
            BadInputError: not such a frame, or the model gave NaN, infinity, or what its manifest does not say.
            UserError: closed.
        """
        return self.predict_many([bgr], confidence=confidence, iou=iou)[0]

    def predict_many(
        self, frames: Sequence[NDArray[np.uint8]], *, confidence: float | None = None, iou: float | None = None
    ) -> list[Detections]:
        """Find objects in several frames, as many at once as the model's batch allows. Arguments as `predict`.

        Returns:
            Boxes of each frame, in order.

        Raises:
            BadInputError, UserError: as `predict`; one bad frame fails the call.
        """
        thresholds = self.manifest.thresholds
        results: list[Detections] = []
        for first in range(0, len(frames), self.batch):
            group = frames[first : first + self.batch]
            output, places = self._run(group)
            for row, place in enumerate(places):
                detections = decode(
                    output[row : row + 1],
                    self.manifest.output_layout,
                    classes=len(self.manifest.class_names),
                    confidence=thresholds.of(self.manifest.record_names) if confidence is None else confidence,
                    iou=thresholds.iou if iou is None else iou,
                    max_detections=thresholds.max_detections,
                    reported=self._reported,
                )
                results.append(Detections(place.to_frame(detections.xyxy), detections.class_id, detections.confidence))
        return results

    def _run(self, frames: Sequence[NDArray[np.uint8]]) -> tuple[NDArray[np.float32], list[Geometry]]:
        try:
            buffer = self._idle.pop()
        except IndexError:
            buffer = _Input(self._engine, self.batch, self.manifest.input_shape)
        try:
            places = [letterbox(frame)[1] for letterbox, frame in zip(buffer.letterboxes, frames, strict=False)]
            output = self._engine.infer(buffer.array[: len(frames)])
        finally:
            self._idle.append(buffer)
        if len(output) != len(frames):
            raise BadInputError(f"the model answered {len(frames)} frames with {len(output)}; export it again")
        return output, places

    def warm_up(self, runs: int = 3) -> float:
        """Predict on a grey picture: the first calls allocate and are slower.

        Returns:
            Milliseconds of the last run, from picture to boxes.

        Raises:
            BadInputError: the model is broken; see `predict`.
        """
        height, width = self.manifest.input_shape[2:]
        grey = np.full((height, width, 3), 114, np.uint8)
        spent = 0.0
        for _ in range(max(runs, 1)):
            started = time.perf_counter()
            self.predict(grey)
            spent = time.perf_counter() - started
        return spent * 1e3

    def check_golden(self, files: Mapping[str, bytes], *, frames: int | None = None) -> list[str]:
        """Compare this device's boxes on the golden frames with those in the manifest.

        Args:
            files: the bundle's files, the golden frames among them.
            frames: only so many of them, the first ones; None: all.

        Returns:
            Problems, one line each; empty when the model finds here what it found where it was built. A manifest
            without golden frames is a problem: nothing was checked.
        """
        if not self.manifest.golden_frames:
            return [f"{self.manifest.model_version} has no golden frames, so it cannot be checked on this device"]
        problems: list[str] = []
        for frame in self.manifest.golden_frames[:frames]:
            try:
                problems += golden_problems(frame, verified_file(self.manifest, files, frame.file), self)
            except IntegrityError as error:
                problems.append(str(error))
        return problems

    def close(self) -> None:
        """Release the engine and the buffers; calling it twice is no error."""
        self._engine.close()
        self._idle.clear()


class _Input:
    """One input buffer with a letterbox for each of its frames."""

    def __init__(self, engine: InferenceEngine, batch: int, shape: tuple[int, ...]) -> None:
        self.array = engine.new_input(batch)
        self.letterboxes = [Letterbox(*shape[2:], buffer=self.array[row : row + 1]) for row in range(batch)]


def verified_file(manifest: ModelManifest, files: Mapping[str, bytes], name: str) -> bytes:
    """The bytes of one file of a bundle, checked against the manifest.

    Raises:
        IntegrityError: missing, not listed, or other bytes than the manifest promises.
    """
    entry, data = manifest.files.get(name), files.get(name)
    if entry is None or data is None:
        where = "its manifest does not list it" if entry is None else "it is missing from the bundle"
        raise IntegrityError(f"model {manifest.model_version}: no {name}, {where}; publish the bundle again")
    if len(data) != entry.size or hashlib.sha256(data).hexdigest() != entry.sha256:
        raise IntegrityError(
            f"model {manifest.model_version}: {name} differs from its manifest ({len(data)} bytes, {entry.size} "
            "promised, or another SHA-256); fetch the bundle again"
        )
    return data
