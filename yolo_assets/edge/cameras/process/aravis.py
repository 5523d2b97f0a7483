"""What is used of Aravis, the free library for GenICam cameras, through ctypes: no wheel has it, Debian has.

Belongs here: types, errors and the life of its objects. Does not belong here: what is done with a camera (``genicam``).
"""

from __future__ import annotations

import ctypes
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LIBRARY, _OBJECTS = "libaravis-0.8.so.0", "libgobject-2.0.so.0"
_CONTINUOUS, _OFF = 0, 0
_SUCCESS = 0
_BUFFERS = 8


class AravisError(Exception):
    """What Aravis, or the camera, says. ``missing``: the library is not installed."""

    missing = False


class _GError(ctypes.Structure):
    _fields_ = (("domain", ctypes.c_uint32), ("code", ctypes.c_int), ("message", ctypes.c_char_p))


_Error = ctypes.POINTER(_GError)
_Names = ctypes.POINTER(ctypes.c_char_p)
_OBJECT, _TEXT, _INT, _REAL = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_double
_CALLS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "arv_camera_new": (_OBJECT, (_TEXT,)),
    "arv_camera_get_vendor_name": (_TEXT, (_OBJECT,)),
    "arv_camera_get_model_name": (_TEXT, (_OBJECT,)),
    "arv_camera_dup_available_pixel_formats_as_strings": (_Names, (_OBJECT, ctypes.POINTER(ctypes.c_uint))),
    "arv_camera_get_pixel_format_as_string": (_TEXT, (_OBJECT,)),
    "arv_camera_set_pixel_format_from_string": (None, (_OBJECT, _TEXT)),
    "arv_camera_is_frame_rate_available": (_INT, (_OBJECT,)),
    "arv_camera_set_frame_rate": (None, (_OBJECT, _REAL)),
    "arv_camera_set_exposure_time_auto": (None, (_OBJECT, _INT)),
    "arv_camera_set_exposure_time": (None, (_OBJECT, _REAL)),
    "arv_camera_set_gain_auto": (None, (_OBJECT, _INT)),
    "arv_camera_set_gain": (None, (_OBJECT, _REAL)),
    "arv_camera_gv_set_packet_size": (None, (_OBJECT, _INT)),
    "arv_camera_set_acquisition_mode": (None, (_OBJECT, _INT)),
    "arv_camera_get_payload": (ctypes.c_uint, (_OBJECT,)),
    "arv_camera_create_stream": (_OBJECT, (_OBJECT, _OBJECT, _OBJECT)),
    "arv_camera_start_acquisition": (None, (_OBJECT,)),
    "arv_camera_stop_acquisition": (None, (_OBJECT,)),
}
"""Functions whose last argument is a place for an error: result, and the arguments before it."""
_PLAIN_CALLS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "arv_buffer_new_allocate": (_OBJECT, (ctypes.c_size_t,)),
    "arv_stream_push_buffer": (None, (_OBJECT, _OBJECT)),
    "arv_stream_timeout_pop_buffer": (_OBJECT, (_OBJECT, ctypes.c_uint64)),
    "arv_buffer_get_status": (_INT, (_OBJECT,)),
    "arv_buffer_get_image_data": (_OBJECT, (_OBJECT, ctypes.POINTER(ctypes.c_size_t))),
    "arv_buffer_get_image_width": (_INT, (_OBJECT,)),
    "arv_buffer_get_image_height": (_INT, (_OBJECT,)),
}


