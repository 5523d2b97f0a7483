"""Real network cameras: cut, silent, frozen, killed. Each comes back by itself, and no other camera notices."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from yolo_assets.contracts.times import utc_now
from yolo_assets.edge.config.cameras import StreamCamera
from yolo_assets_tests.edge.cameras.camera_box import CameraBox, alive
from yolo_assets_tests.edge.plant import until
from yolo_assets_tests.support.streams import (
    GuardedServer,
    NetworkCamera,
    RtspCamera,
    SilentServer,
    free_port,
    make_video,
)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("stream") / "line.mp4")


@pytest.fixture
def boxes(tmp_path: Path) -> Iterator[list[Any]]:
    """Whatever is put here is closed at the end, the last first."""
    opened: list[Any] = []
    yield opened
    for one in reversed(opened):
        (one.off if isinstance(one, NetworkCamera) else one.close)()


@pytest.mark.timeout(120)
def test_a_cut_stream_comes_back_and_its_neighbour_never_stops(video: Path, tmp_path: Path, boxes: list[Any]) -> None:
    cut, steady = NetworkCamera(video), NetworkCamera(video, "mjpeg")
    boxes += [cut, steady]
    cut.on()
    steady.on()
    box = CameraBox(tmp_path, {"cut": {"url": cut.url}, "steady": {"url": steady.url}})
    boxes.append(box)
    box.flows("cut")
    box.flows("steady")
    assert box.latest["cut"].image.shape == box.latest["steady"].image.shape == (240, 320, 3)
    assert abs((box.latest["cut"].captured_at - utc_now()).total_seconds()) < 5
    first = box.child("cut")
    cut.off()
    until(lambda: box.threads["cut"].state == "reconnecting")
    assert "the stream" in box.threads["cut"].message
    until(lambda: box.child("cut") is None)
    captured = box.counts("cut").captured
    begin = len(box.times["steady"])
    cut.on()
    restored = time.monotonic()
    until(lambda: box.counts("cut").captured > captured)
    assert time.monotonic() - restored < 20
    box.flows("cut")
    assert box.child("cut") != first and first is not None and not alive(first)
    assert box.threads["cut"].restarts >= 1 and box.threads["cut"].details()["back_after_s"] > 0
    assert len(box.times["steady"]) > begin and box.threads["steady"].restarts == 0
    assert box.longest_gap("steady") < 3, "the neighbour stood still"


@pytest.mark.timeout(120)
def test_a_frozen_sender_is_reported_then_gets_a_new_process(video: Path, tmp_path: Path, boxes: list[Any]) -> None:
    camera = NetworkCamera(video)
    boxes.append(camera)
    camera.on()
    box = CameraBox(tmp_path, {"cam1": {"url": camera.url, "timeout_s": 3}})
    boxes.append(box)
    box.flows("cam1")
    first, frozen = box.child("cam1"), camera.sender
    assert frozen is not None and first is not None
    frozen.freeze()
    begin = time.monotonic()
    until(lambda: box.threads["cam1"].state == "stalled")
    assert "no picture for" in box.threads["cam1"].details()["message"]
    until(lambda: box.threads["cam1"].state == "reconnecting")
    assert 2.5 < time.monotonic() - begin < 6
    assert "no picture came for" in box.threads["cam1"].message
    until(lambda: not alive(first))
    frozen.kill()  # the camera's watchdog starts it again
    box.flows("cam1")


@pytest.mark.timeout(120)
def test_a_server_that_says_nothing_costs_one_process_at_a_time_and_no_frame_of_others(
    video: Path, tmp_path: Path, boxes: list[Any]
) -> None:
    silent, steady = SilentServer(), NetworkCamera(video)
    boxes += [silent, steady]
    steady.on()
    cameras = {
        f"hang{n}": {"url": f"{scheme}://127.0.0.1:{silent.port}/x", "timeout_s": 1}
        for n, scheme in enumerate(("rtsp", "http", "tcp"))
    }
    box = CameraBox(tmp_path, {**cameras, "steady": {"url": steady.url}})
    boxes.append(box)
    box.flows("steady")
    begin = len(box.times["steady"])
    for name in cameras:
        until(lambda name=name: box.threads[name].restarts >= 2)
        assert box.threads[name].message.startswith("it did not answer for")
        assert box.counts(name).captured == 0
    children = subprocess.run(["ps", "--ppid", str(os.getpid()), "-o", "stat=,args="], capture_output=True, text=True)
    ours = [line for line in children.stdout.splitlines() if "child.reading" in line or "<defunct>" in line]
    assert len(ours) <= len(cameras) + 1 and not [line for line in ours if "<defunct>" in line]
    assert len(box.times["steady"]) > begin and box.longest_gap("steady") < 3


@pytest.mark.timeout(120)
def test_a_child_that_is_killed_or_stopped_is_replaced(video: Path, tmp_path: Path, boxes: list[Any]) -> None:
    camera = NetworkCamera(video)
    boxes.append(camera)
    camera.on()
    box = CameraBox(tmp_path, {"cam1": {"url": camera.url, "timeout_s": 4}})
    boxes.append(box)
    for number, words in ((signal.SIGKILL, "ended by SIGKILL"), (signal.SIGSTOP, "no picture came")):
        box.flows("cam1")
        held = box.latest["cam1"].image  # a picture outlives the process that made it
        before, child = held.copy(), box.child("cam1")
        assert child is not None
        restarts = box.threads["cam1"].restarts
        os.kill(child, number)
        until(lambda restarts=restarts: box.threads["cam1"].restarts > restarts)
        assert words in box.threads["cam1"].message
        until(lambda child=child: not alive(child))
        assert (held == before).all()
    box.flows("cam1")
    assert not [name for name in os.listdir("/dev/shm") if "camera" in name]


@pytest.mark.timeout(60)
def test_rtsp_gives_pictures_and_is_closed_with_teardown(video: Path, tmp_path: Path, boxes: list[Any]) -> None:
    camera = RtspCamera(video, tmp_path)
    boxes.append(camera)
    box = CameraBox(tmp_path, {"cam1": {"url": camera.url, "fps": 5}})
    boxes.append(box)
    box.flows("cam1")
    begin, seen = time.monotonic(), box.counts("cam1").captured
    time.sleep(2)
    rate = (box.counts("cam1").captured - seen) / (time.monotonic() - begin)
    assert rate < 7, "fps was asked to be 5"
    assert box.threads["cam1"].source.facts()["codec"] == "h264"
    boxes.remove(box)
    box.close()
    until(lambda: "TEARDOWN" in camera.requests)


_HOLDER = """
import sys, threading
from pathlib import Path
from yolo_assets.edge.clock import DeviceClock
from yolo_assets.edge.config.cameras import StreamCamera
from yolo_assets.edge.cameras.live import live_source
camera = StreamCamera.model_validate({"kind": "stream", "camera_id": "cam1", "url": sys.argv[1]})
source = live_source(camera, DeviceClock(Path(sys.argv[2])))
for capture in source.captures(threading.Event()):
    print(source.facts()["process"], flush=True)
