"""A camera that was moved is told from one whose light, parts or focus changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from yolo_assets.monitoring.scene import scene_of, scene_shift
from yolo_assets.simulator.weld_line import WeldLine

Picture = NDArray[np.uint8]


def pictures(right: int = 0, down: int = 0, light: float = 1.0, blur: float = 0.0, seed: int = 0) -> list[Picture]:
    """Nine frames of a hall: fixtures that stand, parts that pass, noise; 1280 x 720."""
    hall = np.random.default_rng(1)
    scene = np.full((900, 1500, 3), 110, np.uint8)
    for _ in range(40):
        x, y = int(hall.integers(0, 1400)), int(hall.integers(0, 800))
        size, grey = hall.integers(30, 160, 2), int(hall.integers(40, 220))
        cv2.rectangle(scene, (x, y), (x + int(size[0]), y + int(size[1])), (grey, grey, grey), -1)
    rng, found = np.random.default_rng(seed), []
    for _ in range(9):
        frame = scene.copy()
        for _ in range(3):
            centre = (int(rng.integers(0, 1500)), int(rng.integers(300, 600)))
            cv2.circle(frame, centre, 50, (230, 230, 230), -1)
        frame = frame[90 + down : 810 + down, 110 + right : 1390 + right].astype(np.float32)
        frame = frame * light + rng.normal(0, 5, frame.shape)
        if blur:
            frame = cv2.GaussianBlur(frame, (0, 0), blur)
        found.append(np.clip(frame, 0, 255).astype(np.uint8))
    return found


def scene(**change: float) -> Picture:
    made = scene_of(pictures(**change))  # pyright: ignore[reportArgumentType]
    assert made is not None
    return made


@pytest.mark.parametrize(("right", "down"), [(40, 0), (0, -30), (-60, 45)])
def test_a_moved_camera_is_seen_and_how_far(right: int, down: int) -> None:
    shift = scene_shift(scene(), scene(right=right, down=down, seed=2))
    assert shift is not None and shift.distance is not None
    assert shift.distance == pytest.approx(np.hypot(right, down) / 1280, abs=0.004)


@pytest.mark.parametrize("change", [{}, {"light": 0.6}, {"light": 1.3}, {"blur": 3.0}])
def test_other_parts_light_and_dirt_are_no_move(change: dict[str, float]) -> None:
    shift = scene_shift(scene(), scene(seed=3, **change))
    assert shift is not None and shift.distance is not None and shift.distance < 0.005


def test_nothing_is_said_where_the_whole_picture_moves() -> None:
    """A line on which each frame shows another plate from edge to edge: an hour's frames have no scene in common."""
    line, start = WeldLine(), datetime(2026, 3, 2, tzinfo=UTC)
    for hour in range(6):
        moments = [start + timedelta(hours=hour, seconds=400 * number) for number in range(9)]
        for camera in line.cameras:
            assert scene_of([line.draw(camera, moment).image for moment in moments]) is None


def test_nothing_is_said_of_dark_smooth_or_too_few_pictures() -> None:
    flat = np.full((90, 160), 120, np.uint8)
    assert scene_shift(scene(), scene(light=0.05)) is None
    assert scene_shift(flat, flat) is None
    assert scene_of(pictures()[:2]) is None
