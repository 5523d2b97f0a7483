"""GigE Vision through Aravis, against its camera in software on the loopback: formats, settings, a killed camera."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import pytest

from yolo_assets.edge.cameras.process import aravis
from yolo_assets.edge.cameras.process.genicam import read_genicam, to_bgr
from yolo_assets_tests.edge.cameras.camera_box import CameraBox
from yolo_assets_tests.edge.plant import until

ADDRESS = "127.0.0.1"  # GigE Vision has one port, 3956: one camera an address


class SoftwareCamera:
    """Aravis' fake GigE Vision camera, as a process."""

    def __init__(self, serial: str = "TEST1", lost: int = 0) -> None:
        program = shutil.which("arv-fake-gv-camera-0.8")
        if program is None:
            if os.environ.get("CI"):
                pytest.fail("CI must have arv-fake-gv-camera-0.8")
            pytest.skip("Aravis' fake camera is not installed (Debian: package aravis-tools)")
        self._command = [program, "-i", ADDRESS, "-s", serial, "-r", str(lost)]
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    close = kill


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def start(stack: ExitStack, root: Path, **options: object) -> CameraBox:
    camera = {"kind": "genicam", "device": ADDRESS, "fps": 10, "timeout_s": 5, "reconnect_max_s": 1} | options
    return stack.enter_context(closing(CameraBox(root, {"cam1": camera})))


@pytest.mark.timeout(120)
def test_pictures_come_also_after_a_kill_and_the_camera_is_let_go(tmp_path: Path, stack: ExitStack) -> None:
    camera = stack.enter_context(closing(SoftwareCamera()))
    running = stack.enter_context(ExitStack())
    box = start(running, tmp_path, pixel_format="BayerRG8", exposure_us=5000, gain=1, packet_size=1400)
    box.flows("cam1")
    facts = box.threads["cam1"].source.facts()
    assert (facts["codec"], facts["width"], facts["height"]) == ("BayerRG8", 512, 512)
    image = box.latest["cam1"].image
    assert image.shape == (512, 512, 3) and image.std() > 5
    camera.kill()
    until(lambda: box.threads["cam1"].state == "reconnecting", 30)
    camera.start()
    box.flows("cam1", 60)
    assert box.threads["cam1"].details()["back_after_s"] > 0
    running.close()
    with closing(aravis.AravisCamera(ADDRESS)) as free:
        free.start()  # refused while another program controls it, or only vanished


@pytest.mark.timeout(60)
def test_lost_packets_make_a_picture_unreadable(tmp_path: Path, stack: ExitStack) -> None:
    stack.enter_context(closing(SoftwareCamera(lost=300)))  # of a thousand, those that are sent again too
    box = start(stack, tmp_path, pixel_format="Mono8", packet_size=1400)
    until(lambda: box.counts("cam1").dropped.get("unreadable", 0) >= 3, 40)
    assert box.threads["cam1"].restarts == 0


def set_format(pixel_format: str) -> bool:
    """Whether the camera took it; on a busy machine it answers too late at times."""
    try:
        with closing(aravis.AravisCamera(ADDRESS)) as camera:
            camera.pixel_format = pixel_format
    except aravis.AravisError:
        return False
    return True


@pytest.mark.timeout(90)
def test_what_cannot_be_read_is_refused_with_what_to_do(tmp_path: Path, stack: ExitStack) -> None:
    with ExitStack() as running:  # a camera has one master: the agent's must be gone before ours comes
        box = start(running, tmp_path)
        until(lambda: box.threads["cam1"].message.startswith("Can't connect to device"), 40)
        assert box.threads["cam1"].state == "reconnecting"
    stack.enter_context(closing(SoftwareCamera()))
    told = Told()
    until(lambda: set_format("Mono16"), 30)
    order = {"kind": "genicam", "device": ADDRESS, "fps": None, "exposure_us": None, "gain": None}
    read_genicam(order | {"packet_size": None, "pixel_format": None}, told, threading.Event())  # pyright: ignore[reportArgumentType]
    assert told.hopeless
    assert told.words.startswith("its pixel format Mono16 cannot be read; set pixel_format to one that it has: Bayer")


def test_a_missing_library_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aravis, "_LIBRARY", "libaravis-none.so")
    told, nothing = Told(), dict.fromkeys(("fps", "exposure_us", "gain", "packet_size", "pixel_format"))
    read_genicam({"kind": "genicam", "device": ADDRESS} | nothing, told, threading.Event())  # pyright: ignore[reportArgumentType]
    assert told.hopeless and told.words == "Aravis is not installed; run: apt install libaravis-0.8-0"


class Told:
    """What a child says at its end."""

    words, hopeless = "", False

    def end(self, words: str, *, hopeless: bool) -> None:
        self.words, self.hopeless = words, hopeless


FIRST_ROWS = {"BayerRG8": "RG GB", "BayerGR8": "GR BG", "BayerGB8": "GB RG", "BayerBG8": "BG GR"}
"""Where the colours are, as the name says: the first two pixels of the first and of the second row."""


@pytest.mark.parametrize("pixel_format", [*FIRST_ROWS, "Mono8", "RGB8"])
def test_colours_of_each_pixel_format_are_right(pixel_format: str) -> None:
    colour = {"R": 200, "G": 120, "B": 40}
    rgb = np.empty((16, 24, 3), np.uint8)
    rgb[:] = (200, 120, 40)
    if pixel_format == "RGB8":
        data, expected = rgb.ravel(), (40, 120, 200)
    elif pixel_format == "Mono8":
        data, expected = np.full(16 * 24, 77, np.uint8), (77, 77, 77)
    else:
        rows = [[colour[name] for name in row] for row in FIRST_ROWS[pixel_format].split()]
        data, expected = np.tile(np.array(rows, np.uint8), (8, 12)).ravel(), (40, 120, 200)
    into = np.zeros((16, 24, 3), np.uint8)
    to_bgr(np.concatenate((data, np.zeros(8, np.uint8))), pixel_format, into)  # cameras may send more than the picture
    assert (into == expected).all()
