"""A camera is compared with itself; each fault is found, and a good camera has no findings."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.spool import Seal
from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.tables.health import camera_health
from yolo_assets.tables.schema import FramesTable, polars_schema

START = Hour.from_key("20260102_06")
END = START.next(4)
COUNT = 400
LAST_HOUR = pl.col("captured_at") >= START.next(3).start


def last_hour(column, value):
    """The column with another value in the last hour."""
    return pl.when(LAST_HOUR).then(value).otherwise(pl.col(column)).alias(column)


def stuck(first, last):
    """Figures that do not change from one frame to another."""
    rows = pl.int_range(pl.len()).is_between(first, last)
    return frames().with_columns(pl.when(rows).then(5.0).otherwise(pl.col(c)).alias(c) for c in ("blur", "brightness"))


def frames(camera="cam", seed=0):
    """Four hours of a live camera: figures with sensor noise, a frame every 36 s."""
    rng = np.random.default_rng(seed)
    rows = {
        "camera_id": [camera] * COUNT,
        "captured_at": [START.start + timedelta(seconds=36 * i) for i in range(COUNT)],
        "image_path": [f"{camera}/x/{i:04}.jpg" for i in range(COUNT)],
        "blur": rng.normal(200, 20, COUNT),
        "brightness": rng.normal(120, 5, COUNT),
    }
    schema = polars_schema(FramesTable)
    table = pl.DataFrame(rows).cast({"captured_at": schema["captured_at"]})
    return table.with_columns(pl.lit(None, dtype=schema[n]).alias(n) for n in schema.names() if n not in rows)


def evaluate(table, **options):
    return camera_health(table, start=START.start, end=END.start, **options)


def kinds(health):
    return {(f.camera_id, f.kind) for f in health.findings}


@pytest.mark.parametrize("seed", range(5))
def test_a_good_camera_has_no_findings(seed):
    health = evaluate(frames(seed=seed), expected=["cam"])
    assert health.findings == ()
    row = health.table.row(0, named=True)
    assert row["status"] == "ok" and row["frames"] == COUNT and row["longest_gap_s"] == 36
    assert row["blur"] == pytest.approx(200, abs=10)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (last_hour("blur", pl.col("blur") * 0.3), "blurred"),
        (last_hour("brightness", pl.col("brightness") - 70), "brightness"),
        (last_hour("brightness", pl.col("brightness") + 70), "brightness"),
    ],
)
def test_a_picture_that_changed_is_found_on_that_camera_alone(change, kind):
    health = evaluate(pl.concat([frames("good", 1), frames("bad", 2).with_columns(change)]))
    assert kinds(health) == {("bad", kind)}
    assert health.sick_cameras == {"bad"}
    assert dict(health.table.select("camera_id", "status").iter_rows()) == {"bad": "sick", "good": "ok"}


def test_a_frozen_picture_is_found():
    health = evaluate(stuck(100, 120))
    assert kinds(health) == {("cam", "frozen")}
    assert health.table["longest_frozen"].to_list() == [21]


def test_nine_equal_pictures_are_not_frozen_yet():
    assert evaluate(stuck(100, 108)).findings == ()


def test_silent_cameras_are_found_whether_they_stopped_or_never_began():
    stopped = frames("stopped").filter(pl.col("captured_at") < START.next(2).start)
    health = evaluate(pl.concat([frames("good", 1), stopped]), expected=["good", "never", "stopped"])
    assert kinds(health) == {("never", "silent"), ("stopped", "silent")}
    assert health.sick_cameras == frozenset()  # no picture, nothing to mistrust
    assert dict(health.table.select("camera_id", "status").iter_rows())["never"] == "silent"


def test_dropped_frames_come_from_the_seals():
    def seal(camera, dropped):
        return Seal(
            camera_id=camera, hour=START.key, device_id="d", frames=90, records=90, bytes=1, captured=100,
            processed=100 - dropped, dropped={"queue_full": dropped}, sealed_at=utc_now(),
        )  # fmt: skip

    table = pl.concat([frames("a", 1), frames("b", 2)])
    health = evaluate(table, seals=[seal("a", 5), seal("b", 5), seal("b", 6)])
    assert kinds(health) == {("b", "dropping")}
    assert health.table["dropped"].to_list() == [5, 11]


def test_without_figures_nothing_is_claimed():
    table = frames().with_columns(pl.lit(None, dtype=pl.Float64).alias(c) for c in ("blur", "brightness"))
    health = evaluate(table)
    assert health.findings == ()
    assert health.table.select("blur", "blur_before", "brightness").row(0) == (None, None, None)


def test_an_empty_window_is_refused():
    with pytest.raises(BadInputError, match="ends"):
        camera_health(frames(), start=END.start, end=START.start)
