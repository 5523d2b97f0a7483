"""What a camera's child is made of: waiting packets, shared memory, waits, and children that misbehave."""

from __future__ import annotations

import gc
import itertools
import os
import random
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.edge.cameras import remote
from yolo_assets.edge.cameras.live import CameraAddress, live_source
from yolo_assets.edge.cameras.open import ReconnectWaits
from yolo_assets.edge.cameras.process.channel import AgentChannel, Thinning
from yolo_assets.edge.cameras.process.memory import SLOTS, SPARE, ChildMemory, ParentMemory
from yolo_assets.edge.cameras.process.stream import Packet, PacketQueue
from yolo_assets.edge.cameras.process.usb import grab_pictures
from yolo_assets.edge.cameras.process.wire import WireError, lost_counts, number, unpack
from yolo_assets.edge.cameras.remote import StartTurn
from yolo_assets.edge.cameras.source import SourceError
from yolo_assets.edge.clock import DeviceClock
from yolo_assets.edge.config.cameras import StreamCamera, UsbCamera
from yolo_assets_tests.support.foreign import FOREIGN
from yolo_assets_tests.support.streams import make_video


@settings(max_examples=200, deadline=None)
@given(
    packets=st.lists(st.tuples(st.booleans(), st.floats(0, 0.6), st.booleans()), min_size=1, max_size=60),
    patience=st.floats(0.2, 2),
)
def test_waiting_packets_stay_recent_and_follow_their_reference(
    packets: list[tuple[bool, float, bool]], patience: float
) -> None:
    line, now, out, waiting, lost, keys = PacketQueue(patience), 0.0, [], 0, 0, False
    for place, (key, gap, take) in enumerate(packets):
        now += gap
        line.put(Packet(place, now, key, 10))
        keys = keys or key
        lost += line.take_lost()
        waiting = place + 1 - len(out) - lost
        assert waiting >= 0
        if take and waiting:
            item = line.get()
            assert now - item.arrived <= patience
            out.append((item.packet, item.key))
    line.put(Packet(None, now, False, 0))
    while (item := line.get()).packet is not None:
        out.append((item.packet, item.key))
    lost += line.take_lost()
    assert len(out) + lost == len(packets), "every packet is read or counted"
    for (before, _), (after, key) in itertools.pairwise(out):
        assert after == before + 1 or key or not any(k for k, _, _ in packets[: after + 1])


def test_waiting_packets_are_bounded_in_bytes_too() -> None:
    line = PacketQueue(1000)
    for place in range(200):
        line.put(Packet(place, 0.0, place % 10 == 0, 1 << 20))
    assert line.take_lost() >= 200 - 64 - 10
    assert line.get().key


@given(lives=st.lists(st.floats(0, 100), max_size=40), seed=st.integers(0, 1000))
def test_waits_double_up_to_a_bound_and_reset_only_after_success(lives: list[float], seed: int) -> None:
    backoff = ReconnectWaits(first_s=0.5, last_s=30, healthy_s=10, draw=random.Random(seed).random)
    run = 0
    for lived in lives:
        run = 0 if lived >= 10 else run
        wait = backoff.after(lived)
        assert min(30, 0.25 * 2**run) <= wait <= min(30, 0.75 * 2**run)
        run += 1
    assert backoff.longest() == 30


def test_waits_of_cameras_that_failed_together_differ() -> None:
    assert len({ReconnectWaits().after(0) for _ in range(10)}) == 10


@given(rate=st.floats(5, 60), wanted=st.floats(1, 60))
def test_thinning_keeps_about_the_configured_rate(rate: float, wanted: float) -> None:
    thinning = Thinning(wanted)
    kept = sum(thinning.wanted(100 + n / rate) for n in range(int(rate * 20)))
    assert kept <= wanted * 20 * 1.12 + 1
    assert kept >= min(rate, wanted) * 20 * 0.45
    assert all(Thinning(None).wanted(t) for t in (1, 1, 1))


def shared(size: int = 300) -> tuple[ChildMemory, ParentMemory]:
    child = ChildMemory(size)
    return child, ParentMemory(os.dup(child.fd), child.slot_bytes)


def test_a_slot_is_in_use_until_its_last_view_is_released() -> None:
    child, parent = shared()
    slot = child.take()
    assert slot == 0
    child.picture(slot, 10, 10)[:] = 7
    picture = parent.lend(slot, 10, 10)
    assert picture.shape == (10, 10, 3) and (picture == 7).all()
    part = picture[2:5, ::2][1:]  # a view of a view of a view
    del picture
    gc.collect()
    assert child.take() == 1, "the first is still looked at"
    assert (part == 7).all()
    del part
    gc.collect()
    assert child.take() == 0


