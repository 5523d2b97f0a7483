"""Network streams as cameras of others send them: far key pictures, B pictures, cut JPEGs, odd headers."""

from __future__ import annotations

import itertools
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest

from yolo_assets_tests.edge.cameras.camera_box import CameraBox
from yolo_assets_tests.edge.plant import until
from yolo_assets_tests.support.foreign import FOREIGN
from yolo_assets_tests.support.picture_files import as_a_viewer_shows, saved, scene
from yolo_assets_tests.support.played_file import PlayedFile

VIDEO = FOREIGN / "video"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def box_of(stack: ExitStack, root: Path, played: PlayedFile, **options: object) -> CameraBox:
    stack.enter_context(closing(played))
    return stack.enter_context(closing(CameraBox(root, {"cam1": {"url": played.url} | options})))


@pytest.mark.timeout(90)
def test_key_pictures_12_s_apart_are_shown_at_each_connection(tmp_path: Path, stack: ExitStack) -> None:
    camera = PlayedFile(VIDEO / "gop_12s_25fps.ts")
    box = box_of(stack, tmp_path, camera, timeout_s=3)
    waits: list[float] = []
    for number in (1, 2):
        until(lambda number=number: camera.clients == number)
        seen = len(box.times["cam1"])
        until(lambda seen=seen: len(box.times["cam1"]) > seen + 50, 40)
        waits.append(box.times["cam1"][seen] - camera.began)
        camera.hang_up()
        until(lambda: box.threads["cam1"].state == "reconnecting")
    assert max(waits) < 6, "a picture came only with the next key picture"  # 12 s away


@pytest.mark.timeout(90)
def test_packets_without_a_picture_are_no_silence(tmp_path: Path, stack: ExitStack) -> None:
    whole = (VIDEO / "gop_12s_25fps.ts").read_bytes()
    cut = tmp_path / "from_the_middle.ts"
    cut.write_bytes(whole[: 188 * 3] + whole[188 * 700 :])  # tables, then nothing to begin with for 5 s
    camera = PlayedFile(cut)
    box = box_of(stack, tmp_path, camera, timeout_s=2)
    until(lambda: len(box.times["cam1"]) > 10, 40)
    assert box.times["cam1"][0] - camera.began > 2.5, "the file began with a key picture: nothing was shown"
    assert box.threads["cam1"].restarts == 0 and camera.clients == 1


@pytest.mark.timeout(60)
def test_pictures_of_a_stream_with_b_frames_have_times_that_rise(tmp_path: Path, stack: ExitStack) -> None:
    box = box_of(stack, tmp_path, PlayedFile(VIDEO / "bframes_2fps.ts"))
    until(lambda: len(box.moments["cam1"]) >= 10, 40)
    gaps = [late - early for early, late in itertools.pairwise(box.moments["cam1"])]
    assert min(gaps) > timedelta(0)
    steady = sorted(gaps[3:])  # the first came together, while FFmpeg found out what they are
    assert timedelta(seconds=0.3) < steady[0] and steady[-1] < timedelta(seconds=0.9), "0.5 s apart"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("head", ["Content-Type: image/jpeg", "X-Part: 1"])
def test_cut_jpegs_are_unreadable_and_never_shown(tmp_path: Path, stack: ExitStack, head: str) -> None:
    played = PlayedFile(VIDEO / "cut_jpegs.mjpeg", fps=20, part_head=head)
    box = box_of(stack, tmp_path, played, policy="every")
    until(lambda: box.counts("cam1").captured >= 60)
    counts = box.counts("cam1")
    unreadable = counts.dropped["unreadable"] / counts.captured
    assert 0.2 < unreadable < 0.45, "a third is cut"
    shown = box.latest["cam1"].image
    assert shown.shape == (120, 160, 3)


