"""Which pictures of a camera show the same scene."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_assets.edge.rollout.scenes import SceneChanges
from yolo_assets_tests.support.tiny_model import blob_frame


@given(st.integers(0, 50), st.integers(0, 6), st.integers(-20, 20))
@settings(max_examples=40)
def test_noise_and_a_lamp_that_flickers_are_no_other_scene(seed: int, noise: int, light: int) -> None:
    scene, _ = blob_frame(seed, 480, 640)
    scene = np.clip(scene, 30, 220)
    changes = SceneChanges()
    assert changes.is_new("cam1", scene)
    again = scene + np.random.default_rng(seed).integers(-noise, noise + 1, scene.shape) + light
    assert not changes.is_new("cam1", np.clip(again, 0, 255).astype(np.uint8))


@pytest.mark.parametrize(("height", "width"), [(20, 30), (240, 320), (480, 640), (1080, 1920)])
def test_what_moves_is_another_scene(height: int, width: int) -> None:
    scene = np.full((height, width, 3), 40, np.uint8)
    moved = scene.copy()
    side = max(3, width // 60)
    scene[:side, :side], moved[side : 2 * side, side : 2 * side] = 220, 220
    changes = SceneChanges()
    assert changes.is_new("cam1", scene)
    assert changes.is_new("cam1", moved)
    assert not changes.is_new("cam1", moved)
    assert changes.is_new("cam1", scene)


def test_each_camera_has_its_scene_and_another_size_is_another_scene() -> None:
    scene, _ = blob_frame(1, 480, 640)
    changes = SceneChanges()
    assert changes.is_new("cam1", scene) and changes.is_new("cam2", scene)
    assert not changes.is_new("cam1", scene) and not changes.is_new("cam2", scene)
    assert changes.is_new("cam1", scene[:20, :30])
