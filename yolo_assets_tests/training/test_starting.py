"""When a training starts: by what was labelled, by drift, by the clock; several files are one training."""

from datetime import UTC, datetime, time, timedelta

import pytest

from yolo_assets.contracts.training_start import TrainingStart
from yolo_assets.training.starting import NewLabels, decide_start

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def new(images: int, *, first: timedelta = HOUR, last: timedelta = HOUR, drifted: bool = False) -> NewLabels:
    return NewLabels(images, NOON - first, NOON - last, drifted)


@pytest.mark.parametrize(
    ("policy", "labels", "due", "told"),
    [
        ({}, new(50), True, "50 images labelled since the last training"),
        ({}, new(49), False, "a training starts at 50, or at 2026-03-03T11:00"),
        ({}, new(1, first=24 * HOUR), True, "the first waited 24 hours"),
        ({}, new(0, first=99 * HOUR), False, "nothing was labelled"),
        ({}, new(60, first=9 * MINUTE, last=9 * MINUTE), False, "waits until 2026-03-02T12:01"),
        ({}, new(60, first=61 * MINUTE, last=MINUTE), True, "60 images"),
        ({}, new(10, drifted=True), True, "while drift stands"),
        ({}, new(9, drifted=True), False, "starts at 10"),
        ({"after_drift": None}, new(10, drifted=True), False, "starts at 50"),
        ({"daily_at": time(11, 30)}, new(1), True, "it is 11:30 UTC"),
        ({"daily_at": time(10, 30)}, new(1), False, "or at 2026-03-03T10:30"),
        ({"longest_wait_hours": None}, new(1, first=999 * HOUR), False, "a training starts at 50"),
        ({"automatic": False}, new(999), False, "by hand"),
    ],
)
def test_what_starts_a_training(policy: dict[str, object], labels: NewLabels, due: bool, told: str) -> None:
    decision = decide_start(TrainingStart.model_validate(policy), labels, NOON)
    assert decision.due is due and told in decision.why


def test_it_is_known_when_the_answer_may_change() -> None:
    decision = decide_start(TrainingStart(), new(60, first=4 * MINUTE, last=4 * MINUTE), NOON)
    assert decision.look_at == NOON + 6 * MINUTE
    assert decide_start(TrainingStart(), new(60, first=4 * MINUTE, last=4 * MINUTE), NOON + 6 * MINUTE).due