def test_kept_pictures_are_copies_and_the_camera_continues() -> None:
    child, parent = shared()
    kept = []
    for value in range(50):
        slot = child.take()
        assert slot is not None, "the camera ran out of slots"
        child.picture(slot, 10, 10)[:] = value
        kept.append(parent.lend(slot, 10, 10))
    assert [int(picture[0, 0, 0]) for picture in kept] == list(range(50))
    assert all((picture == value).all() for value, picture in enumerate(kept))
    lent = sum(not picture.base.flags.owndata for picture in kept)
    assert lent == SLOTS - SPARE


def test_invalid_shared_memory_is_refused_and_memory_cannot_shrink() -> None:
    child, parent = shared()
    with pytest.raises(OSError, match="not permitted"):
        os.ftruncate(child.fd, 0)
    with pytest.raises(WireError, match="another size"):
        ParentMemory(os.dup(child.fd), child.slot_bytes * 2)
    with pytest.raises(WireError, match="out of order"):
        parent.lend(0, 1000, 1000)
    held = parent.lend(0, 10, 10)
    with pytest.raises(WireError, match="out of order"):
        parent.lend(0, 10, 10)
    assert held.shape == (10, 10, 3)
    with open("/dev/null") as file, pytest.raises(WireError):
        ParentMemory(os.dup(file.fileno()), 4096)


@given(st.binary(max_size=200) | st.sampled_from([b"[1]", b"{", b"\xff", b"[" * 100_000, b"null"]))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    try:
        note = unpack(data)
    except WireError:
        return
    assert isinstance(note, dict)


@pytest.mark.parametrize("value", [None, True, -1, 8, 1.5, "3", [], 10**30])
def test_numbers_out_of_bounds_are_refused(value: Any) -> None:
    with pytest.raises(WireError):
        number({"slot": value}, "slot", 0, 7)
    with pytest.raises(WireError):
        lost_counts({"lost": {"unreadable": value if value != 8 else 10**9}})
    with pytest.raises(WireError):
        lost_counts({"lost": {"theft": 1}})