"""


@pytest.mark.timeout(60)
@pytest.mark.parametrize("stopped", [False, True])
def test_kill_9_of_the_agent_ends_its_children_and_leaves_nothing(
    video: Path, tmp_path: Path, boxes: list[Any], stopped: bool
) -> None:
    camera = NetworkCamera(video)
    boxes.append(camera)
    camera.on()
    before = set(os.listdir("/dev/shm"))
    command = [sys.executable, "-c", _HOLDER, camera.url, str(tmp_path / "clock.json")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as agent:
        assert agent.stdout is not None
        child = int(agent.stdout.readline())
        assert alive(child)
        if stopped:
            os.kill(child, signal.SIGSTOP)
        agent.kill()
    until(lambda: not alive(child) or "State:\tZ" in Path(f"/proc/{child}/status").read_text(), 10)
    assert not {name for name in set(os.listdir("/dev/shm")) - before if "camera" in name}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("how", ["url", "file", "environment"])
def test_a_password_is_used_and_shown_nowhere(
    tmp_path: Path, boxes: list[Any], how: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    guarded = GuardedServer()
    boxes.append(guarded)
    place, secret = f"127.0.0.1:{guarded.port}/path-with-token?key=letmein", "s3cret%21"
    options: dict[str, Any] = {"url": f"http://{place}", "timeout_s": 1.5}
    if how == "url":
        options["url"] = f"http://operator:{secret}@{place}"
    elif how == "file":
        options["credentials_file"] = tmp_path / "camera.txt"
        options["credentials_file"].write_text("operator:s3cret!\n")
    else:
        options["credentials_env"] = "CAMERA_LOGIN"
        monkeypatch.setenv("CAMERA_LOGIN", "operator:s3cret!")
    box = CameraBox(tmp_path, {"cam1": options})
    boxes.append(box)
    child = until(lambda: box.child("cam1"))
    seen_by_others = Path(f"/proc/{child}/cmdline").read_bytes() + Path(f"/proc/{child}/environ").read_bytes()
    until(lambda: box.threads["cam1"].state == "failed")
    assert "Authorization: Basic b3BlcmF0b3I6czNjcmV0IQ==" in guarded.requests[-1]  # operator:s3cret!
    assert box.threads["cam1"].restarts == 1, "a camera that is hammered with a wrong password locks its account"
    until(lambda: box.child("cam1") is None)
    camera = StreamCamera.model_validate({"kind": "stream", "camera_id": "cam1"} | options)
    shown = f"{box.threads['cam1'].details()} {caplog.text} {camera!r} {camera.model_dump_json()} {seen_by_others!r}"
    assert f"http://127.0.0.1:{guarded.port}" in shown
    for word in ("s3cret", "operator", "letmein", "path-with-token"):
        assert word not in shown, word


@pytest.mark.timeout(60)
def test_what_cannot_work_as_configured_is_reported_once(
    tmp_path: Path, boxes: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    box = CameraBox(tmp_path, {"srt": {"url": "srt://127.0.0.1:9"}, "off": {"url": f"tcp://127.0.0.1:{free_port()}"}})
    boxes.append(box)
    until(lambda: box.threads["srt"].state == "failed" and box.threads["off"].restarts >= 3)
    assert "cannot read srt://" in box.threads["srt"].message and box.threads["srt"].restarts == 1
    assert box.threads["off"].message == "the stream failed: Connection refused"
    told = [record.message for record in caplog.records if "camera off" in record.message]
    assert len(told) == 1, "the same words are logged once"
