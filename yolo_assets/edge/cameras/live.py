"""Cameras that a child process reads: their addresses, the secrets in them, and what the process is told.

Belongs here: where credentials come from, and how they stay out of every text. Does not belong here: the child process
(``remote``, ``process``).
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.edge.cameras.process.wire import GenicamOrder, SnapshotOrder, StreamOrder, UsbOrder
from yolo_assets.edge.cameras.remote import Reading, RemoteSource
from yolo_assets.edge.clock import DeviceClock
from yolo_assets.edge.config.cameras import GenicamCamera, RemoteCamera, SnapshotCamera, StreamCamera, UsbCamera

log = logging.getLogger(__name__)
_HIDDEN = "***"
_BARE = 4
_PATIENCE = {"latest": 1.0, "every": 10.0}
"""Seconds that packets may wait for the decoder. A camera of which every frame counts may fall behind for longer."""


def live_source(camera: RemoteCamera, clock: DeviceClock) -> RemoteSource:
    """The source of one camera; opens nothing."""
    if isinstance(camera, UsbCamera):
        reading = _usb(camera)
    elif isinstance(camera, SnapshotCamera):
        reading = _snapshot(camera)
    elif isinstance(camera, GenicamCamera):
        reading = _genicam(camera)
    else:
        reading = _stream(camera)
    return RemoteSource(camera.camera_id, reading, clock)


def stall_seconds(camera: RemoteCamera) -> float:
    """The silence after which the status says so; the camera is opened anew only after ``timeout_s``."""
    return max(1.0, 3 * _between(camera), camera.timeout_s / 5)


def _timeout(camera: RemoteCamera) -> float:
    """Seconds without anything after which a camera is opened anew: of a slow one three pictures."""
    return max(camera.timeout_s, 3 * _between(camera))


def _between(camera: RemoteCamera) -> float:
    """Seconds from one picture to the next, as far as the configuration tells; 0 where it does not."""
    if isinstance(camera, SnapshotCamera):
        return camera.interval_s
    return 1 / camera.fps if camera.fps else 0.0


def _stream(camera: StreamCamera) -> Reading:
    url, address = camera.url.get_secret_value(), CameraAddress.of(camera)
    # Not fflags=nobuffer: it throws away what was read to recognise the stream, the first key picture among it.
    options = {"analyzeduration": "500000"}
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

    return Reading(order, address.shown, address.clean, _timeout(camera))


def _snapshot(camera: SnapshotCamera) -> Reading:
    address = CameraAddress.of(camera)

    def order() -> SnapshotOrder:
        return {
            "kind": "snapshot",
            "url": address.full(),
            "interval_s": camera.interval_s,
            "timeout_s": camera.timeout_s,
            "ca_file": str(camera.ca_file) if camera.ca_file else None,
        }

    return Reading(order, address.shown, address.clean, _timeout(camera))


def _usb(camera: UsbCamera) -> Reading:
    order: UsbOrder = {
        "kind": "usb",
        "device": camera.device,
        "width": camera.width,
        "height": camera.height,
        "fps": camera.fps,
        "fourcc": camera.fourcc,
    }
    return Reading(lambda: order, str(camera.device), lambda text: text, _timeout(camera))


def _genicam(camera: GenicamCamera) -> Reading:
    order: GenicamOrder = {
        "kind": "genicam",
        "device": camera.device,
        "fps": camera.fps,
        "exposure_us": camera.exposure_us,
        "gain": camera.gain,
        "packet_size": camera.packet_size,
        "pixel_format": camera.pixel_format,
    }
    return Reading(lambda: order, camera.device, lambda text: text, _timeout(camera))


class CameraAddress:
    """Where a network camera is, with what is needed to get in. Only ``shown`` may be displayed.

    Args:
        camera_id: for messages.
        url: as configured; may hold ``user:password@``.
        variable: name of an environment variable that holds ``user:password``.
        file: file whose only line is ``user:password``.
    """

    def __init__(self, camera_id: str, url: str, variable: str | None, file: Path | None) -> None:
        self._camera_id = camera_id
        self._url = url
        self._variable = variable
        self._file = file

    @classmethod
    def of(cls, camera: StreamCamera | SnapshotCamera) -> CameraAddress:
        """That of a camera; warns of a password in it."""
        url = camera.url.get_secret_value()
        if urlsplit(url).password:
            log.warning("camera %s: its url holds a password; put it into credentials_file", camera.camera_id)
        return cls(camera.camera_id, url, camera.credentials_env, camera.credentials_file)

    @property
    def shown(self) -> str:
        """Scheme, host and port. Many cameras take the password in the path or the query, so neither is shown."""
        parts = urlsplit(self._url)
        place = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{place}"

    def full(self) -> str:
        """The address to open. Read anew each time: a changed password is used from the next try.

        Raises:
            BadInputError: the credentials cannot be read.
        """
        pair = self._pair()
        if pair is None:
            return self._url
        user, _, password = pair.partition(":")
        parts = urlsplit(self._url)
        place = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"{quote(user, safe='')}:{quote(password, safe='')}@{place}"))

    def clean(self, text: str) -> str:
        """The text without the address and without anything of it that may be secret; its own words stay.

        User, password and parts of the address go where they stand by themselves, and only from four letters on: a
        password like ``a`` would take every article along, and show by the gaps what it is.
        """
        try:
            full = self.full()
        except BadInputError:
            full = self._url
        whole: set[str] = {full, self._url}
        parts: set[str] = set()
        for address in whole.copy():
            split = urlsplit(address)
            whole.add(split.netloc.rpartition("@")[0])
            parts |= {split.query, split.path if len(split.path) > 1 else ""}
            for name in (split.username, split.password):
                parts |= {name, unquote(name)} if name else set()
        for secret in sorted(whole - {""}, key=len, reverse=True):
            text = text.replace(secret, _HIDDEN)
        for secret in sorted((part for part in parts if len(part) >= _BARE), key=len, reverse=True):
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", _HIDDEN, text)
        return text

    def _pair(self) -> str | None:
        if self._variable is not None:
            pair = os.environ.get(self._variable, "")
            where = f"the environment variable {self._variable}"
        elif self._file is not None:
            where = f"the file {self._file}"
            try:
                pair = self._file.read_text(encoding="utf-8-sig").strip()
            except (OSError, UnicodeDecodeError) as error:
                words = error.strerror if isinstance(error, OSError) else "not UTF-8"
                raise BadInputError(f"camera {self._camera_id}: cannot read {where}: {words}") from None
        else:
            return None
        if ":" not in pair or "\n" in pair:
            raise BadInputError(f"camera {self._camera_id}: {where} must hold user:password in one line")
        return pair