_BAD_CHILDREN = {
    "garbage": ("c.send(b'not json')", "sent an invalid message"),
    "too long": ("c.send(b'x' * 50000)", "sent an invalid message"),
    "no memory": ('c.send(b\'{"note":"picture","slot":0,"height":9,"width":9}\')', "sent an invalid message"),
    "flood": ('while True: c.send(b\'{"note":"alive","lost":{"overrun":2000000}}\')', "sent an invalid message"),
    "noise": ('while True: c.send(b\'{"note":"x"}\')', "it did not answer"),
    "silence": ('c.send(b\'{"note":"started"}\'); import time; time.sleep(60)', "it did not answer"),
    "no word": ("import time; time.sleep(60)", "its process did not start within 2 s"),
    "slow start": (
        'import time; time.sleep(3); c.send(b\'{"note":"started"}\')\nc.send(b\'{"note":"end","words":"it began"}\')',
        "it began",
    ),
    "no pictures": ('while True: c.send(b\'{"note":"packets"}\')', "it sends, but no picture for 2 s"),
    "exit": ("sys.exit(3)", "with exit status 3"),
    "crash": ("import os; os.abort()", "by SIGABRT"),
    "closed": ("c.close(); import time; time.sleep(60)", "its connection to the agent"),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", sorted(_BAD_CHILDREN))
def test_a_child_that_misbehaves_is_ended_and_reported(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, words = _BAD_CHILDREN[name]
    (tmp_path / "bad_camera_child.py").write_text(
        f"import sys, socket\nc = socket.socket(fileno=int(sys.argv[1]))\nc.recv(9999)\n{code}\n"
    )
    monkeypatch.setattr(remote, "_PROGRAM", "bad_camera_child")
    if name == "no word":
        monkeypatch.setattr(remote, "_START_SECONDS", 2.0)
    monkeypatch.setattr(remote, "_PICTURE_SECONDS", 2.0)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    camera = StreamCamera.model_validate(
        {"kind": "stream", "camera_id": "cam1", "url": "tcp://127.0.0.1:9", "timeout_s": 1.5}
    )
    source = live_source(camera, DeviceClock(tmp_path / "clock.json"))
    begin = time.monotonic()
    with pytest.raises(SourceError, match=words):
        list(source.captures(threading.Event()))
    assert time.monotonic() - begin < 8
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()
    assert not [pid for pid in children if "bad_camera_child" in Path(f"/proc/{pid}/cmdline").read_text()]


def test_only_some_processes_start_at_once() -> None:
    stop, turns = threading.Event(), [StartTurn() for _ in range(40)]
    threading.Timer(0.5, stop.set).start()
    came = sum(turn.comes(stop) for turn in turns[:-1])
    assert came == max(4, 2 * (os.cpu_count() or 1)), "the others waited until the agent stopped"
    turns[0].end()
    turns[0].end()
    with turns[-1] as last:
        assert last.comes(threading.Event()), "a first word gives its place to the next"
    for turn in turns:
        turn.end()


def test_frames_that_were_lost_are_captures_with_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = 'c.send(b\'{"note":"lost","lost":{"overrun":3,"unreadable":2}}\')'
    (tmp_path / "lossy_child.py").write_text(
        f"import sys, socket\nc = socket.socket(fileno=int(sys.argv[1]))\nc.recv(9999)\n{code}\n"
    )
    monkeypatch.setattr(remote, "_PROGRAM", "lossy_child")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    camera = StreamCamera.model_validate({"kind": "stream", "camera_id": "cam1", "url": "tcp://127.0.0.1:9"})
    reasons = []
    with pytest.raises(SourceError, match="exit status 0"):
        for capture in live_source(camera, DeviceClock(tmp_path / "clock.json")).captures(threading.Event()):
            assert capture.image is None
            reasons.append(capture.lost)
    assert sorted(reasons) == ["overrun"] * 3 + ["unreadable"] * 2  # type: ignore[type-var]


class Notes:
    """The parent's end of an outbox, in the same process."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.outbox, self._ours, self._theirs = AgentChannel(theirs), ours, theirs
        self.memory: ParentMemory | None = None

    def pictures(self) -> list[np.ndarray]:
        self._ours.setblocking(False)
        found: list[np.ndarray] = []
        while True:
            try:
                data, files, _, _ = socket.recv_fds(self._ours, 8192, 1)
            except BlockingIOError:
                return found
            note = unpack(data)
            if note["note"] == "memory":
                self.memory = ParentMemory(files[0], note["slot_bytes"])
            elif note["note"] == "picture":
                assert self.memory is not None
                found.append(np.array(self.memory.lend(note["slot"], note["height"], note["width"])))


def test_usb_pictures_reach_the_agent_as_the_camera_gave_them(tmp_path: Path) -> None:
    """OpenCV's real reader through the real loop; a file stands in for the device, which no build machine has."""
    path = make_video(tmp_path / "usb.mp4", seconds=1)
    expected, device = cv2.VideoCapture(str(path)), cv2.VideoCapture(str(path))
    notes, closing, seen = Notes(), threading.Event(), 0

    class Paced:
        def grab(self) -> bool:
            nonlocal seen
            for picture in notes.pictures():
                good, want = expected.read()
                assert good and np.array_equal(picture, want)
                seen += 1
            return device.grab()

        def retrieve(self) -> tuple[bool, Any]:
            return device.retrieve()

    grab_pictures(Paced(), Thinning(None), notes.outbox, closing)
    assert seen == 25


def test_cut_jpegs_of_a_usb_camera_are_unreadable() -> None:
    """The JPEGs as V4L2 gives them, every third one cut; no build machine has the device."""
    data = (FOREIGN / "video" / "cut_jpegs.mjpeg").read_bytes()
    jpegs = [b"\xff\xd8\xff" + part for part in data.split(b"\xff\xd8\xff")[1:]]
    notes, left, shown = Notes(), iter(jpegs), 0

    class Device:
        def grab(self) -> bool:
            nonlocal shown
            shown += len(notes.pictures())
            self.data = next(left, None)
            return self.data is not None

        def retrieve(self) -> tuple[bool, Any]:
            return True, np.frombuffer(self.data or b"", np.uint8)[None]

    grab_pictures(Device(), Thinning(None), notes.outbox, threading.Event(), packed=True)
    assert len(jpegs) == 12 and shown == 8


def test_a_camera_that_changes_its_size_gets_new_memory_and_old_pictures_stay() -> None:
    notes = Notes()
    notes.outbox.picture(1.0, 10, 10, lambda into: into.fill(1))
    (small,) = notes.pictures()
    first = notes.memory
    notes.outbox.picture(2.0, 200, 100, lambda into: into.fill(2))
    notes.outbox.picture(3.0, 10, 10, lambda into: into.fill(3))
    large, again = notes.pictures()
    assert notes.memory is not first
    assert [(p.shape[:2], int(p.min()), int(p.max())) for p in (small, large, again)] == [
        ((10, 10), 1, 1),
        ((200, 100), 2, 2),
        ((10, 10), 3, 3),
    ]


def test_a_picture_too_large_for_any_camera_is_refused() -> None:
    with pytest.raises(ValueError, match="too large"):
        Notes().outbox.picture(1.0, 16000, 16000, lambda _: None)


@pytest.mark.timeout(60)
def test_a_missing_usb_camera_says_what_to_check(tmp_path: Path) -> None:
    camera = UsbCamera.model_validate({"kind": "usb", "camera_id": "cam1", "device": "/dev/video250"})
    source = live_source(camera, DeviceClock(tmp_path / "clock.json"))
    source.check()
    with pytest.raises(SourceError, match=r"cannot open the camera /dev/video250; is it plugged in"):
        list(source.captures(threading.Event()))


@given(
    user=st.text("abcXYZ:@/ ?é%", min_size=1, max_size=8).filter(lambda t: ":" not in t),
    password=st.text("abcXYZ:@/ ?é%#", min_size=1, max_size=12),
)
def test_any_password_gets_into_the_address_and_out_of_every_text(user: str, password: str) -> None:
    from urllib.parse import unquote, urlsplit

    os.environ["CAMERA_TEST_LOGIN"] = f"{user}:{password}"
    address = CameraAddress("cam1", "rtsp://old:login@10.0.0.7:554/h264?x=1", "CAMERA_TEST_LOGIN", None)
    parts = urlsplit(address.full())
    assert unquote(parts.username or "") == user and unquote(parts.password or "") == password
    assert (parts.hostname, parts.port, parts.path) == ("10.0.0.7", 554, "/h264")
    assert address.shown == "rtsp://10.0.0.7:554"
    secret = f"Wx{password}yZ"
    os.environ["CAMERA_TEST_LOGIN"] = f"{user}:{secret}"
    assert secret not in address.clean(f"cannot open {address.full()} with {secret}")


def test_credentials_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    file = tmp_path / "login"
    for prepare, words in (
        (lambda: None, "cannot read the file"),
        (lambda: file.write_text("only-a-password"), "must hold user:password in one line"),
        (lambda: file.write_bytes(b"\xff\xfe:"), "not UTF-8"),
    ):
        prepare()
        with pytest.raises(BadInputError, match=words) as caught:
            CameraAddress("cam1", "rtsp://a", None, file).full()
        assert "only-a-password" not in str(caught.value)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "rtsp://", "concat:a|b", "rtsp://u:secretword@h:port/", "x"])
