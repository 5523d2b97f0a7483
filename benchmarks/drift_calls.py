"""False alarms of drift and camera health on quiet cameras, and how soon what is wrong is said.

    python benchmarks/drift_calls.py [--cameras 200] [--seed 0]

Hours are simulated as figures and judged by the product's own functions, ``judge_drift`` and ``judge_health``. Quiet
cameras: 2 to 60 objects an hour, lots of 2 to 10 hours whose level varies by 40 % (the mix by 15 %, the confidence by
a tenth of an object's spread), three shifts of 30/30/4, lamps off or an empty belt at night; a week of reference, begun
on each day of the week, and 30 days after it, of which every first saying of a fault or a change is a false alarm.
Everything here is simulated. Delays are in hours from the change to the end of the hour that says it; ``never`` is
beyond the 20 days looked at.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from yolo_assets.monitoring.drift import ModelReports, judge_drift
from yolo_assets.monitoring.health import PictureFigures, judge_health
from yolo_assets.monitoring.seasons import slots_of

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

LEARNED = 168
MONTH = 720
SHARES = np.array([0.45, 0.3, 0.2, 0.05])
CONFIDENCE = np.array([0.8, 0.7, 0.75, 0.6])
SPREAD = 0.12
START = datetime(2026, 3, 2, tzinfo=UTC)


def levels(rng: np.random.Generator, cameras: int, hours: int, spread: float) -> Floats:
    """Levels of lots around 1, each for 2 to 10 hours."""
    found = np.ones((cameras, hours))
    if spread:
        for row in found:
            hour = 0
            while hour < hours:
                length = int(rng.integers(2, 11))
                row[hour : hour + length] = rng.gamma(1 / spread**2, spread**2)
                hour += length
    return found


def is_night(hours: int) -> Flags:
    """22:00 to 06:00."""
    hour = np.arange(hours) % 24
    return (hour >= 22) | (hour < 6)


def reports_of(
    rng: np.random.Generator, rate: Floats, hours: int, lots: bool, change: str = "", size: float = 0.0, at: int = 0
) -> ModelReports:
    """What models report of cameras with ``rate`` objects an hour by day, and a change from an hour on."""
    cameras = len(rate)
    shift = np.where(is_night(hours), 4 / 30, 1.0) if lots else np.ones(hours)
    count = rate[:, None] * shift * levels(rng, cameras, hours, 0.4 if lots else 0.0)
    shares = np.stack([share * levels(rng, cameras, hours, 0.15 if lots else 0.0) for share in SHARES], -1)
    wander = rng.normal(size=(cameras, hours // 6 + 1)).repeat(6, axis=1)[:, :hours] * 0.1 * SPREAD * lots
    confidence = CONFIDENCE + wander[..., None]
    if change == "class gone":
        count[:, at:] *= 1 - SHARES[1]
        shares[:, at:, 1] = 0
    elif change == "rate":
        count[:, at:] *= size
    elif change == "new look":
        confidence[:, at:] -= size * SPREAD
        count[:, at:] *= 0.8
    shares /= shares.sum(-1, keepdims=True)
    found = rng.poisson(count[..., None] * shares).astype(np.float64)
    total = found * confidence + rng.normal(size=found.shape) * SPREAD * np.sqrt(found)
    names = ("crack", "dent", "rust", "scratch")
    return ModelReports(found.sum(-1), np.ones(count.shape), found, total, found * (confidence**2 + SPREAD**2), names)


def pictures_of(rng: np.random.Generator, cameras: int, hours: int, night: str) -> PictureFigures:
    """Figures of pictures that are well; ``night`` is ``lit``, ``dark`` or ``empty``."""
    off, shape = is_night(hours), (cameras, hours)
    blur = rng.uniform(50, 400, cameras)[:, None] * np.exp(rng.normal(0, 0.04, shape))
    daylight = 3 * np.sin(2 * np.pi * np.arange(hours) / 24)
    brightness = rng.uniform(60, 180, cameras)[:, None] + rng.normal(0, 1.5, shape) + daylight
    objects = rng.poisson(30.0, shape).astype(np.float64)
    if night == "dark":
        brightness, blur = np.where(off, rng.normal(4, 0.5, shape), brightness), np.where(off, blur * 0.02, blur)
    if night == "empty":
        blur = np.where(off, blur * 0.4, blur)
    if night != "lit":
        objects = np.where(off, 0.0, objects)
    one = np.ones(shape)
    return PictureFigures(
        frames=3600 * one,
        silent_minutes=0 * one,
        blur=blur,
        brightness=brightness,
        objects=objects,
        longest_frozen=one,
        frozen_at_end=one,
        moved=np.abs(rng.normal(0, 0.001, shape)),
        dropped=np.abs(rng.normal(0, 0.003, shape)),
    )


def begun(standing: Mapping[str, Flags], since: int) -> int:
    """How often anything began to be said from an hour on."""
    return sum(int((np.diff(said.astype(np.int8), axis=1)[:, since - 1 :] > 0).sum()) for said in standing.values())


def delay(said: Flags, at: int) -> str:
    """10th, 50th and 90th percentile of the hours until it is said, over the cameras."""
    after = said[:, at:]
    hours = np.where(after.any(axis=1), after.argmax(axis=1) + 1.0, np.inf)
    marks = np.quantile(hours, [0.1, 0.5, 0.9], method="higher")
    return " / ".join("never" if np.isinf(mark) else f"{mark:.0f}" for mark in marks)


def quiet(rng: np.random.Generator, cameras: int) -> None:
    """The budget: false alarms of a camera in a month, drift and health together.

    References begin on every day of the week: of two days one may be a working day and the other not.
    """
    hours = LEARNED + MONTH
    found: Counter[str] = Counter()
    learning: dict[str, float] = {}
    began = time.monotonic()
    for day, some in enumerate(np.array_split(np.arange(cameras), 7)):
        start, count = START + timedelta(days=day), len(some)
        slots = slots_of([start + timedelta(hours=hour) for hour in range(hours)], None)
        age, always = np.tile(np.arange(hours), (count, 1)), np.ones((count, hours), np.bool_)
        rate = np.exp(rng.uniform(np.log(2), np.log(60), count))
        drift = judge_drift(reports_of(rng, rate, hours, lots=True), slots, age, always)
        for aspect, said in drift.standing.items():
            found[f"drift, {aspect}"] += begun({aspect: said}, LEARNED)
        # What is said on the way to the reference counts as well.
        early = begun({aspect: said[:, :LEARNED] for aspect, said in drift.standing.items()}, 1)
        found["drift, while learning"] += early
        learning[f"{start:%a}"] = early / max(count, 1)
        for night, rows in zip(("lit", "dark", "empty"), np.array_split(np.arange(count), 3), strict=True):
            pictures = pictures_of(rng, len(rows), hours, night)
            health = judge_health(pictures, slots, age[rows], always[rows], np.ones(hours, np.bool_))
            standing = {str(kind): said for kind, said in health.standing.items()}
            found[f"health, nights {night}"] += begun(standing, 1)
    total = found.total() / cameras * MONTH / hours
    print(f"\nquiet: {cameras} cameras, {hours // 24} days, {time.monotonic() - began:.0f} s")
    for name, number in found.items():
        print(f"  {name:24s} {number:4.0f} alarms")
    worst = max(learning, key=lambda name: learning[name])
    print(f"  while learning, a camera: {learning[worst]:.3f} where the reference begins on {worst}, the worst day")
    print(f"  false alarms a camera and month, together: {total:.3f} (budget 0.1)")


def delays(rng: np.random.Generator, cameras: int) -> None:
    """Delay against size, with lots that vary and without."""
    hours, at = LEARNED + 20 * 24 + 10, LEARNED + 10
    slots = slots_of([START + timedelta(hours=hour) for hour in range(hours)], None)
    age, always = np.tile(np.arange(hours), (cameras, 1)), np.ones((cameras, hours), np.bool_)
    kinds = [("class gone", 0.3), ("new look", 0.5), ("new look", 1.0), ("new look", 1.5), ("rate", 0.5), ("rate", 0.2)]
    print("\ndelay in hours, 10th / 50th / 90th percentile of cameras (new look: confidence lower by so many spreads,")
    print("a fifth fewer objects; rate: times)")
    print(f"  {'change':16s} {'an hour':>7s}   {'steady line':22s} {'lots vary by 40 %':22s}")
    for change, size in kinds:
        for objects in (6.0, 20.0, 60.0, 200.0):
            told: list[str] = []
            for lots in (False, True):
                reports = reports_of(rng, np.full(cameras, objects), hours, lots, change, size, at)
                told.append(delay(judge_drift(reports, slots, age, always).drifted, at))
            print(f"  {change:10s} {size:5.1f} {objects:7.0f}   {told[0]:22s} {told[1]:22s}")


def faults(rng: np.random.Generator, cameras: int) -> None:
    """Each fault: whether it is said, how soon, what else is said, and whether it still stands at the end."""
    hours, at = LEARNED + 20 * 24 + 9, LEARNED + 9
    slots = slots_of([START + timedelta(hours=hour) for hour in range(hours)], None)
    age, always = np.tile(np.arange(hours), (cameras, 1)), np.ones((cameras, hours), np.bool_)
    hour = np.arange(hours)
    since, ramp = hour >= at, np.clip((hour - at) / (14 * 24), 0, 1)
    lost = np.where(since, np.nan, 0.0)
    changes: dict[str, tuple[str, Callable[[PictureFigures], PictureFigures]]] = {
        "sudden dirt, 100 to 40": ("blurred", lambda p: replace(p, blur=np.where(since, 0.4 * p.blur, p.blur))),
        "dirt in 14 days, 100 to 15": ("blurred", lambda p: replace(p, blur=p.blur * (1 - 0.85 * ramp))),
        "lamp in 14 days, 100 to 25": ("darker", lambda p: replace(p, brightness=p.brightness * (1 - 0.75 * ramp))),
        "frozen for 6 minutes": (
            "frozen",
            lambda p: replace(p, longest_frozen=np.where(hour == at, 360.0, 1.0) + 0 * p.blur),
        ),
        "moved by 5 %": ("moved", lambda p: replace(p, moved=np.where(since, 0.05, p.moved))),
        "loses 20 % of its frames": ("dropping", lambda p: replace(p, dropped=np.where(since, 0.2, p.dropped))),
        "dead": (
            "silent",
            lambda p: replace(
                p,
                frames=np.where(since, 0.0, p.frames),
                silent_minutes=p.silent_minutes + lost,
                blur=p.blur + lost,
                brightness=p.brightness + lost,
                moved=p.moved + lost,
                dropped=p.dropped + lost,
            ),
        ),
    }
    print(
        "\nfaults: delay in hours as above; share of cameras on which it still stands after 20 days; anything else said"
    )
    for night in ("lit", "dark", "empty"):
        for name, (kind, change) in changes.items():
            pictures = change(pictures_of(rng, cameras, hours, night))
            health = judge_health(pictures, slots, age, always, np.ones(hours, np.bool_))
            said = {str(key): value for key, value in health.standing.items()}
            others = begun({key: value for key, value in said.items() if key != kind}, 1)
            last = said[kind][:, -1].mean()
            print(f"  nights {night:5s} {name:28s} {kind:9s} {delay(said[kind], at):20s} {last:5.0%}   {others} others")


def main() -> None:
    """All three parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=int, default=200, help="quiet cameras")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    quiet(rng, options.cameras)
    delays(rng, max(options.cameras // 5, 5))
    faults(rng, max(options.cameras // 10, 5))


if __name__ == "__main__":
    main()
