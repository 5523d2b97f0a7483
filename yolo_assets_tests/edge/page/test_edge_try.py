"""``edge try``: from a file and a video to boxes on the page of a real browser, with nothing prepared."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from yolo_assets.contracts.model import ONNX
from yolo_assets.contracts.settings import Settings
from yolo_assets.local.edge_trial import prepare_trial
from yolo_assets.models.registry import Registry
from yolo_assets.storage.open import open_store
from yolo_assets_tests.cli.command_line import clean_env, cli, refused
from yolo_assets_tests.edge.page.conftest import OpenPage, moving_blobs
from yolo_assets_tests.support.tiny_model import tiny_bundle_files
from yolo_assets_tests.support.videos import write_video
from yolo_assets_tests.training.exporting import exports

BOXES = '[data-camera="{}"] .chips b'


@contextmanager
def trial(home: Path, *argv: str | Path) -> Iterator[dict[str, str]]:
    """What ``edge try`` says once the page answers; it is ended afterwards."""
    command = [sys.executable, "-m", "yolo_assets.cli.main", "edge", "try", *map(str, argv), "--json"]
    log = home / "try.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(command, env=clean_env(home), stdout=subprocess.PIPE, stderr=errors)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, log.read_text()
        yield json.loads(line)
    finally:
        process.terminate()
        code = process.wait(60)
        process.stdout.close()
    assert code == 0, log.read_text()


def test_a_file_and_two_sources_show_boxes(tmp_path: Path, open_page: OpenPage) -> None:
    """The page has them, and those of a registered version."""
    (tmp_path / "best.onnx").write_bytes(tiny_bundle_files()[1][ONNX])
    video, folder = write_video(tmp_path / "shift 1.mp4"), moving_blobs(tmp_path / "blobs")
    with trial(tmp_path, tmp_path / "best.onnx", video, folder) as said:
        assert said["model"].startswith("best/try-") and int(said["boxes"]) > 0
        page = open_page(said["url"])
        for camera in ("shift_1", "blobs"):
            page.wait_for_selector(BOXES.format(camera), timeout=60_000)
        page.wait_for_selector("text=not judged")
    (tmp_path / "store").mkdir()
    Registry(open_store((tmp_path / "store").as_uri())).write_bundle(*tiny_bundle_files("weld", "7"))
    with trial(tmp_path, "weld/7", folder) as said:
        assert said["model"] == "weld/7"
        open_page(said["url"]).wait_for_selector(BOXES.format("blobs"), timeout=60_000)
    assert not (tmp_path / "store" / "channels").exists(), "a trial releases nothing in the plant"


@pytest.mark.soak
@pytest.mark.parametrize("option", ["plain", "checkpoint"])
def test_a_foreign_network_shows_boxes_within_a_minute(option: str, tmp_path: Path, open_page: OpenPage) -> None:
    """YOLO11n as Ultralytics exports it, and its checkpoint."""
    made = exports(tmp_path, f"yolo11n:{option}")
    video = write_video(tmp_path / "shift.mp4")
    began = time.monotonic()
    with trial(tmp_path, made.file("yolo11n", option), video, made.pictures) as said:
        page = open_page(said["url"])
        for camera in ("shift", "pictures"):
            page.wait_for_selector(BOXES.format(camera), timeout=60_000)
    seconds = time.monotonic() - began
    print(f"{option}: boxes on the page after {seconds:.1f} s")
    assert seconds < 60


def test_wrong_sources_and_models_are_told_in_one_line(tmp_path: Path) -> None:
    model = tmp_path / "best.onnx"
    model.write_bytes(tiny_bundle_files()[1][ONNX])
    (tmp_path / "one.png").write_bytes(b"")
    (tmp_path / "empty").mkdir()

    def fails(*argv: str | Path, words: str) -> None:
        refused(cli("edge", "try", *argv, home=tmp_path), words)

    fails(model, tmp_path / "no.mp4", words="no video, no folder, no device and no address")
    fails(model, tmp_path / "one.png", words="give the folder that holds it")
    fails(tmp_path / "no.onnx", tmp_path / "empty", words="give a .onnx, a .pt, or NAME/VERSION")
    fails("line/9", tmp_path / "empty", words="no model line/9")


def test_a_second_trial_of_the_same_file_imports_nothing(tmp_path: Path) -> None:
    (tmp_path / "best.onnx").write_bytes(tiny_bundle_files()[1][ONNX])
    asked = (Settings(home=tmp_path), str(tmp_path / "best.onnx"), [str(moving_blobs(tmp_path / "blobs"))])
    first, again = prepare_trial(*asked), prepare_trial(*asked)
    assert first.boxes and again.boxes is None
    assert first.model == again.model
    assert prepare_trial(*asked, confidence=0.5).model != first.model


def test_a_login_in_an_address_is_kept_in_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    settings = Settings(home=tmp_path, store_url=(tmp_path / "store").as_uri())
    Registry(open_store(settings.store_url)).write_bundle(*tiny_bundle_files("weld", "7"))
    made = prepare_trial(settings, "weld/7", ["rtsp://admin:a%40b#1@10.0.0.9:554/one", "rtsp://10.0.0.9/two", "0"])
    first, second, usb = made.config.cameras
    assert [camera.camera_id for camera in (first, second, usb)] == ["10_0_0_9", "10_0_0_9_2", "usb_0"]  # pyright: ignore[reportAttributeAccessIssue]
    text = made.config_file.read_text()
    assert "a@b" not in text and "a%40b" not in text and "rtsp://10.0.0.9:554/one" in text
    login = tmp_path / "try" / "10_0_0_9.login"
    assert login.read_text() == "admin:a@b#1\n"
    assert login.stat().st_mode & 0o077 == 0
