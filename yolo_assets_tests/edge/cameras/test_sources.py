"""Real files as cameras: H.264 video, photographs, and what is broken about them."""

from __future__ import annotations

import importlib.util
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import cv2
import numpy as np
import pytest

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.edge.cameras.folder import FolderSource
from yolo_assets.edge.cameras.simulated import simulated_sources
from yolo_assets.edge.cameras.source import SourceError
from yolo_assets.edge.cameras.video import VideoSource
from yolo_assets.edge.config.cameras import FolderCamera, SimulatedCameras, VideoCamera
from yolo_assets_tests.support.picture_files import as_a_viewer_shows, no_pictures, odd_but_sound, saved, scene
from yolo_assets_tests.support.tiny_model import blob_frame
from yolo_assets_tests.support.videos import write_video

START = datetime(2026, 1, 2, 3, 59, 59, tzinfo=UTC)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "line.mp4")


def video_camera(path: Path, **options: object) -> VideoSource:
    return VideoSource(VideoCamera.model_validate({"kind": "video", "camera_id": "cam1", "path": path} | options))


def folder_camera(path: Path, **options: object) -> FolderSource:
    return FolderSource(FolderCamera.model_validate({"kind": "folder", "camera_id": "cam1", "path": path} | options))


def test_an_h264_file_gives_every_frame_at_its_time(video: Path) -> None:
    source = video_camera(video, start=START)
    source.check()
    captures = list(source.captures(Event()))
    assert len(captures) == 20
    assert [c.captured_at - START for c in captures] == [timedelta(milliseconds=100 * n) for n in range(20)]
    for number in (0, 7, 19):  # in the right order, and the right colours, within what the codec loses
        image = captures[number].image
        assert image is not None and image.shape == (240, 320, 3)
        assert np.abs(image.astype(int) - blob_frame(number)[0]).mean() < 12


def test_fps_thins_a_video_and_the_files_own_time_is_the_default(video: Path) -> None:
    source = video_camera(video, fps=5)
    source.check()
    captures = list(source.captures(Event()))
    assert len(captures) == 10
    end = datetime.fromtimestamp(video.stat().st_mtime, UTC)  # a file is written when its recording ends
    assert abs(captures[0].captured_at - (end - timedelta(seconds=2))) < timedelta(milliseconds=50)
    assert captures[1].captured_at - captures[0].captured_at == timedelta(milliseconds=200)


def test_time_continues_over_the_end_of_a_loop(video: Path) -> None:
    stop = Event()
    moments = []
    for capture in video_camera(video, start=START, loop=True).captures(stop):
        moments.append(capture.captured_at)
        if len(moments) == 45:
            stop.set()
    assert moments == sorted(set(moments)) and len(moments) == 45


