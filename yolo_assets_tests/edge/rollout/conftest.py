"""A device that can be started again."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from yolo_assets_tests.edge.plant import Plant
from yolo_assets_tests.edge.rollout.box import Box


@pytest.fixture
def boot(plant: Plant) -> Iterator[Callable[[], Box]]:
    """Start the box; again means a restart."""
    boxes: list[Box] = []

    def start() -> Box:
        if boxes:
            boxes.pop().close()
        boxes.append(Box(plant))
        return boxes[-1]

    yield start
    for box in boxes:
        box.close()
