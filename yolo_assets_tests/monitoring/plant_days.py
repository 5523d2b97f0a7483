"""Days of a plant as figures in a store: each camera has its own fate, from a given hour on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from yolo_assets.contracts.times import Hour
from yolo_assets.monitoring.figures import PICTURES, REPORTS, CameraBeginnings, HourFigures, keep_figures
from yolo_assets.storage.base import ObjectStore

MONDAY = Hour.of(datetime(2026, 3, 2, tzinfo=UTC))
VERSION = "line/1"
Fate = Callable[[int, dict[str, Any], dict[str, float]], bool | None]
"""Changes the picture and the objects of each class in an hour; ``False``: there is no frame."""
CLASSES = {"crack": 30.0, "dent": 18.0, "rust": 12.0}


def hour_of(number: int, fates: Mapping[str, Fate], version: str = VERSION) -> HourFigures:
    """The figures of one hour of all cameras; those of an hour are the same however often it is asked for."""
    pictures, reports = [], []
    hour = MONDAY.next(number)
    for place, (camera, fate) in enumerate(fates.items()):
        rng = np.random.default_rng([number, place])
        picture: dict[str, Any] = {
            "frames": 3600,
            "last_at": hour.start.replace(minute=59, second=59),
            "longest_gap_s": 1.0,
            "silent_minutes": 0.0,
            "blur": float(200 * np.exp(rng.normal(0, 0.04))),
            "brightness": float(120 + rng.normal(0, 1.5)),
            "longest_frozen": 1,
            "frozen_at_end": 1,
            "moved": float(abs(rng.normal(0, 0.001))),
            "captured": 3600,
            "dropped": 0,
            "confidence": 0.8,
        }
        rates = dict(CLASSES)
        if fate(number, picture, rates) is False:
            continue
        mean = picture.pop("confidence")
        classes = []
        for name, rate in rates.items():
            count = int(rng.poisson(rate))
            total = float(count * mean + rng.normal() * 0.1 * count**0.5)
            squares = count * (mean**2 + 0.01)
            if count:
                classes.append({"class": name, "objects": count, "confidence": total, "squares": squares})
        found = sum(row["objects"] for row in classes)
        pictures.append({"camera_id": camera, "hour": hour.start, "objects": found, **picture})
        reports.append(
            {
                "camera_id": camera,
                "hour": hour.start,
                "model_version": version,
                "frames": 3600,
                "exposure": 1.0,
                "classes": classes,
            }
        )
    return HourFigures(
        pl.DataFrame(pictures, schema=PICTURES, orient="row"), pl.DataFrame(reports, schema=REPORTS, orient="row")
    )


def keep_hours(store: ObjectStore, numbers: range | list[int], fates: Mapping[str, Fate]) -> CameraBeginnings:
    """Write the figures of some hours, in the order given."""
    beginnings = CameraBeginnings()
    for number in numbers:
        beginnings = keep_figures(store, MONDAY.next(number), hour_of(number, fates))
    return beginnings
