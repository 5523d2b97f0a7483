"""Reading a GenICam camera (GigE Vision), in the child: its settings, and BGR out of its pixel formats.

Belongs here: what is done with a camera. Does not belong here: the library (``aravis``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing

import cv2
import numpy as np
from numpy.typing import NDArray

from yolo_assets.edge.cameras.process.aravis import AravisCamera, AravisError
from yolo_assets.edge.cameras.process.channel import AgentChannel, Thinning, since_start
from yolo_assets.edge.cameras.process.wire import GenicamOrder

_POLL_S = 0.25
_CONVERSIONS = {
    "Mono8": cv2.COLOR_GRAY2BGR,
    "BayerRG8": cv2.COLOR_BayerRGGB2BGR,
    "BayerGR8": cv2.COLOR_BayerGRBG2BGR,
    "BayerGB8": cv2.COLOR_BayerGBRG2BGR,
    "BayerBG8": cv2.COLOR_BayerBGGR2BGR,
    "RGB8": cv2.COLOR_RGB2BGR,
}
_CHANNELS = {"RGB8": 3}


def read_genicam(order: GenicamOrder, channel: AgentChannel, closing_time: threading.Event) -> None:
    """Open the camera as ordered and hand over its pictures; says why at the end."""
    cv2.setNumThreads(1)
    words, hopeless = "", False
    try:
        with closing(AravisCamera(order["device"])) as camera:
            thinning = _prepare(camera, order)
            pixel_format = _pixel_format(camera, order["pixel_format"])
            camera.start()
            _grab(camera, pixel_format, thinning, channel, closing_time)
    except AravisError as error:
        words, hopeless = str(error), error.missing
    except ValueError as error:
        words, hopeless = str(error), True
    if not closing_time.is_set():
        channel.end(words, hopeless=hopeless)


def to_bgr(data: NDArray[np.uint8], pixel_format: str, into: NDArray[np.uint8]) -> None:
    """Turn the bytes of a picture into BGR.

    Args:
        data: at least as many as the picture has.
        pixel_format: one of those that can be read.
        into: ``[h, w, 3]``.
    """
    height, width = into.shape[:2]
    channels = _CHANNELS.get(pixel_format, 1)
    raw = data[: height * width * channels].reshape((height, width, channels) if channels > 1 else (height, width))
    cv2.cvtColor(raw, _CONVERSIONS[pixel_format], dst=into)


def _prepare(camera: AravisCamera, order: GenicamOrder) -> Thinning:
    """Set what is configured. What is not set, a trigger for example, is as the camera has it.

    Raises:
        ValueError: the camera refuses a value.
    """
    by_itself = False

    def set_rate(fps: float) -> None:
        nonlocal by_itself
        by_itself = camera.set_frame_rate(fps)

    settings: tuple[tuple[str, float | None, Callable[[float], None]], ...] = (
        ("fps", order["fps"], set_rate),
        ("exposure_us", order["exposure_us"], camera.set_exposure),
        ("gain", order["gain"], camera.set_gain),
        ("packet_size", order["packet_size"], lambda size: camera.set_packet_size(int(size))),
    )
    for name, value, setter in settings:
        if value is None:
            continue
        try:
            setter(value)
        except AravisError as error:
            raise ValueError(f"the camera refuses {name}: {value:g}: {error}") from None
    return Thinning(None if by_itself else order["fps"])


def _pixel_format(camera: AravisCamera, wanted: str | None) -> str:
    """The format that the camera sends from now on.

    Raises:
        ValueError: it cannot be read, or the camera does not have it.
    """
    has = camera.pixel_formats()
    usable = [name for name in has if name in _CONVERSIONS]
    advice = f"set pixel_format to one that it has: {', '.join(usable)}" if usable else "it has none that can be"
    if wanted is not None:
        if wanted not in has:
            raise ValueError(f"the camera has no {wanted}; {advice}")
        camera.pixel_format = wanted
    found = camera.pixel_format
    if found not in _CONVERSIONS:
        raise ValueError(f"its pixel format {found} cannot be read; {advice}")
    return found


def _grab(
    camera: AravisCamera, pixel_format: str, thinning: Thinning, channel: AgentChannel, closing_time: threading.Event
) -> None:
    opened = False
    while not closing_time.is_set():
        with camera.picture(_POLL_S) as picture:
            arrived = since_start()
            if picture is False:
                _ = camera.pixel_format  # fails when the camera is gone; one that waits for its trigger answers
                channel.idle()
                continue
            if picture is True:
                channel.lost("unreadable")
                continue
            height, width, data = picture
            if not opened:
                opened = True
                channel.opened(codec=pixel_format, width=width, height=height)
            if not thinning.wanted(arrived):
                channel.alive()
            elif data.size < height * width * _CHANNELS.get(pixel_format, 1):
                channel.lost("unreadable")
            else:
                channel.picture(arrived, height, width, lambda into, data=data: to_bgr(data, pixel_format, into))
