"""What is usual at which time: the shifts of ``plant.yaml``, else what the reference shows. Pure.

The hours of a week are put into *slots*: the shifts, or each hour of a working day and of a weekend day. Slots in which
a camera looked and counted alike in its reference are one *season*, so that each has enough hours to compare with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.shifts import ShiftPlan

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]

_STEPS_COUNT = 24.0
"""As so many hours the steps between neighbours count, beside the hours that share a slot."""
_DIFFERENT = 4.0
"""Standard errors between slots that are seasons of their own."""


@dataclass(frozen=True)
class Slots:
    """Hours by their time of the week.

    Attributes:
        of_hour: ``[t]``, number of each hour's slot.
        names: of the slots, for people.
        planned: they are shifts of ``plant.yaml``: nothing is to be learned about them.
    """

    of_hour: Numbers
    names: tuple[str, ...]
    planned: bool


def slots_of(hours: Sequence[datetime], plan: ShiftPlan | None) -> Slots:
    """The slots of hours.

    Args:
        hours: their starts, aware.
        plan: of ``plant.yaml``.
    """
    if plan is not None and plan.times:
        numbers = [plan.shift_at(hour) for hour in hours]
        names = (*(f"the shift {shift.name}" for shift in plan.times), "the time outside of all shifts")
        return Slots(np.array([len(plan.times) if n is None else n for n in numbers], np.int64), names, True)
    zone = ZoneInfo(plan.timezone if plan is not None else "UTC")
    local = [(hour + timedelta(minutes=30)).astimezone(zone) for hour in hours]
    number = np.array([hour.hour + 24 * (hour.weekday() >= 5) for hour in local], np.int64)
    names = tuple(f"{hour:02}:00 on {day}" for day in ("working days", "weekends") for hour in range(24))
    return Slots(number, names, False)


def learn_seasons(signals: Sequence[tuple[Floats, float]], slots: Slots) -> Numbers:
    """The season of each slot, by camera.

    Args:
        signals: what may differ by season: values ``[n, t]`` of the reference, NaN elsewhere, and the difference that
            never matters.
        slots: of the hours.

    Returns:
        ``[n, slots]``: number of the season; -1 for a slot of which the reference has no hour.
    """
    rows = signals[0][0].shape[0]
    count = len(slots.names)
    member = np.zeros((len(slots.of_hour), count))
    member[np.arange(len(slots.of_hour)), slots.of_hour] = 1.0
    there = np.any([np.isfinite(values) for values, _ in signals], axis=0)
    covered = (there.astype(float) @ member) > 0
    if slots.planned:
        return np.where(covered, np.arange(count), -1)
    number, mean, error = [], [], []
    for values, least in signals:
        has = np.isfinite(values)
        filled = np.where(has, values, 0.0)
        hours = has.astype(float) @ member
        centre = filled @ member / np.maximum(hours, 1)
        squares = (filled**2) @ member - hours * centre**2
        freedom = hours.sum(1) - (hours > 0).sum(1)
        spread = (np.maximum(squares, 0).sum(1) + _STEPS_COUNT * _step_variance(values)) / (freedom + _STEPS_COUNT)
        deviation = np.sqrt(spread)
        number.append(hours)
        mean.append(centre)
        error.append(np.maximum(deviation, least))
    found = np.full((rows, count), -1, np.int64)
    for row in range(rows):
        hours = np.array([of_signal[row] for of_signal in number])
        centre = np.array([of_signal[row] for of_signal in mean])
        deviation = np.array([of_signal[row] for of_signal in error])
        if _weekends_differ(hours, centre, deviation):
            found[row] = _merged(hours, centre, deviation, covered[row])
            continue
        halves, middles = hours.reshape(-1, 2, 24), centre.reshape(-1, 2, 24)
        together = halves.sum(axis=1)
        day = _merged(
            together,
            (halves * middles).sum(axis=1) / np.maximum(together, 1),
            deviation,
            covered[row].reshape(2, 24).any(axis=0),
        )
        # A weekend that is not known to be different is judged only when it was seen.
        found[row] = np.where(covered[row], np.tile(day, 2), -1)
    return found


def _step_variance(values: Floats) -> Floats:
    """Variance ``[n]`` of an hour around its time of the day, from the steps between neighbouring hours.

    It is known when no slot was seen twice, as in a reference of a working day and a weekend day.
    """
    steps = np.diff(values, axis=1) ** 2
    has = np.isfinite(steps)
    return np.where(has, steps, 0.0).sum(axis=1) / np.maximum(has.sum(axis=1), 1) / 2


def _weekends_differ(hours: Floats, mean: Floats, deviation: Floats) -> bool:
    """Whether weekend days are other days: as a whole, or at some time of the day.

    Args:
        hours: ``[signals, 48]``, of the working day and of the weekend day.
        mean: ``[signals, 48]``.
        deviation: ``[signals]``, of an hour in its slot.
    """
    halves, middles = hours.reshape(-1, 2, 24), mean.reshape(-1, 2, 24)
    both = (halves > 0).all(axis=1)
    weight = (1 / np.maximum(halves, 1)).sum(axis=1)
    gap = np.where(both, (middles[:, 0] - middles[:, 1]) / deviation[:, None], 0.0)
    of_hour = np.abs(gap) / np.sqrt(weight)
    seen = np.maximum(both.sum(axis=1), 1)
    # The hours of a day are alike: all of them are worth a few days.
    error = np.sqrt((weight * both).sum(axis=1) / seen / (1 + 0.2 * (seen - 1)))
    whole = np.abs(gap.sum(axis=1) / seen) / np.maximum(error, 1e-9)
    return bool((of_hour.max(axis=1) > _DIFFERENT + 1).any() or (whole > _DIFFERENT).any())


def _merged(hours: Floats, mean: Floats, deviation: Floats, covered: NDArray[np.bool_]) -> Numbers:
    """Merge the slots that are most alike until all that are left differ.

    Args:
        hours: ``[signals, slots]``.
        mean: ``[signals, slots]``.
        deviation: ``[signals]``, of an hour in its slot.
        covered: ``[slots]``.
    """
    of_slot = np.where(covered, np.arange(covered.size), -1)
    groups = [int(slot) for slot in np.flatnonzero(covered)]
    hours, mean, days = hours.copy(), mean.copy(), hours.copy()

    def apart(first: NDArray[np.int64], second: NDArray[np.int64]) -> Floats:
        has = (hours[:, first] > 0) & (hours[:, second] > 0)
        # Neighbouring hours of a day are alike: three more of them are worth one more day.
        weight = 1 / np.maximum(days[:, first], 1) + 1 / np.maximum(days[:, second], 1)
        far = np.abs(mean[:, first] - mean[:, second]) / (deviation[:, None] * np.sqrt(weight))
        return np.where(has, far, 0.0).max(axis=0)

    beside = True
    while len(groups) > 1:
        order = np.array(groups)
        if beside:
            first, second = order, np.roll(order, -1)
        else:
            left, right = np.triu_indices(len(order), 1)
            first, second = order[left], order[right]
        far = apart(first, second)
        nearest = int(np.argmin(far))
        if far[nearest] > _DIFFERENT:
            if not beside:
                break
            beside = False  # then those that are alike at different times of the day
            continue
        keep, gone = int(first[nearest]), int(second[nearest])
        if keep == gone:
            break
        total = hours[:, keep] + hours[:, gone]
        mean[:, keep] = (hours[:, keep] * mean[:, keep] + hours[:, gone] * mean[:, gone]) / np.maximum(total, 1)
        more, fewer = np.maximum(days[:, keep], days[:, gone]), np.minimum(days[:, keep], days[:, gone])
        days[:, keep] = more + 0.3 * fewer
        hours[:, keep] = total
        of_slot[of_slot == gone] = keep
        groups.remove(gone)
    return of_slot


def season_of_hours(seasons: Numbers, slots: Slots) -> Numbers:
    """``[n, t]``: the season of each hour; -1 where the reference has none."""
    return seasons[:, slots.of_hour]


def season_sums(values: Floats, season: Numbers, count: int) -> tuple[Floats, Numbers]:
    """Sums and numbers of hours by season.

    Args:
        values: ``[n, t]``; NaN does not count.
        season: ``[n, t]``; -1 does not count.
        count: of seasons.

    Returns:
        Both ``[n, count]``.
    """
    rows = values.shape[0]
    has = np.isfinite(values) & (season >= 0)
    place = np.where(has, season, 0) + count * np.arange(rows)[:, None]
    sums = np.bincount(place[has], values[has], rows * count).reshape(rows, count).astype(np.float64)
    number = np.bincount(place[has], minlength=rows * count).reshape(rows, count)
    return sums, number.astype(np.int64)
