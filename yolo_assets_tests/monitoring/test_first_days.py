"""A reference may begin on any day of the week: of its first two days one may be a working day and the other not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from yolo_assets.monitoring.drift import ModelReports, judge_drift
from yolo_assets.monitoring.seasons import learn_seasons, slots_of

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
HOURS = 14 * 24
SHARES = np.array([0.6, 0.4])


def quiet_line(rng: np.random.Generator, cameras: int) -> ModelReports:
    """Objects of a line on which nothing changes: lots of six hours that differ by 40 %, few objects by night."""
    hour = np.arange(HOURS) % 24
    shift = np.where((hour >= 22) | (hour < 6), 4 / 30, 1.0)
    level = rng.gamma(6.25, 0.16, (cameras, HOURS // 6)).repeat(6, axis=1)
    rate = np.exp(rng.uniform(np.log(2), np.log(60), (cameras, 1)))
    found = rng.poisson((rate * shift * level)[..., None] * SHARES).astype(np.float64)
    objects = found.sum(axis=-1)
    return ModelReports(objects, np.ones(objects.shape), found, 0.7 * found, 0.5 * found, ("crack", "dent"))


@pytest.mark.parametrize("day", range(7))
def test_a_quiet_line_is_not_called_changed_in_its_first_fortnight(day: int) -> None:
    cameras = 60
    start = MONDAY + timedelta(days=day)
    slots = slots_of([start + timedelta(hours=hour) for hour in range(HOURS)], None)
    age, always = np.tile(np.arange(HOURS), (cameras, 1)), np.ones((cameras, HOURS), np.bool_)
    said = judge_drift(quiet_line(np.random.default_rng(day), cameras), slots, age, always).drifted
    assert (np.diff(said.astype(np.int8), axis=1) > 0).sum() <= 0.15 * cameras


@pytest.mark.parametrize("day", [4, 6], ids=["Friday", "Sunday"])
def test_day_and_night_are_told_apart_from_two_days(day: int) -> None:
    """Each time of the week was seen once, and the night is dark all the same."""
    rng, start = np.random.default_rng(3), MONDAY + timedelta(days=day)
    hour = np.arange(48) % 24
    night = (hour >= 22) | (hour < 6)
    brightness = np.where(night, 4.0, 120.0) + rng.normal(0, 1.5, (20, 48))
    slots = slots_of([start + timedelta(hours=number) for number in range(48)], None)
    seasons = learn_seasons([(brightness, 2.0)], slots)[:, slots.of_hour]
    for row in seasons:
        assert not set(row[night].tolist()) & set(row[~night].tolist())
