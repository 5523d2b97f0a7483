"""Video files and folders as others leave them: turned, joined, cut, damaged, with the time of a copy or with none."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Timer
from typing import Any

import av
import cv2
import numpy as np
import pytest

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.times import utc_now
from yolo_assets.edge.cameras.folder import FolderSource
from yolo_assets.edge.cameras.video import FilmTime, VideoSource
from yolo_assets.edge.config.cameras import FolderCamera, VideoCamera
from yolo_assets.edge.types import Capture
from yolo_assets_tests.support.foreign import FOREIGN

VIDEO = FOREIGN / "video"
START = datetime(2026, 1, 2, 3, 59, 59, tzinfo=UTC)


def captures(path: Path, **options: object) -> list[Capture]:
    config = VideoCamera.model_validate({"kind": "video", "camera_id": "cam1", "path": path, "start": START} | options)
    return list(VideoSource(config).captures(Event()))


def times(found: list[Capture]) -> list[datetime]:
    return [capture.captured_at for capture in found if capture.image is not None]


def test_a_turned_video_is_upright(tmp_path: Path) -> None:
    """As ffmpeg itself shows it, for every way a display matrix can turn."""
    for angle in (0, 90, 180, 270):
        turned = tmp_path / f"{angle}.mp4"
        with av.open(str(VIDEO / "rotated_90.mp4")) as source, av.open(str(turned), "w") as copy:
            stream = copy.add_stream_from_template(source.streams.video[0])
            stream.set_display_rotation(angle)
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    copy.mux(packet)
        shown = tmp_path / f"{angle}.png"
        first = ["ffmpeg", "-loglevel", "error", "-i", str(turned), "-frames:v", "1", str(shown)]
        subprocess.run(first, check=True)
        expected, image = cv2.imread(str(shown)), captures(turned)[0].image
        assert expected is not None and image is not None and image.shape == expected.shape
        assert np.abs(image.astype(int) - expected).mean() < 6, angle


def test_the_foreign_turned_video_is_160_high() -> None:
    assert {capture.image.shape for capture in captures(VIDEO / "rotated_90.mp4") if capture.image is not None} == {
        (160, 120, 3)
    }


@pytest.mark.parametrize(("fps", "frames"), [(None, 300), (5, 60)])
def test_joined_segments_give_every_frame_at_rising_times(fps: int | None, frames: int) -> None:
    everything = captures(VIDEO / "joined_segments.ts", fps=fps)
    found = times(everything)
    assert len(everything) == len(found) and abs(len(found) - frames) <= (0 if fps is None else 3)
    assert min(late - early for early, late in itertools.pairwise(found)) >= timedelta(milliseconds=30)
    assert timedelta(seconds=11) < found[-1] - found[0] < timedelta(seconds=13)


def test_breaks_in_the_times_of_a_file_are_counted() -> None:
    film = FilmTime(10)
    moments = [film.next(time) for time in (0.0, 0.1, 14_400.0, 14_400.1, 3.0, 3.0, None, 8.0)]
    assert film.breaks == 2
    assert moments == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.401, 0.501, 0.601])
    assert [FilmTime(1).next(0), film.step] == [0, 0.1]


def test_an_hour_without_a_picture_is_no_leap_in_a_slow_film() -> None:
    film = FilmTime(1 / 600)
    assert [film.next(time) for time in (0.0, 600.0, 4200.0)] == [0, 600, 4200] and film.breaks == 0


def test_cut_jpegs_of_a_file_are_unreadable() -> None:
    found = captures(VIDEO / "cut_jpegs.mjpeg")
    assert sum(capture.image is None for capture in found) == len(found) // 3 == 4


def test_what_follows_a_lost_packet_in_a_file_is_unreadable(tmp_path: Path) -> None:
    whole = (VIDEO / "gop_12s_25fps.ts").read_bytes()
    at = 188 * 600
    (tmp_path / "lossy.ts").write_bytes(whole[:at] + whole[at + 188 * 3 :])
    good, found = captures(VIDEO / "gop_12s_25fps.ts"), captures(tmp_path / "lossy.ts")
    assert all(capture.image is not None for capture in good)
    lost = [place for place, capture in enumerate(found) if capture.image is None]
    assert len(lost) > 100, "up to the next key picture, 12 s apart"
    known = {image.tobytes() for capture in good if (image := capture.image) is not None}
    assert all(capture.image.tobytes() in known for capture in found if capture.image is not None)


def test_a_video_without_a_start_ends_at_the_time_of_its_file(tmp_path: Path) -> None:
    path = Path(shutil.copy(VIDEO / "joined_segments.ts", tmp_path))
    for age in (0, 86_400):
        changed = utc_now() - timedelta(seconds=age)
        os.utime(path, (changed.timestamp(), changed.timestamp()))
        config = VideoCamera.model_validate({"kind": "video", "camera_id": "cam1", "path": path, "fps": 5})
        source, stop = VideoSource(config), Event()
        source.check()
        for capture in source.captures(stop):
            assert capture.captured_at <= utc_now()
            if (capture.captured_at - changed).total_seconds() > 1:
                stop.set()  # its times say that it is shorter than it is: the rest comes at the pace of the clock
        with av.open(str(path)) as container:
            assert container.duration is not None


@pytest.mark.parametrize("kind", ["video", "folder"])
def test_no_source_begins_in_1970_or_in_the_future(tmp_path: Path, kind: str) -> None:
    path = Path(shutil.copy(VIDEO / "rotated_90.mp4", tmp_path)) if kind == "video" else FOREIGN / "edge" / "photos"
    os.utime(tmp_path / "rotated_90.mp4", (0, 0)) if kind == "video" else None

    def check(**options: Any) -> None:
        options |= {"kind": kind, "camera_id": "cam1", "path": path}
        if kind == "video":
            VideoSource(VideoCamera.model_validate(options)).check()
        else:
            FolderSource(FolderCamera.model_validate(options)).check()

    if kind == "video":
        with pytest.raises(BadInputError, match="give the time of its first picture as start"):
            check()
    for start in (datetime(1970, 1, 1, tzinfo=UTC), utc_now() + timedelta(hours=2)):
        with pytest.raises(BadInputError, match="give a time between the year 2000 and the present"):
            check(start=start)
    check(start=START)


@pytest.mark.parametrize("loop", [True, False])
def test_a_folder_without_a_start_keeps_to_the_clock(loop: bool) -> None:
    options = {"kind": "folder", "camera_id": "cam1", "path": FOREIGN / "edge" / "photos", "fps": 4, "loop": loop}
    stop = Event()
    timer = Timer(2.0, stop.set)
    timer.start()
    begun, found = utc_now(), []
    for capture in FolderSource(FolderCamera.model_validate(options)).captures(stop):
        assert capture.captured_at <= utc_now()
        found.append(capture)
    timer.cancel()
    assert len(found) == (3 if not loop else pytest.approx(8, abs=3))
    assert found[-1].captured_at - begun < timedelta(seconds=4)


def test_a_start_in_the_past_is_read_as_fast_as_it_goes() -> None:
    options = {"kind": "folder", "camera_id": "cam1", "path": FOREIGN / "edge" / "photos", "start": START}
    begun = utc_now()
    assert len(list(FolderSource(FolderCamera.model_validate(options)).captures(Event()))) == 3
    assert utc_now() - begun < timedelta(seconds=1.5), "three pictures, a second apart, of last January"
