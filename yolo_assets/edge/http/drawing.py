"""Pictures for viewers: the newest frame of a camera, with or without its boxes, encoded once for all viewers."""

from __future__ import annotations

import asyncio
import base64
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import cv2

from yolo_assets.contracts.times import format_time
from yolo_assets.edge.pipeline.worker import encode_jpeg
from yolo_assets.edge.rollout.controller import ModelControl
from yolo_assets.edge.types import Picture, Result

T = TypeVar("T")
_QUALITY = 80
# Distinct in hue and in lightness; readable on metal and for viewers who see few colours.
PALETTE = ("#ff5d5d", "#2fc6ff", "#ffc53d", "#b98bff", "#4fdc8b", "#ff8fcf", "#ff9a3c", "#9fd2ff")


def colour_of(class_name: str, classes: Sequence[str]) -> str:
    """The colour of a class, ``#rrggbb``, by its place among the model's classes: neighbours never share one."""
    return PALETTE[classes.index(class_name) % len(PALETTE)] if class_name in classes else PALETTE[0]


def draw_boxes(result: Result, classes: Sequence[str]) -> Picture:
    """A copy of the frame with boxes and their class and confidence."""
    image = result.image.copy()
    height, width = image.shape[:2]
    thick = max(1, round(min(height, width) / 240))
    size = max(0.4, min(height, width) / 900)
    for detection in result.detections:
        x1, y1, x2, y2 = (round(value) for value in detection["bbox"])
        colour = _bgr(colour_of(detection["class"], classes))
        cv2.rectangle(image, (x1, y1), (x2, y2), colour, thick, cv2.LINE_AA)
        text = f"{detection['class']} {detection['confidence']:.2f}"
        (text_width, text_height), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
        left = max(0, min(x1, width - text_width - 6))
        top = y1 - text_height - base - 4 if y1 > text_height + base + 4 else min(y2, height - text_height - base - 4)
        cv2.rectangle(image, (left, top), (left + text_width + 6, top + text_height + base + 4), colour, cv2.FILLED)
        cv2.putText(
            image, text, (left + 3, top + text_height + 2), cv2.FONT_HERSHEY_SIMPLEX, size, (20, 20, 20), 1, cv2.LINE_AA
        )
    return image


class Pictures:
    """Encoded pictures by camera; several viewers of one frame cost one encoding.

    One thread encodes for all of them, and yields to every other: viewers cost the cameras at most the time that
    nothing else needs.
    """

    def __init__(self, control: ModelControl) -> None:
        self._control = control
        self._thread = ThreadPoolExecutor(1, "pictures", _yield_to_others)
        self._lock = threading.Lock()
        self._cached: dict[tuple[str, bool], tuple[int, bytes]] = {}

    async def jpeg(self, result: Result, *, boxes: bool) -> bytes:
        """The frame as JPEG."""
        return await self._later(lambda: self._jpeg(result, boxes=boxes))

    async def document(self, result: Result) -> dict[str, Any]:
        """Frame and boxes in one JSON document: a page that draws boxes itself must never mix two frames."""
        return await self._later(lambda: self._document(result))

    def close(self) -> None:
        """End the thread; what waits is given up."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _classes(self) -> Sequence[str]:
        serving = self._control.serving
        return serving.manifest.record_names if serving else ()

    async def _later(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _jpeg(self, result: Result, *, boxes: bool) -> bytes:
        key = (result.camera_id, boxes)
        with self._lock:
            cached = self._cached.get(key)
        if cached is not None and cached[0] == result.sequence:
            return cached[1]
        data = encode_jpeg(draw_boxes(result, self._classes()) if boxes else result.image, _QUALITY)
        with self._lock:
            self._cached[key] = (result.sequence, data)
        return data

    def _document(self, result: Result) -> dict[str, Any]:
        height, width = result.image.shape[:2]
        classes = self._classes()
        return {
            "camera_id": result.camera_id,
            "sequence": result.sequence,
            "captured_at": format_time(result.captured_at),
            "model_version": result.model_version,
            "inference_ms": result.inference_ms,
            "width": width,
            "height": height,
            "detections": [
                {**detection, "colour": colour_of(detection["class"], classes)} for detection in result.detections
            ],
            "image": "data:image/jpeg;base64," + base64.b64encode(self._jpeg(result, boxes=False)).decode(),
        }


def _yield_to_others() -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 15)  # on Linux this is the thread's own


def _bgr(colour: str) -> tuple[int, int, int]:
    return int(colour[5:7], 16), int(colour[3:5], 16), int(colour[1:3], 16)