def test_addresses_that_are_no_stream_are_refused_without_quoting_them(url: str) -> None:
    with pytest.raises(ValidationError) as caught:
        StreamCamera.model_validate({"kind": "stream", "camera_id": "cam1", "url": url})
    assert "not the address of a stream" in caught.value.errors()[0]["msg"] and "secretword" not in str(caught.value)
    both = {"credentials_env": "A", "credentials_file": "b"}
    with pytest.raises(ValidationError, match="not both"):
        StreamCamera.model_validate({"kind": "stream", "camera_id": "cam1", "url": "rtsp://h"} | both)


def test_the_child_loads_little() -> None:
    import subprocess

    code = "import sys, yolo_assets.edge.cameras.process.stream; print([m for m in sys.modules if m in %r])"
    heavy = ["cv2", "pydantic", "fastapi", "openvino", "onnxruntime", "cryptography"]
    found = subprocess.run([sys.executable, "-c", code % heavy], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("character", "#/?")
@pytest.mark.parametrize("password", ["12{}45", "{}45", "geheim{}", "a@b{}c"])
def test_a_password_that_ends_the_host_is_refused_with_what_to_write(character: str, password: str) -> None:
    secret = password.format(character)
    with pytest.raises(ValidationError) as caught:
        StreamCamera.model_validate({"kind": "stream", "camera_id": "c", "url": f"rtsp://admin:{secret}@10.0.0.9/x"})
    words = caught.value.errors()[0]["msg"]
    assert "credentials_file" in words and "%23" in words
    for part in ("12", "45", "geheim", "admin"):
        assert part not in words.replace("%23", "")


@pytest.mark.parametrize("url", ["rtsp://h/stream", "http://e:a@h/x", "rtsp://camera:live@h/video", "rtsp://h/a?b"])
def test_messages_stay_readable_whatever_the_address(url: str) -> None:
    words = "the stream ended: Connection reset by peer; is it a login page"
    assert CameraAddress("cam1", url, None, None).clean(words) == words
    assert CameraAddress("cam1", url, None, None).clean(f"cannot open {url}") == "cannot open ***"


def test_credentials_with_a_byte_order_mark_and_crlf_are_read() -> None:
    file = FOREIGN / "edge" / "camera.login"
    assert file.read_bytes() == b"\xef\xbb\xbfadmin:geheim\r\n"
    assert CameraAddress("cam1", "rtsp://h/x", None, file).full() == "rtsp://admin:geheim@h/x"


def test_a_password_in_the_address_is_warned_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    camera = StreamCamera.model_validate({"kind": "stream", "camera_id": "cam1", "url": "rtsp://admin:geheim@h/x"})
    live_source(camera, DeviceClock(tmp_path / "clock.json"))
    (told,) = (record.getMessage() for record in caplog.records)
    assert "credentials_file" in told and "geheim" not in told