def lossy(path: Path, folder: Path) -> tuple[Path, list[np.ndarray]]:
    """A transport stream that lost packets, and its pictures as they were before."""
    source = "testsrc2=size=160x120:rate=25:duration=4"
    whole = folder / "whole.ts"
    encode = ["-vf", "noise=alls=10:allf=t", "-c:v", "libx264", "-bf", "0", "-g", "25", "-pix_fmt", "yuv420p"]
    subprocess.run(["ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", source, *encode, str(whole)], check=True)
    data = whole.read_bytes()
    packets = [data[place : place + 188] for place in range(0, len(data), 188)]
    gone = {len(packets) // 3, len(packets) // 3 + 1, len(packets) * 3 // 5}
    path.write_bytes(b"".join(packet for place, packet in enumerate(packets) if place not in gone))
    reader, pictures = cv2.VideoCapture(str(whole)), []
    while (found := reader.read())[0]:
        pictures.append(np.asarray(found[1], np.uint8))
    return path, pictures


@pytest.mark.timeout(60)
def test_what_follows_a_lost_packet_is_unreadable_until_a_key_picture(tmp_path: Path, stack: ExitStack) -> None:
    path, pictures = lossy(tmp_path / "lossy.ts", tmp_path)
    seen: list[np.ndarray] = []
    camera = stack.enter_context(closing(PlayedFile(path)))
    options = {"cam1": {"url": camera.url, "policy": "every"}}
    box = stack.enter_context(closing(CameraBox(tmp_path, options, lambda frame: seen.append(frame.image.copy()))))
    until(lambda: box.threads["cam1"].state == "reconnecting")
    assert len(seen) > 40 and box.counts("cam1").dropped["unreadable"] >= 10
    for image in seen:
        nearest = min(float(np.abs(image.astype(int) - whole).mean()) for whole in pictures)
        assert nearest < 0.5, "a smeared picture was shown"


@pytest.mark.timeout(60)
def test_a_stream_of_turned_jpegs_is_upright(tmp_path: Path, stack: ExitStack) -> None:
    turned = saved(scene(), "JPEG", 6)
    (tmp_path / "turned.mjpeg").write_bytes(turned * 5)
    box = box_of(stack, tmp_path, PlayedFile(tmp_path / "turned.mjpeg"))
    box.flows("cam1")
    expected = as_a_viewer_shows(turned)
    assert box.latest["cam1"].image.shape == expected.shape
    assert np.abs(box.latest["cam1"].image.astype(int) - expected).mean() < 6


@pytest.mark.timeout(60)
def test_pictures_five_seconds_apart_are_live_not_stalled(tmp_path: Path, stack: ExitStack) -> None:
    (tmp_path / "slow.mjpeg").write_bytes(saved(scene(), "JPEG"))
    box = box_of(stack, tmp_path, PlayedFile(tmp_path / "slow.mjpeg", fps=0.3))
    until(lambda: box.counts("cam1").processed >= 2)
    end, state = time.monotonic() + 3.5, "live"
    while time.monotonic() < end and state == "live":
        state = box.threads["cam1"].state
        time.sleep(0.1)
    assert state == "live"


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"Content-Length: 39\r\n\r\n<html><body>Please log in</body></html>", "is no video; is it a login page"),
        (b"Content-Type: image/jpeg\r\n\r\n" + saved(scene(), "JPEG"), "use kind: snapshot"),
    ],
)
def test_what_is_no_stream_says_so(tmp_path: Path, stack: ExitStack, body: bytes, words: str) -> None:
    door = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0))))

    def serve() -> None:
        while True:
            try:
                with door.accept()[0] as client:
                    client.recv(4096)
                    client.sendall(b"HTTP/1.0 200 OK\r\n" + body)
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    url = f"http://127.0.0.1:{door.getsockname()[1]}/view"
    box = stack.enter_context(closing(CameraBox(tmp_path, {"cam1": {"url": url}})))
    until(lambda: box.threads["cam1"].state == "reconnecting")
    assert words in box.threads["cam1"].message
