"""Inference on single pictures that a client sends, in the time that the cameras leave.

A picture gets a lease on the serving model like any frame, so its record names the model that saw it. It is started
only when no camera's frame waits, and only a few are processed at once; further clients are asked to retry later.
Nothing of it is written to disk. Pictures from outside are measured by their header before a single pixel is unpacked:
a file of a few kilobytes can unpack to gigabytes, so its size in pixels is read first, with bounded work.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from prometheus_client import Counter

from yolo_assets.contracts.detection import DetectionRecord
from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.times import utc_now
from yolo_assets.edge.config.agent import AgentConfig
from yolo_assets.edge.pipeline.queue import FrameQueue
from yolo_assets.edge.serving.loaded_model import LoadedModel
from yolo_assets.edge.serving.slots import SlotManager
from yolo_assets.vision.pictures import picture_quality

_POLL = 0.005
_PNG = b"\x89PNG\r\n\x1a\n"
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # start of frame; the three are tables and a reserve
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a length
_MOST_SIDE = 65_500
_MOST_SCANS = 64
_NEEDED = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
OUTCOMES = ("answered", "busy", "bad_image", "no_model", "failed")


class BusyError(UserError):
    """The cameras need the processor, or other pictures are being processed."""


class ModelFailedError(UserError):
    """The picture was sound and the model failed on it."""


class ImageService:
    """Thread-safe; one for the agent.

    Args:
        slots: where leases come from.
        queue: where frames of cameras wait for a worker.
        config: limits, device and batch.
    """

    def __init__(
        self,
        slots: SlotManager[LoadedModel],
        queue: FrameQueue,
        config: AgentConfig,
    ) -> None:
        self.settings = settings = config.infer
        self._slots = slots
        self._queue = queue
        self._device_id, self._batch_id = config.device_id, config.batch_id
        self._places = threading.Semaphore(settings.concurrency)
        self.pool = ThreadPoolExecutor(settings.concurrency, "infer", initializer=_yield_to_workers)
        """Where ``infer`` is to run."""
        self.requests = Counter(
            "yolo_edge_infer_requests", "Pictures sent for inference, by outcome.", ("outcome",), registry=None
        )
        for outcome in OUTCOMES:
            self.requests.labels(outcome)

    def enter(self) -> bool:
        """Take a place before the picture is even received; False when all are taken. ``leave`` gives it back."""
        return self._places.acquire(blocking=False)

    def leave(self) -> None:
        """Give a place back."""
        self._places.release()

    def infer(self, data: bytes) -> DetectionRecord:
        """The record of a picture.

        Args:
            data: a JPEG or PNG.

        Returns:
            A ``DetectionRecord`` whose ``image_path`` is made of the picture's SHA-256; nothing lies there.

        Raises:
            BadInputError: no such picture, or too large.
            BusyError: the cameras did not leave a moment within ``wait_s``.
            NoModelError: none is loaded.
            ModelFailedError: the inference failed.
        """
        image = decode_image(data, self.settings.max_pixels)
        self._wait_for_cameras()
        moment = utc_now()
        with self._slots.acquire() as slot:
            begin = time.perf_counter()
            try:
                boxes = slot.model.predictor.predict(image)
                detections = boxes.to_records(slot.model.manifest.class_names, moment)
            except Exception as error:
                raise ModelFailedError(f"{slot.label} failed on this picture: {error}") from error
            seconds = time.perf_counter() - begin
            label = slot.label
        blur, brightness = picture_quality(image)
        kind = "png" if data[:1] == b"\x89" else "jpg"
        return DetectionRecord.model_validate(
            {
                "image_path": f"infer/{hashlib.sha256(data).hexdigest()}.{kind}",
                "detections": detections,
                "model_version": label,
                "device_id": self._device_id,
                "captured_at": moment,
                "width": image.shape[1],
                "height": image.shape[0],
                "inference_ms": round(seconds * 1000, 3),
                "image_saved": False,
                "batch_id": self._batch_id,
                "quality": {"blur": round(blur, 3), "brightness": round(brightness, 3)},
            }
        )

    def close(self) -> None:
        """Begin nothing more."""
        self.pool.shutdown(wait=False, cancel_futures=True)

    def _wait_for_cameras(self) -> None:
        end = time.monotonic() + self.settings.wait_s
        while len(self._queue):
            if time.monotonic() >= end:
                raise BusyError("the cameras need all of this device's time now; try again later")
            time.sleep(_POLL)


def _yield_to_workers() -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)  # on Linux this is the thread's own


@dataclass(frozen=True)
class ImageHead:
    """What a file says about itself."""

    kind: Literal["jpeg", "png"]
    width: int
    height: int


class NoImageError(BadInputError):
    """Neither a JPEG nor a PNG."""


class TooManyPixelsError(BadInputError):
    """The picture is larger than this agent unpacks."""


def read_head(data: bytes) -> ImageHead:
    """Kind and size in pixels, from the header.

    Raises:
        NoImageError: neither a JPEG nor a PNG.
        BadInputError: its header is broken.
    """
    if data[:8] == _PNG:
        if data[12:16] != b"IHDR" or len(data) < 33:
            raise BadInputError("the PNG has no header; send the whole file")
        return ImageHead("png", int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big"))
    if data[:3] == b"\xff\xd8\xff":
        return _jpeg_head(data)
    raise NoImageError("this is neither a JPEG nor a PNG; send the bytes of one as the body")


def decode_image(data: bytes, most_pixels: int) -> NDArray[np.uint8]:
    """Unpack a picture, the way it lies in the file: an orientation in its EXIF data turns nothing.

    Args:
        data: a whole JPEG or PNG.
        most_pixels: width times height that are unpacked.

    Returns:
        BGR ``[h, w, 3]`` uint8.

    Raises:
        TooManyPixelsError: it has more pixels.
        BadInputError: not such a file, cut off, or broken.
    """
    head = read_head(data)
    if head.width < 1 or head.height < 1:
        raise BadInputError(f"the {head.kind.upper()} says that it is {head.width} x {head.height} pixels")
    if head.width * head.height > most_pixels or max(head.width, head.height) > _MOST_SIDE:
        raise TooManyPixelsError(
            f"the picture has {head.width} x {head.height} pixels and this agent takes {most_pixels}; make it smaller"
        )
    data = _plain_png(data) if head.kind == "png" else _whole_jpeg(data)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        image = None
    if image is None:
        raise BadInputError(f"the {head.kind.upper()} is broken and cannot be unpacked")
    if image.shape != (head.height, head.width, 3) or image.dtype != np.uint8:
        raise BadInputError(f"the {head.kind.upper()} is not what its header says; save it again")
    return image  # type: ignore[return-value]


def _whole_jpeg(data: bytes) -> bytes:
    """The file, when it has its end and no more passes over its pixels than a camera or a browser makes."""
    # OpenCV fills what is missing with grey, and the model would see a picture that no camera took.
    if b"\xff\xd9" not in data[-1024:]:
        raise BadInputError("the JPEG is cut off; send the whole file")
    if data.count(b"\xff\xda") > _MOST_SCANS:
        raise BadInputError(f"the JPEG has more than {_MOST_SCANS} scans; save it again, not progressive")
    return data


def _plain_png(data: bytes) -> bytes:
    """The file with nothing in it but the picture: other chunks may unpack to much, or say a length that is a lie."""
    kept, place = [_PNG], len(_PNG)
    seen: set[bytes] = set()
    while place + 12 <= len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")
        kind = data[place + 4 : place + 8]
        if end > len(data):
            break
        if kind in _NEEDED:
            if kind in seen and kind != b"IDAT":
                raise BadInputError("the PNG is broken and cannot be unpacked")
            kept.append(data[place:end])
            seen.add(kind)
        if kind == b"IEND":
            return b"".join(kept)
        place = end
    raise BadInputError("the PNG is cut off or broken; send the whole file")


def _jpeg_head(data: bytes) -> ImageHead:
    """Walk the segments to the start of the frame; each step is as long as the segment says."""
    place = 2
    while place + 4 <= len(data):
        if data[place] != 0xFF:
            break
        marker = data[place + 1]
        if marker == 0xFF:  # padding
            place += 1
        elif marker in _ALONE:
            place += 2
        elif marker in _FRAMES:
            if place + 9 > len(data):
                break
            height, width = data[place + 5 : place + 7], data[place + 7 : place + 9]
            return ImageHead("jpeg", int.from_bytes(width, "big"), int.from_bytes(height, "big"))
        elif marker in (0xD9, 0xDA):  # the end, or the pixels, and no frame before
            break
        else:
            length = int.from_bytes(data[place + 2 : place + 4], "big")
            if length < 2:
                break
            place += 2 + length
    raise BadInputError("the JPEG has no readable header; send the whole file")
