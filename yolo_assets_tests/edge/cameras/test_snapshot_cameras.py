"""Cameras that give one picture a request, against a real web server that is killed."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import cv2
import numpy as np
import pytest

from yolo_assets_tests.edge.cameras.camera_box import CameraBox
from yolo_assets_tests.edge.plant import until
from yolo_assets_tests.support.picture_server import PASSWORD, USER, Login, PictureServer
from yolo_assets_tests.support.streams import SilentServer


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def jpeg(number: int, height: int = 120) -> bytes:
    picture = np.full((height, 160, 3), 20 + number * 30 % 200, np.uint8)
    return cv2.imencode(".jpg", picture)[1].tobytes()


def start(stack: ExitStack, root: Path, server: PictureServer, **options: object) -> CameraBox:
    camera = {"kind": "snapshot", "url": server.url, "interval_s": 0.05, "reconnect_max_s": 1, "timeout_s": 4} | options
    return stack.enter_context(closing(CameraBox(root, {"cam1": camera})))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("login", ["basic", "digest"])
def test_each_new_picture_is_one_frame_also_after_the_server_was_killed(
    tmp_path: Path, stack: ExitStack, login: Login, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server = stack.enter_context(closing(PictureServer(tmp_path / "server", login)))
    server.show(jpeg(0))
    (tmp_path / "login").write_text(f"{USER}:{PASSWORD}\n")
    box = start(stack, tmp_path, server, credentials_file=str(tmp_path / "login"))
    thread = box.threads["cam1"]
    for number in range(1, 4):
        until(lambda number=number: box.counts("cam1").captured == number, 30)
        server.show(jpeg(number))
    until(lambda: box.counts("cam1").captured == 4)
    until(lambda: thread.state == "waiting", 20)  # asked again and again, and told that nothing is new
    assert box.counts("cam1").captured == 4 and thread.restarts == 0
    server.kill()
    until(lambda: thread.state == "reconnecting")
    server.show(jpeg(9, height=90))
    server.start()
    until(lambda: box.counts("cam1").captured == 5, 30)
    until(lambda: box.latest["cam1"].image.shape == (90, 160, 3))
    assert thread.details()["back_after_s"] > 0
    until(lambda: thread.state == "waiting", 20)
    shown = f"{thread.details()} {caplog.text}"
    assert f"http://127.0.0.1:{server.url.split(':')[2].partition('/')[0]}" in shown
    for word in (USER, PASSWORD, "now.jpg", "geheim"):
        assert word not in shown.replace("the user", ""), word
    server.end()
    assert server.answers("/now.jpg 304") > 5 and server.answers("/now.jpg 200") >= 1


@pytest.mark.timeout(60)
def test_damaged_pictures_are_unreadable_and_the_next_one_comes(tmp_path: Path, stack: ExitStack) -> None:
    server = stack.enter_context(closing(PictureServer(tmp_path / "server")))
    server.show(jpeg(0))
    box = start(stack, tmp_path, server)
    until(lambda: box.counts("cam1").processed == 1, 30)
    for damaged in (jpeg(1)[:-300], b"\xff\xd8\xff no picture", b""):
        before = box.counts("cam1").dropped.get("unreadable", 0)
        server.show(damaged)
        until(lambda before=before: box.counts("cam1").dropped.get("unreadable", 0) > before)
    server.show(jpeg(2, height=90))
    until(lambda: box.latest["cam1"].image.shape[0] == 90)
    assert box.threads["cam1"].restarts == 0 and box.counts("cam1").processed == 2


@pytest.mark.timeout(60)
def test_a_camera_that_calls_its_picture_unchanged_for_too_long_is_frozen(tmp_path: Path, stack: ExitStack) -> None:
    server = stack.enter_context(closing(PictureServer(tmp_path / "server")))
    scene = np.random.default_rng(0).integers(40, 200, (120, 160, 3), dtype=np.uint8)
    server.show(cv2.imencode(".jpg", scene)[1].tobytes())
    box = start(stack, tmp_path, server, frozen_after_s=2)
    until(lambda: box.threads["cam1"].state == "frozen", 30)
    assert box.counts("cam1").captured == 1
    server.show(cv2.imencode(".jpg", 255 - scene)[1].tobytes())
    until(lambda: box.threads["cam1"].state in ("live", "waiting"))
    assert box.latest["cam1"].frozen is False


@pytest.mark.timeout(60)
def test_what_is_no_picture_is_told_in_words(tmp_path: Path, stack: ExitStack) -> None:
    server = stack.enter_context(closing(PictureServer(tmp_path / "server")))
    locked = stack.enter_context(closing(PictureServer(tmp_path / "locked", "digest")))
    silent = stack.enter_context(closing(SilentServer()))
    server.show(b"<html>please log in</html>", "login.html")
    place = server.url.removesuffix("now.jpg")
    wrong = locked.url.replace("http://", "http://operator:wrong@")
    urls = {
        "page": f"{place}login.html",
        "missing": server.url,
        "moved": f"{place}moved.jpg",
        "locked": locked.url,
        "wrong": wrong,
        "silent": f"http://127.0.0.1:{silent.port}/now.jpg",
    }
    cameras = {name: {"kind": "snapshot", "url": url, "timeout_s": 2} for name, url in urls.items()}
    box = stack.enter_context(closing(CameraBox(tmp_path, cameras)))
    words = {
        "page": "no picture; is it a login page",
        "missing": "it answers 404",
        "moved": "leads to another address (301); give that one",
        "locked": "it refuses user and password (401)",
        "wrong": "it refuses user and password (401)",
        "silent": "answer",
    }
    for name, part in words.items():
        until(lambda name=name, part=part: part in box.threads[name].message, 30)
    hopeless = {name for name in urls if box.threads[name].state == "failed"}
    assert hopeless == {"moved", "locked", "wrong"}
    time.sleep(1.5)
    assert all(box.threads[name].restarts == 1 for name in hopeless), "a wrong password must not lock the account"
