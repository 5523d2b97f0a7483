import polars as pl

from yolo_assets.learning.candidates import drift_scores

COLUMNS = ("camera_id", "verdict", "rate_before", "rate_now", "class_distance", "confidence_distance")


def report(*rows: tuple) -> pl.DataFrame:
    return pl.DataFrame([dict(zip(COLUMNS, row, strict=True)) for row in rows])


def test_only_drifted_cameras_have_a_score_and_it_is_their_largest_move() -> None:
    found = drift_scores(
        report(
            ("cam1", "drifted", 1.0, 0.25, 0.1, None),
            ("cam2", "drifted", 1.0, 1.0, 0.2, 0.6),
            ("cam2", "drifted", 1.0, 0.9, 0.3, 0.1),
            ("cam3", "stable", 1.0, 0.1, 0.9, 0.9),
            ("cam4", "sick camera", 1.0, 0.0, None, None),
        )
    )
    assert found == {"cam1": 0.75, "cam2": 0.6}


def test_a_camera_that_fell_silent_or_returned_has_the_largest_drift() -> None:
    assert drift_scores(report(("cam1", "drifted", 0.0, 2.0, None, None))) == {"cam1": 1.0}
