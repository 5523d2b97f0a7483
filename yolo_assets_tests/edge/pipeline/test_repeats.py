"""A picture that stands still, told from a scene that does: cameras as they are, and encoders as they are."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from yolo_assets.edge.pipeline.repeats import RepeatWatch
from yolo_assets.edge.types import Picture

RNG = np.random.default_rng(0)


def line(height: int = 270, width: int = 480) -> Picture:
    picture = cv2.GaussianBlur(RNG.integers(0, 256, (height, width, 3), dtype=np.uint8), (0, 0), 6)
    picture = cv2.normalize(picture, None, 30, 220, cv2.NORM_MINMAX)  # pyright: ignore[reportCallIssue, reportArgumentType]
    cv2.rectangle(picture, (60, 60), (260, 180), (90, 140, 200), cv2.FILLED)
    return np.asarray(picture, np.uint8)


def with_noise(picture: Picture, sigma: float) -> Picture:
    return np.clip(picture + RNG.normal(0, sigma, picture.shape), 0, 255).astype(np.uint8)


def after(pictures: Iterable[Picture], seconds: float = 5, fps: float = 5) -> RepeatWatch:
    watch = RepeatWatch(seconds)
    for number, picture in enumerate(pictures):
        watch.look(picture, number / fps)
    return watch


def jpeg(picture: Picture) -> Picture:
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", picture)[1], cv2.IMREAD_COLOR), np.uint8)


def test_the_same_picture_is_frozen_after_its_time_and_recovers_at_once() -> None:
    watch, picture = RepeatWatch(10), with_noise(line(), 2)
    seen = []
    for second in range(13):
        watch.look(picture, second)
        seen.append(watch.frozen)
    assert seen == [False] * 10 + [True] * 3 and watch.same_s == 12
    watch.look(with_noise(picture, 1), 13)
    assert not watch.frozen and watch.same_s == 0


@pytest.mark.parametrize("sigma", [0.7, 2])
def test_a_still_scene_has_the_noise_of_its_sensor_and_is_not_frozen(sigma: float) -> None:
    scene = line()
    assert not after(with_noise(scene, sigma) for _ in range(40)).frozen
    assert not after(jpeg(with_noise(scene, sigma)) for _ in range(40)).frozen


def test_a_clock_in_the_picture_does_not_hide_that_it_stands_still() -> None:
    scene = with_noise(line(), 2)

    def at(second: int) -> Picture:
        shown = scene.copy()
        cv2.putText(shown, f"12:{second // 60:02}:{second % 60:02}", (8, 18), cv2.FONT_HERSHEY_PLAIN, 1, (255,) * 3)
        return shown

    assert after(at(second) for second in range(40)).frozen


def test_dark_and_masked_pictures_are_judged_by_what_they_show() -> None:
    dark = np.zeros((270, 480, 3), np.uint8)
    assert not after(dark for _ in range(40)).frozen, "a dark hall says nothing"
    scene, hidden = line(), np.s_[:, 40:]

    def masked(picture: Picture) -> Picture:
        picture[hidden] = 0
        return picture

    assert not after(masked(with_noise(scene, 1)) for _ in range(40)).frozen
    assert after(masked(scene.copy()) for _ in range(40)).frozen


def test_few_pictures_and_another_size_are_not_frozen() -> None:
    scene = line()
    assert not after((scene for _ in range(4)), fps=0.1).frozen, "four pictures are no proof"
    assert after((scene for _ in range(5)), fps=0.1).frozen
    assert not after([*[scene] * 60, cv2.resize(scene, (240, 136))]).frozen  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("codec", [["mjpeg", "-q:v", "4"], ["libx264", "-preset", "veryfast", "-qp", "26", "-g", "20"]])
def test_an_encoder_that_repeats_one_picture_is_frozen(tmp_path: Path, codec: list[str]) -> None:
    picture = with_noise(line(), 2)
    assert after(encoded(tmp_path / "still.mkv", [picture] * 60, codec), seconds=5).frozen
    scene = (with_noise(picture, 2) for _ in range(60))
    assert not after(encoded(tmp_path / "scene.mkv", scene, codec), seconds=5).frozen


def encoded(path: Path, pictures: Iterable[Picture], codec: list[str]) -> Iterable[Picture]:
    raw = ["-f", "rawvideo", "-pix_fmt", "bgr24", "-s", "480x270", "-r", "5", "-i", "-"]
    command = ["ffmpeg", "-loglevel", "error", "-y", *raw, "-c:v", *codec, "-threads", "1", str(path)]
    data = b"".join(picture.tobytes() for picture in pictures)
    subprocess.run(command, input=data, check=True, timeout=60)
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)


def test_looking_costs_less_than_one_percent_of_a_core_at_ten_frames_a_second() -> None:
    pictures = [with_noise(line(1080, 1920), 2) for _ in range(3)]
    watch = RepeatWatch(60)
    begun = time.process_time()
    for number in range(300):
        watch.look(pictures[number % 3], number)
    assert (time.process_time() - begun) / 300 < 0.001
