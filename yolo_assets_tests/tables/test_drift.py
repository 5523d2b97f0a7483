"""Drift is called when output moved, not for chance, and never against a camera that is known to be sick."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_assets.tables.drift import (
    SCHEMA,
    Period,
    class_mix_p_value,
    drift_report,
    jensen_shannon,
    ks_distance,
    ks_threshold,
    rate_z,
)


def window(seed=0, frames=400, rate=2.0, mix=(0.7, 0.2, 0.1), confidence=(8, 2), camera="cam", model="line/v1"):
    """Tables of independent frames: Poisson counts, classes by ``mix``, confidences from a beta distribution."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rate, frames)
    total = int(counts.sum())
    return Period(
        pl.DataFrame({"camera_id": [camera] * frames, "model_version": [model] * frames, "n_detections": counts}),
        pl.DataFrame(
            {
                "camera_id": [camera] * total,
                "model_version": [model] * total,
                "class": rng.choice(["crack", "dent", "rust"], total, p=mix),
                "confidence": rng.beta(confidence[0], confidence[1], total),
            },
            schema_overrides=dict.fromkeys(["camera_id", "model_version", "class"], pl.String),
        ),
    )


def both(*windows):
    return Period(pl.concat([w.frames for w in windows]), pl.concat([w.detections for w in windows]))


def verdicts(report):
    return {(r["camera_id"], r["model_version"]): r["verdict"] for r in report.iter_rows(named=True)}


@pytest.mark.parametrize("seed", range(0, 40, 2))
def test_chance_is_not_drift(seed):
    report = drift_report(window(seed), window(seed + 1, frames=120))
    assert report["verdict"].to_list() == ["stable"], report["reason"][0]
    assert report.schema == SCHEMA


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"rate": 0.5}, "detections per frame became"),
        ({"rate": 6.0}, "detections per frame became"),
        ({"rate": 0.0}, "became 0.00"),
        ({"mix": (0.2, 0.7, 0.1)}, "mix of classes"),
        ({"confidence": (4, 4)}, "median confidence"),
    ],
)
def test_each_kind_of_drift_is_found_on_that_camera_alone(changed, words):
    reference = both(window(1), window(2, camera="other"))
    report = drift_report(reference, both(window(3, **changed), window(4, camera="other")))
    assert verdicts(report) == {("cam", "line/v1"): "drifted", ("other", "line/v1"): "stable"}
    assert words in report.filter(pl.col("camera_id") == "cam")["reason"][0]


def test_a_sick_camera_asks_for_maintenance():
    report = drift_report(window(1), window(2, rate=0.3), sick=["cam"])
    assert report["verdict"].to_list() == ["sick camera"]
    assert drift_report(window(1), window(2), sick=["cam"])["verdict"].to_list() == ["stable"]


def test_a_new_model_is_not_compared_with_the_old_one():
    report = drift_report(window(1), both(window(2), window(3, rate=9, model="line/v2")))
    assert verdicts(report) == {("cam", "line/v1"): "stable", ("cam", "line/v2"): "unknown"}


@pytest.mark.parametrize("frames", [0, 1, 49])
def test_too_little_data_is_reported_as_unknown(frames):
    report = drift_report(window(1, frames=frames), window(2))
    assert report["verdict"].to_list() == ["unknown"]
    assert f"{frames} frames on one side, 50 needed" in report["reason"][0]
    assert report["rate_now"].to_list() == [None]


def test_no_detections_on_both_sides_is_stable():
    report = drift_report(window(1, rate=0), window(2, rate=0))
    assert report["verdict"].to_list() == ["stable"]
    assert report["class_distance"].to_list() == [None]


def test_an_empty_window_gives_an_empty_report():
    report = drift_report(window(1), window(2, frames=0))
    assert report.is_empty() and report.schema == SCHEMA


def test_the_same_tables_give_the_same_report():
    first, second = (drift_report(window(1), window(2, mix=(0.5, 0.4, 0.1))) for _ in range(2))
    assert first.equals(second)


