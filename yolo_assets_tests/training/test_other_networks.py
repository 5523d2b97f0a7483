"""Real trainings that move a plant: to a larger network, to another family, to another input, from one champion."""

from __future__ import annotations

from typing import Any

import pytest

from yolo_assets.models.registry import Registry
from yolo_assets.training.architectures import agents_refuse
from yolo_assets.training.candidates import train_candidate
from yolo_assets.vision.contract import differences
from yolo_assets_tests.training.conftest import SPEC, Trained

MOVES: list[dict[str, Any]] = [
    {"architecture": "yolo11s.yaml"},
    {"architecture": "yolo26n.yaml", "imgsz": [64, 96], "batch": "auto", "freeze": 2, "class_weights": 0.5},
    {"architecture": "yolo12n.yaml", "rect": True, "multi_scale": 0.3},
    {"architecture": "yolov8n.yaml", "augmentation": {"mosaic": 0.5, "degrees": 10, "mixup": 0.2}},
]


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("move", MOVES, ids=lambda move: str(move["architecture"]))
def test_what_was_asked_for_is_what_ran(trained: Trained, move: dict[str, Any]) -> None:
    registry, parent = Registry(trained.world.store), trained.result.model_version
    base = SPEC.model_dump(mode="json", exclude_unset=True, exclude={"augmentation"})
    spec = type(SPEC).model_validate({**base, "parent": parent, "epochs": 1, **move})
    result = train_candidate(registry, trained.dataset, spec, trained.work)
    ran = result.training.ran
    assert ran is not None and ran.architecture == move["architecture"] and 0 < ran.taken_over < 1
    assert ran.batch == (16 if spec.batch == "auto" else spec.batch)
    before, after = (
        registry.read_manifest("line", version, signed=False).manifest
        for version in (trained.result.version, result.version)
    )
    assert after.input_shape[2:] == spec.sides
    assert differences(before, after) == agents_refuse(before, spec.architecture, spec.sides), "told before"
