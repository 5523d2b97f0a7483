"""Video files for tests, made by PyAV."""

from __future__ import annotations

from pathlib import Path

import av

from yolo_assets_tests.support.tiny_model import blob_frame


def write_video(path: Path, frames: int = 20, rate: int = 10) -> Path:
    """An H.264 file with B frames."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"bf": "2", "preset": "ultrafast", "g": "5"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for number in range(frames):
            for packet in stream.encode(av.VideoFrame.from_ndarray(blob_frame(number)[0], format="bgr24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path
