"""What the gate measured travels, signed, with the release."""

from __future__ import annotations

import pytest

from yolo_assets.contracts.evaluation import ClassResult
from yolo_assets.contracts.model import ExpectedChange
from yolo_assets.release.expected import expected_change
from yolo_assets_tests.release.figures import comparison


def reporting(**counts: int) -> dict[str, ClassResult]:
    return {
        name: ClassResult(truth=100, ap50=0.5, recall=0.5, precision=0.5, reported=count)
        for name, count in counts.items()
    }


def test_boxes_are_those_of_the_operating_point() -> None:
    found = expected_change(
        comparison(classes=reporting(crack=60, pore=40), champion={"classes": reporting(crack=15, pore=0)})
    )
    assert found == ExpectedChange(
        against="line/1", frames=400, old_boxes={"crack": 15, "pore": 0}, new_boxes={"crack": 60, "pore": 40}
    )


def test_without_a_champion_nothing_is_expected() -> None:
    alone = comparison().model_copy(update={"champion": None, "map50_gain": None})
    assert expected_change(alone) is None


@pytest.mark.parametrize("old", [0, 1, 1000])
def test_it_survives_being_written(old: int) -> None:
    found = expected_change(comparison(champion={"classes": reporting(crack=old)}))
    assert found is not None and ExpectedChange.from_json(found.to_json()) == found