counts = st.lists(st.integers(0, 1000), min_size=3, max_size=3).filter(sum).map(np.array)
values = st.lists(st.floats(0, 1), min_size=1, max_size=40).map(np.array)


def entropy_formula(first, second):
    """The Jensen-Shannon divergence in bits, written out."""
    p, q = first / first.sum(), second / second.sum()
    middle = (p + q) / 2
    parts = [part[part > 0] * np.log2(part[part > 0] / middle[part > 0]) for part in (p, q)]
    return 0.5 * sum(float(terms.sum()) for terms in parts)


@given(counts, counts)
def test_jensen_shannon_follows_its_formula(first, second):
    assert jensen_shannon(first, second) ** 2 == pytest.approx(entropy_formula(first, second), abs=1e-12)


@given(counts, counts)
@settings(max_examples=20, deadline=None)
def test_class_mix_p_value_counts_splits_at_least_as_far(first, second):
    def distance(a, b):
        return min(max(entropy_formula(a, b), 0.0), 1.0) ** 0.5

    pooled = first + second
    splits = np.random.default_rng(0).multivariate_hypergeometric(pooled, int(first.sum()), size=100)
    observed, slack = distance(first, second), 1e-9
    # Splits exactly as far as the observed one differ from it by rounding alone, which may go either way.
    far = [distance(split, pooled - split) - observed for split in splits]
    fewest, most = sum(d >= slack for d in far), sum(d >= -slack for d in far)
    same = sum((split == first).all() for split in splits)
    assert (max(fewest, same) + 1) / 101 - 1e-9 <= class_mix_p_value(first, second, 0.01) <= (most + 1) / 101 + 1e-9


@given(counts, counts)
def test_jensen_shannon_is_a_distance(first, second):
    distance = jensen_shannon(first, second)
    assert 0 <= distance <= 1
    assert distance == pytest.approx(jensen_shannon(second, first), abs=1e-7)
    assert jensen_shannon(first, first * 3) == pytest.approx(0, abs=1e-7)


def test_jensen_shannon_of_disjoint_histograms_is_one():
    assert jensen_shannon(np.array([5, 0]), np.array([0, 9])) == 1


@given(values, values)
def test_ks_distance_is_the_largest_gap_of_the_distributions(first, second):
    expected = max(abs((first <= v).mean() - (second <= v).mean()) for v in [*first, *second])
    assert ks_distance(first, second) == pytest.approx(expected)


def test_ks_threshold_is_exceeded_by_chance_as_rarely_as_it_says():
    rng = np.random.default_rng(1)
    limit = ks_threshold(80, 120, 0.05)
    exceeded = np.mean([ks_distance(rng.random(80), rng.random(120)) > limit for _ in range(1000)])
    assert 0.01 < exceeded < 0.07


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_class_mix_p_value_of_one_population_is_rarely_small(seed):
    rng = np.random.default_rng(seed)
    draws = [(rng.multinomial(100, [0.6, 0.4]), rng.multinomial(60, [0.6, 0.4])) for _ in range(10)]
    small = sum(class_mix_p_value(a, b, 0.01) < 0.01 for a, b in draws)
    assert small <= 3


@given(st.lists(st.integers(0, 9), min_size=2, max_size=40), st.lists(st.integers(0, 9), min_size=2, max_size=40))
def test_rate_z_is_the_difference_in_standard_errors(first, second):
    first, second = np.array(first, float), np.array(second, float)
    error = np.sqrt(first.var(ddof=1) / len(first) + second.var(ddof=1) / len(second))
    difference = abs(first.mean() - second.mean())
    expected = 0.0 if difference == 0 else difference / error if error > 0 else float("inf")
    assert rate_z(first, second) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_rate_z_of_constant_sides():
    assert rate_z(np.ones(5), np.ones(5)) == 0
    assert rate_z(np.ones(5), np.zeros(5)) == float("inf")
