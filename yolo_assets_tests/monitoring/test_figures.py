"""The figures of an hour: objects counted once, frames that were lost, frozen pictures, exposure."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from yolo_assets.contracts.spool import Seal
from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.monitoring.figures import CameraBeginnings, HourFigures, hour_figures
from yolo_assets.tables.schema import DetectionsTable, FramesTable, polars_schema

HOUR = Hour.from_key("20260302_06")
CAMERA = "cam1"


def frames(count: int = 1200, seconds: float = 1.0, **columns: object) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    schema = polars_schema(FramesTable)
    rows = {
        "camera_id": [CAMERA] * count,
        "hour": [HOUR.start] * count,
        "image_path": [f"{CAMERA}/{HOUR.key}/{number:05}.jpg" for number in range(count)],
        "captured_at": [HOUR.start + timedelta(seconds=seconds * number) for number in range(count)],
        "sequence": list(range(count)),
        "model_version": ["line/1"] * count,
        "blur": rng.normal(200, 5, count),
        "brightness": rng.normal(120, 1, count),
        **columns,
    }
    table = pl.DataFrame(rows, schema_overrides={name: schema[name] for name in rows})
    return table.with_columns(
        pl.lit(None, dtype=schema[name]).alias(name) for name in schema.names() if name not in rows
    )


def detections(with_ids: bool) -> pl.DataFrame:
    """A part every ten seconds, seen in five frames while it goes through the picture; the third is a dent."""
    rows = []
    for part in range(30):
        for step in range(5):
            second = 10 * part + step
            left = 100.0 * step
            rows.append(
                {
                    "camera_id": CAMERA,
                    "hour": HOUR.start,
                    "image_path": f"{CAMERA}/{HOUR.key}/{second:05}.jpg",
                    "captured_at": HOUR.start + timedelta(seconds=second),
                    "index": 0,
                    "class": "dent" if part == 2 else "crack",
                    "confidence": 0.6 + 0.1 * (step % 2),
                    **{"x1": left, "y1": 200.0, "x2": left + 80, "y2": 280.0},
                    "model_version": "line/1",
                    "object_id": f"{CAMERA}/{(HOUR.next(-1) if part == 0 else HOUR).key}/{part}" if with_ids else None,
                }
            )
    schema = polars_schema(DetectionsTable)
    table = pl.DataFrame(rows, schema_overrides={name: schema[name] for name in rows[0] if name in schema})
    return table.with_columns(
        pl.lit(None, dtype=schema[name]).alias(name) for name in schema.names() if name not in rows[0]
    )


@pytest.mark.parametrize(("with_ids", "cracks"), [(True, 28), (False, 29)])
def test_a_part_is_counted_once_and_in_its_first_hour(with_ids: bool, cracks: int) -> None:
    figures = hour_figures(HOUR, frames(), detections(with_ids))
    (row,) = figures.reports.to_dicts()
    found = {item["class"]: item for item in row["classes"]}
    assert {name: item["objects"] for name, item in found.items()} == {"crack": cracks, "dent": 1}
    assert found["dent"]["confidence"] == pytest.approx(0.64) and found["dent"]["squares"] == pytest.approx(0.64**2)
    assert row["exposure"] == pytest.approx(20 / 60), "twenty minutes of the hour were looked at"
    assert figures.pictures["objects"].to_list() == [cracks + 1]


def test_lost_frames_are_those_of_the_seal_else_of_the_numbers() -> None:
    seal = Seal(
        **{"camera_id": CAMERA, "hour": HOUR.key, "device_id": "d", "frames": 90, "records": 90, "bytes": 1},
        **{"captured": 200, "processed": 90, "dropped": {"queue_full": 10, "stale": 100}, "sealed_at": utc_now()},
    )  # fmt: skip
    none = detections(True).clear()
    sealed = hour_figures(HOUR, frames(), none, seals=[seal]).pictures
    assert sealed.select("captured", "dropped").row(0) == (100, 10), "the newest frame was preferred by design"
    numbers = [3 * number for number in range(1200)]
    gaps = hour_figures(HOUR, frames(sequence=numbers), none).pictures
    assert gaps.select("captured", "dropped").row(0) == (3598, 2398)


def test_a_frozen_picture_and_the_end_of_the_hour() -> None:
    stuck = [5.0 if 100 <= number < 160 or number >= 1190 else 6.0 + number for number in range(1200)]
    picture = hour_figures(HOUR, frames(blur=stuck, brightness=stuck), detections(True)).pictures.row(0, named=True)
    assert (picture["longest_frozen"], picture["frozen_at_end"]) == (60, 10)
    assert picture["silent_minutes"] == pytest.approx(40, abs=0.1) and picture["longest_gap_s"] == 1.0


def test_beginnings_do_not_depend_on_the_order_of_hours() -> None:
    hours: list[HourFigures] = []
    for step in (0, 5, 2):
        shift = timedelta(hours=step)
        moved = frames().with_columns(pl.col("captured_at") + shift, pl.col("hour") + shift)
        hours.append(hour_figures(HOUR.next(step), moved, detections(True).clear()))
    forward, back = CameraBeginnings(), CameraBeginnings()
    for figures in hours:
        forward = forward.with_hour(figures)
    for figures in reversed(hours):
        back = back.with_hour(figures)
    assert forward == back
    assert (forward.first, forward.last) == ({CAMERA: HOUR.start}, {CAMERA: HOUR.next(5).start})
    assert forward.versions == {CAMERA: {"line/1": HOUR.start}}