class AravisCamera:
    """One camera, under the control of this process until it is closed.

    Args:
        device: its IP address, or its id as ``arv-tool-0.8`` lists it.

    Raises:
        AravisError: no library, no such camera, or another program controls it.
    """

    def __init__(self, device: str) -> None:
        try:
            self._library, self._objects = ctypes.CDLL(_LIBRARY), ctypes.CDLL(_OBJECTS)
        except OSError:
            error = AravisError("Aravis is not installed; run: apt install libaravis-0.8-0")
            error.missing = True
            raise error from None
        for name, (result, arguments) in {**_CALLS, **_PLAIN_CALLS}.items():
            function = getattr(self._library, name)
            function.restype = result
            function.argtypes = (*arguments, ctypes.POINTER(_Error)) if name in _CALLS else arguments
        self._objects.g_object_unref.argtypes = (_OBJECT,)
        self._stream: int | None = None
        self._camera: int = self._call("arv_camera_new", device.encode())

    @property
    def name(self) -> str:
        """Who made it and what it is."""
        parts = (self._call(f"arv_camera_get_{part}_name", self._camera) for part in ("vendor", "model"))
        return " ".join(part.decode("utf-8", "replace") for part in parts)

    @property
    def pixel_format(self) -> str:
        """By its name in GenICam; asks the camera."""
        return self._call("arv_camera_get_pixel_format_as_string", self._camera).decode()

    @pixel_format.setter
    def pixel_format(self, name: str) -> None:
        self._call("arv_camera_set_pixel_format_from_string", self._camera, name.encode())

    def pixel_formats(self) -> list[str]:
        """Those that it has."""
        count = ctypes.c_uint()
        names = self._call("arv_camera_dup_available_pixel_formats_as_strings", self._camera, ctypes.byref(count))
        return [names[number].decode() for number in range(count.value)]

    def set_frame_rate(self, fps: float) -> bool:
        """Request a rate; False where the camera has none to set."""
        if not self._call("arv_camera_is_frame_rate_available", self._camera):
            return False
        self._call("arv_camera_set_frame_rate", self._camera, fps)
        return True

    def set_exposure(self, microseconds: float) -> None:
        """Expose for so long, always."""
        self._switch_off("arv_camera_set_exposure_time_auto")
        self._call("arv_camera_set_exposure_time", self._camera, microseconds)

    def set_gain(self, gain: float) -> None:
        """Amplify by so much, always; in the camera's own unit."""
        self._switch_off("arv_camera_set_gain_auto")
        self._call("arv_camera_set_gain", self._camera, gain)

    def set_packet_size(self, size: int) -> None:
        """Bytes of a packet on the network."""
        self._call("arv_camera_gv_set_packet_size", self._camera, size)

    def start(self) -> None:
        """Send pictures, without end."""
        self._call("arv_camera_set_acquisition_mode", self._camera, _CONTINUOUS)
        payload = self._call("arv_camera_get_payload", self._camera)
        self._stream = self._call("arv_camera_create_stream", self._camera, None, None)
        for _ in range(_BUFFERS):
            self._library.arv_stream_push_buffer(self._stream, self._library.arv_buffer_new_allocate(payload))
        self._call("arv_camera_start_acquisition", self._camera)

    @contextmanager
    def picture(self, seconds: float) -> Generator[tuple[int, int, NDArray[np.uint8]] | bool]:
        """The next picture: height, width and its bytes, valid inside the block.

        Yields:
            False when there is none within the time; True for one that came damaged.
        """
        buffer = self._library.arv_stream_timeout_pop_buffer(self._stream, int(seconds * 1e6))
        if not buffer:
            yield False
            return
        try:
            if self._library.arv_buffer_get_status(buffer) != _SUCCESS:
                yield True
                return
            size = ctypes.c_size_t()
            place = self._library.arv_buffer_get_image_data(buffer, ctypes.byref(size))
            height, width = (
                getattr(self._library, f"arv_buffer_get_image_{side}")(buffer) for side in ("height", "width")
            )
            data = np.ctypeslib.as_array(ctypes.cast(place, ctypes.POINTER(ctypes.c_uint8)), (size.value,))
            yield height, width, data
        finally:
            self._library.arv_stream_push_buffer(self._stream, buffer)

    def close(self) -> None:
        """Stop, and let others control it: a camera keeps its place for seconds for one that only vanished."""
        with suppress(AravisError):
            self._call("arv_camera_stop_acquisition", self._camera)
        if self._stream is not None:
            self._objects.g_object_unref(self._stream)
        self._objects.g_object_unref(self._camera)

    def _switch_off(self, automatic: str) -> None:
        with suppress(AravisError):  # it has no automatic
            self._call(automatic, self._camera, _OFF)

    def _call(self, name: str, *arguments: Any) -> Any:
        error = _Error()
        result = getattr(self._library, name)(*arguments, ctypes.byref(error))
        if error:
            raise AravisError((error.contents.message or b"unknown error").decode("utf-8", "replace"))
        return result
