"""From configured network and USB cameras to sources that a child process reads."""

from __future__ import annotations

from yolo_assets.edge.box_clock import BoxClock
from yolo_assets.edge.cameras.credentials import Address
from yolo_assets.edge.cameras.process.wire import StreamOrder, UsbOrder
from yolo_assets.edge.cameras.remote import Reading, RemoteSource
from yolo_assets.edge.config.cameras import StreamCamera, UsbCamera

_PATIENCE = {"latest": 1.0, "every": 10.0}
"""Seconds that packets may wait for the decoder. A camera of which every frame counts may fall behind for longer."""


def live_source(camera: StreamCamera | UsbCamera, clock: BoxClock) -> RemoteSource:
    """The source of one camera; opens nothing."""
    reading = _usb(camera) if isinstance(camera, UsbCamera) else _stream(camera)
    return RemoteSource(camera.camera_id, reading, clock)


def stall_seconds(camera: StreamCamera | UsbCamera) -> float:
    """The silence after which the status says so; the camera is opened anew only after ``timeout_s``."""
    between = 1 / camera.fps if camera.fps else 0.0
    return max(1.0, 3 * between, camera.timeout_s / 5)


def _stream(camera: StreamCamera) -> Reading:
    url = camera.url.get_secret_value()
    address = Address(camera.camera_id, url, camera.credentials_env, camera.credentials_file)
    options = {"fflags": "nobuffer", "analyzeduration": "500000"}
    if url.startswith("rtsp"):
        options["rtsp_transport"] = camera.transport
    options |= camera.options

    def order() -> StreamOrder:
        return {
            "kind": "stream",
            "url": address.full(),
            "options": options,
            "fps": camera.fps,
            "patience_s": _PATIENCE[camera.policy],
        }

    return Reading(order, address.shown, address.clean, camera.timeout_s)


def _usb(camera: UsbCamera) -> Reading:
    order: UsbOrder = {
        "kind": "usb",
        "device": camera.device,
        "width": camera.width,
        "height": camera.height,
        "fps": camera.fps,
        "fourcc": camera.fourcc,
    }
    return Reading(lambda: order, str(camera.device), lambda text: text, camera.timeout_s)