def test_damaged_packets_are_captures_without_a_picture_and_the_rest_plays(video: Path, tmp_path: Path) -> None:
    data = bytearray(video.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(3000)
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(data)
    captures = list(video_camera(damaged, start=START).captures(Event()))
    good = [c for c in captures if c.image is not None]
    assert len(captures) > len(good) >= 5


@pytest.mark.parametrize("content", [b"", b"not a video" * 100, None])
def test_an_unreadable_video_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "broken.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"camera cam1: cannot read the video .*broken\.mp4"):
        video_camera(path).check()
    with pytest.raises(SourceError, match=r"broken\.mp4"):
        list(video_camera(path).captures(Event()))


def test_photographs_in_the_order_of_their_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spec = importlib.util.find_spec("ultralytics")  # only its example pictures: nothing of it is imported
    assert spec is not None and spec.origin is not None
    assets = Path(spec.origin).parent / "assets"
    for name in ("zidane.jpg", "bus.jpg"):
        shutil.copy(assets / name, tmp_path)
    (tmp_path / "notes.txt").write_text("no picture")
    source = folder_camera(tmp_path, start=START, fps=2)
    source.check()
    captures = list(source.captures(Event()))
    assert [c.image.shape for c in captures if c.image is not None] == [(1080, 810, 3), (720, 1280, 3)]
    assert [c.captured_at - START for c in captures] == [timedelta(0), timedelta(milliseconds=500)]
    assert source.facts() == {"path": str(tmp_path), "unreadable_files": 0, "other_files": 1}
    (told,) = (record.getMessage() for record in caplog.records)
    assert f"files left out of {tmp_path}: 1, notes.txt first" in told


def test_truncated_and_false_pictures_are_captures_without_a_picture(tmp_path: Path) -> None:
    good = cv2.imencode(".jpg", blob_frame(1)[0])[1].tobytes()
    (tmp_path / "1.jpg").write_bytes(good)
    (tmp_path / "2.jpg").write_bytes(good[: len(good) // 2])
    (tmp_path / "3.jpg").write_bytes(b"GIF89a nonsense")
    (tmp_path / "4.jpg").write_bytes(b"")
    captures = list(folder_camera(tmp_path, start=START).captures(Event()))
    assert [c.image is not None for c in captures] == [True, False, False, False]


def test_every_kind_of_photograph_is_upright_and_odd_files_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sound = {f"a{number}": data for number, data in enumerate(saved(scene(), "JPEG", turn) for turn in range(1, 9))}
    for name, data in sound.items():
        (tmp_path / f"{name}.jpg").write_bytes(data)
    for name, (ending, data) in odd_but_sound().items():
        (tmp_path / f"b_{name}.{ending}").write_bytes(data)
    for name, (ending, data) in no_pictures().items():
        (tmp_path / f"c_{name}.{ending}").write_bytes(data)
    (tmp_path / "._a1.jpg").write_bytes(b"what a Mac leaves beside a1.jpg")
    source = folder_camera(tmp_path, start=START)
    images = [capture.image for capture in source.captures(Event())]
    assert len(images) == 8 + len(odd_but_sound()) + len(no_pictures())
    for image, data in zip(images, sound.values(), strict=False):
        assert image is not None and image.shape == as_a_viewer_shows(data).shape
    assert all(image is not None for image in images[: 8 + len(odd_but_sound())])
    assert all(image is None for image in images[8 + len(odd_but_sound()) :])
    for name in no_pictures():
        assert sum(f"c_{name}." in record.getMessage() for record in caplog.records) == 1
    facts = source.facts()
    assert facts["unreadable_files"] == len(no_pictures())
    assert facts["last_unreadable"] == "c_zeros.png is not a picture that can be read; use JPEG, PNG, WebP, BMP or TIFF"


def test_an_odd_file_is_told_once_and_forgotten_when_it_is_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = saved(scene(), "WEBP")
    (tmp_path / "1.webp").write_bytes(whole[: len(whole) // 2])
    stop, source = Event(), folder_camera(tmp_path, start=START, loop=True)
    seen: list[bool] = []
    for capture in source.captures(stop):
        seen.append(capture.image is not None)
        if len(seen) == 3:
            assert source.facts()["unreadable_files"] == 1
            (tmp_path / "1.webp").write_bytes(whole)
        if len(seen) == 4:
            stop.set()
    assert seen == [False, False, False, True] and source.facts()["unreadable_files"] == 0
    assert [record.getMessage() for record in caplog.records] == [f"camera cam1: {source.facts()['last_unreadable']}"]


def test_a_folder_without_pictures_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="holds no picture"):
        folder_camera(tmp_path).check()
    with pytest.raises(BadInputError, match="cannot list"):
        folder_camera(tmp_path / "missing").check()


def test_simulated_cameras_show_what_the_line_draws_at_their_clock() -> None:
    from yolo_assets.simulator.weld_line import LineConfig, WeldLine

    config = SimulatedCameras.model_validate(
        {
            "kind": "simulated",
            "camera_ids": ["lineA_cam02"],
            "seed": 3,
            "fps": 50,
            "frames": 3,
            "clock": {"start": "2026-01-02T03:00:00Z", "speed": 3600},
        }
    )
    (source,) = simulated_sources(config)
    captures = list(source.captures(Event()))
    assert len(captures) == 3
    for capture in captures:
        scene = WeldLine(LineConfig(seed=3, cameras=2)).draw("lineA_cam02", capture.captured_at)
        assert capture.image is not None and np.array_equal(scene.image, capture.image) and scene.truth == capture.truth
        assert scene.batch_id == capture.batch_id


def test_a_simulated_camera_that_the_line_lacks_is_one_line() -> None:
    config = SimulatedCameras.model_validate({"kind": "simulated", "camera_ids": ["lineB_cam01"]})
    with pytest.raises(BadInputError, match="no camera lineB_cam01"):
        simulated_sources(config)
