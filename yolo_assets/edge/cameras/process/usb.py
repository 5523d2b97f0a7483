"""Reading a USB (V4L2) camera by OpenCV, in the child: a driver that hangs in a read blocks nothing else."""

from __future__ import annotations

import threading
from typing import Protocol

import cv2
import numpy as np

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.edge.cameras.process.channel import AgentChannel, Thinning, since_start
from yolo_assets.edge.cameras.process.wire import MOST_PIXELS, UsbOrder
from yolo_assets.vision.pictures import decode_image

_JPEGS = tuple(cv2.VideoWriter.fourcc(*name) for name in ("MJPG", "JPEG"))


class Grabber(Protocol):
    """What is used of ``cv2.VideoCapture``."""

    def grab(self) -> bool:
        """Wait for the next picture; False when the device is gone."""
        ...

    def retrieve(self) -> tuple[bool, cv2.typing.MatLike | None]:
        """Decode what was grabbed; no picture when it cannot be decoded, whatever OpenCV's own types say."""
        ...


def read_usb(order: UsbOrder, channel: AgentChannel, closing: threading.Event) -> None:
    """Open the device as ordered and hand over its pictures; says why at the end."""
    cv2.setNumThreads(1)
    device = cv2.VideoCapture(order["device"], cv2.CAP_V4L2)
    if not device.isOpened():
        words = f"cannot open the camera {order['device']}; is it plugged in, and may this user read it (group video)?"
        channel.end(words, hopeless=False)
        return
    device.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest picture, not one that waited
    if order["fourcc"]:
        device.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*order["fourcc"]))
    for which, length in ((cv2.CAP_PROP_FRAME_WIDTH, order["width"]), (cv2.CAP_PROP_FRAME_HEIGHT, order["height"])):
        if length:
            device.set(which, length)
    if order["fps"]:
        device.set(cv2.CAP_PROP_FPS, order["fps"])
    size = [int(device.get(which)) for which in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)]
    channel.opened(codec=order["fourcc"] or "usb", width=size[0], height=size[1])
    packed = int(device.get(cv2.CAP_PROP_FOURCC)) in _JPEGS and device.set(cv2.CAP_PROP_CONVERT_RGB, 0)
    grab_pictures(device, Thinning(order["fps"]), channel, closing, packed=packed)
    device.release()
    if not closing.is_set():
        channel.end("the camera gives no more pictures; was it unplugged?", hopeless=False)


def grab_pictures(
    device: Grabber, thinning: Thinning, channel: AgentChannel, closing: threading.Event, *, packed: bool = False
) -> None:
    """Hand over pictures until the device gives none or the agent closes the socket.

    Args:
        device: opened.
        thinning: which pictures are wanted.
        channel: to the agent.
        closing: set when the agent closes the socket.
        packed: whether the device gives JPEGs as they are.
    """
    while not closing.is_set() and device.grab():
        arrived = since_start()
        if not thinning.wanted(arrived):
            channel.alive()
            continue
        good, picture = device.retrieve()
        if good and picture is not None and packed:
            picture = _unpack(picture)
        if not good or picture is None or picture.ndim != 3 or picture.dtype != np.uint8:
            channel.lost("unreadable")
            continue
        height, width = picture.shape[:2]
        channel.picture(arrived, height, width, lambda into, picture=picture: np.copyto(into, picture, casting="no"))


def _unpack(data: cv2.typing.MatLike) -> cv2.typing.MatLike | None:
    """The picture in a JPEG as the camera sent it; None for one that is cut or broken, of which OpenCV makes grey."""
    try:
        return decode_image(data.tobytes(), "picture", MOST_PIXELS)
    except BadInputError:
        return None
