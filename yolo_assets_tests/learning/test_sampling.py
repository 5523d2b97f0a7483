"""Sampling under a budget: never more, never twice, and every reason true."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.learning.sampling import (
    APART_SECONDS,
    REASONS,
    CandidateFrame,
    Look,
    rare_classes,
    sample,
    uncertainty,
)

START = datetime(2026, 3, 1, tzinfo=UTC)

candidates = st.builds(
    lambda camera, second, found, drift: CandidateFrame(
        f"{camera}/{second}.jpg", camera, START + timedelta(seconds=second), tuple(found), drift
    ),
    st.sampled_from(["cam1", "cam2", "cam3"]),
    st.integers(0, 4000),
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1)), max_size=3),
    st.sampled_from([0.0, 0.0, 0.5, 0.9]),
)
pools = st.lists(candidates, max_size=60, unique_by=lambda c: c.image_path)
share_sets = st.dictionaries(st.sampled_from(REASONS), st.floats(0, 5), min_size=1).filter(
    lambda shares: sum(shares.values()) > 0.01
)


@settings(max_examples=150, deadline=None)
@given(pools, st.integers(0, 40), st.integers(0, 5), share_sets, st.data())
def test_budget_kept_no_doubles_reasons_true(pool, budget, seed, shares, data):
    labelled = set(data.draw(st.lists(st.sampled_from([c.image_path for c in pool]), max_size=5))) if pool else set()
    chosen = sample(pool, budget, seed=seed, shares=shares, labelled=labelled)
    by_path = {c.image_path: c for c in pool}
    paths = [s.image_path for s in chosen]
    assert len(paths) == len(set(paths)) == min(budget, len(by_path) - len(labelled))
    assert not labelled & set(paths)
    rare = rare_classes([c for c in pool if c.image_path not in labelled])
    for one in chosen:
        frame = by_path[one.image_path]
        if one.reason == "uncertain":
            assert uncertainty(frame) > 0
        elif one.reason == "drifting":
            assert frame.drift > 0
        elif one.reason == "rare":
            assert {name for name, _ in frame.detections} & set(rare)
        elif one.reason == "diverse":
            others = [by_path[s.image_path] for s in chosen if s.image_path != one.image_path and s.reason != "random"]
            gaps = [abs(frame.captured_at - o.captured_at) for o in others if o.camera_id == frame.camera_id]
            assert all(gap >= timedelta(seconds=APART_SECONDS) for gap in gaps)


@settings(max_examples=50, deadline=None)
@given(pools, st.integers(0, 30), st.randoms())
def test_order_of_candidates_does_not_matter(pool, budget, random):
    shuffled = list(pool)
    random.shuffle(shuffled)
    assert sample(pool, budget, seed=1) == sample(shuffled, budget, seed=1)


def test_every_reason_gets_its_share_when_there_is_enough():
    pool = [
        CandidateFrame(
            f"cam{i % 4}/{i}.jpg",
            f"cam{i % 4}",
            START + timedelta(seconds=70 * i),
            (("rare" if i % 40 == 0 else "common", 0.4 if i % 5 == 0 else 0.95),),
            0.8 if i % 4 == 1 else 0.0,
        )
        for i in range(800)
    ]
    shares = dict.fromkeys(REASONS, 1.0)
    vectors = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    strange = [c.image_path for c in pool if c.camera_id == "cam3"]
    looks = {path: Look(vector, 2.0) for path, vector in zip(strange, vectors, strict=True)}
    chosen = sample(pool, 60, shares=shares, looks=looks)
    counts = {reason: sum(s.reason == reason for s in chosen) for reason in REASONS}
    assert counts == dict.fromkeys(REASONS, 10)


def test_another_seed_draws_other_random_frames():
    pool = [CandidateFrame(f"c/{i}.jpg", "c", START + timedelta(seconds=70 * i)) for i in range(200)]
    drawn = [{s.image_path for s in sample(pool, 20, seed=seed, shares={"random": 1})} for seed in (1, 2)]
    assert drawn[0] != drawn[1]


def test_uncertain_frames_are_the_most_uncertain():
    pool = [CandidateFrame(f"c/{i:02d}.jpg", "c", START + timedelta(minutes=i), (("a", i / 20),)) for i in range(20)]
    chosen = {s.image_path for s in sample(pool, 2, shares={"uncertain": 1})}
    assert chosen == {"c/08.jpg", "c/09.jpg"}  # 0.4 and 0.45: nearest to the middle of 0.15 to 0.7


def test_neighbours_in_time_are_not_both_chosen_while_others_are_left():
    pool = [
        CandidateFrame(f"c/{i:03d}.jpg", "c", START + timedelta(seconds=i * 0.5), (("a", 0.4),)) for i in range(100)
    ]
    chosen = sorted(int(s.image_path[2:5]) for s in sample(pool, 10))
    assert min(b - a for a, b in pairwise(chosen)) >= 4


@pytest.mark.parametrize(
    ("budget", "shares"), [(-1, {"random": 1}), (5, {"luck": 1}), (5, {"random": 0}), (5, {"random": -1})]
)
def test_bad_arguments_are_refused_with_advice(budget, shares):
    with pytest.raises(BadInputError, match="give"):
        sample([], budget, shares=shares)


def test_of_one_object_one_frame_is_asked_for():
    def frame(second: int) -> CandidateFrame:
        part = f"c/20260301_00/{second // 5}"  # in front of the camera for five frames
        return CandidateFrame(
            f"c/{second}.jpg", "c", START + timedelta(seconds=4 * second), (("a", 0.4),), 0.5, (part,)
        )

    chosen = sample([frame(second) for second in range(100)], 50)
    parts = [int(one.image_path[2:-4]) // 5 for one in chosen]
    assert sorted(parts) == list(range(20)), "twenty objects, so twenty frames although fifty may be asked for"


def test_frames_unlike_all_others_are_novel_and_the_diverse_ones_spread():
    pool = [CandidateFrame(f"c/{i:03d}.jpg", "c", START + timedelta(minutes=i)) for i in range(100)]
    places = {c.image_path: i for i, c in enumerate(pool)}
    vectors = [np.array([i % 10, 0], np.float32) for i in range(100)]
    looks = {
        c.image_path: Look(vectors[i] + np.array([0, 50 * (i == 42)], np.float32), 9.0 if i == 42 else 1.0)
        for i, c in enumerate(pool)
    }
    novel = sample(pool, 5, shares={"novel": 1}, looks=looks)
    assert [places[one.image_path] for one in novel if one.reason == "novel"] == [42]
    diverse = sample(pool, 11, shares={"diverse": 1}, looks=looks)
    assert all(one.reason == "diverse" for one in diverse)
    assert {places[one.image_path] % 10 for one in diverse if one.image_path != "c/042.jpg"} == set(range(10))


def test_rare_classes_are_those_of_all_frames_not_of_the_candidates():
    pool = [
        CandidateFrame(f"c/{i:03d}.jpg", "c", START + timedelta(minutes=i), (("a" if i % 2 else "b", 0.9),))
        for i in range(40)
    ]
    chosen = sample(pool, 6, shares={"rare": 1}, class_counts={"a": 9000, "b": 30})
    assert [int(one.image_path[2:-4]) % 2 for one in chosen if one.reason == "rare"] == [0] * 6
