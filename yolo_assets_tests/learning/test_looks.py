"""Looks of a fixed camera: the frame with something that no other has is novel, and light and noise are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from yolo_assets.archive.archive import Archive
from yolo_assets.learning.looks import FEWEST, frame_looks, looks_of_camera
from yolo_assets.learning.sampling import NOVEL, CandidateFrame
from yolo_assets_tests.learning.line_world import START, World


def fixed_scene(count: int, strange: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    scene = rng.integers(40, 200, (64, 64, 3)).astype(np.float32)
    pictures: dict[str, np.ndarray] = {}
    for number in range(count):
        picture = scene * rng.uniform(0.97, 1.03) + rng.normal(0, 4, scene.shape)
        x, y = rng.integers(10, 50, 2)
        picture[y : y + 4, x : x + 4] = 20  # an ordinary defect, anywhere
        if number == strange:
            picture[5:30, 35:60] = 250
        pictures[f"{number:03d}"] = picture.clip(0, 255).astype(np.uint8)
    return pictures


def test_the_strange_frame_of_a_fixed_camera_is_the_novel_one() -> None:
    looks = looks_of_camera(fixed_scene(40, strange=17))
    novel = [path for path, look in looks.items() if look.novelty >= NOVEL]
    assert novel == ["017"]
    assert looks_of_camera(fixed_scene(FEWEST - 1, strange=3)) == {}, "too few to know the scene"


def test_looks_are_read_from_the_archive_and_what_is_not_there_has_none(tmp_path: Path) -> None:
    world = World.make(tmp_path)
    paths = world.archive_frames(FEWEST + 2)
    gone = f"{paths[0].rpartition('/')[0]}/20260301_100000_999.jpg"
    candidates = [CandidateFrame(path, "lineA_cam01", START) for path in [*paths, gone]]
    archive = Archive(world.archive, world.trusted)
    looks = frame_looks(archive, candidates)
    assert set(looks) == set(paths)
    again = frame_looks(archive, candidates[::-1])
    assert {path: look.novelty for path, look in again.items()} == {path: look.novelty for path, look in looks.items()}
