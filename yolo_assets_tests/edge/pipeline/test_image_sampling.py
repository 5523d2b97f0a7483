"""Which pictures are kept: every detection, normal ones by count and by time, fewer as the disk fills."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from yolo_assets.edge.config.spool import Disk, NormalFrames, Sampling
from yolo_assets.edge.pipeline.sampling import Sampler
from yolo_assets.spool.pressure import Stage


@given(found=st.lists(st.booleans(), max_size=200), every=st.integers(1, 20))
def test_every_detection_is_kept_and_every_nth_normal_one(found: list[bool], every: int) -> None:
    sampler = Sampler(Sampling(normal_every=every))
    kept = [sampler.keep("cam1", one) for one in found]
    assert all(keep for keep, one in zip(kept, found, strict=True) if one)
    normal = [keep for keep, one in zip(kept, found, strict=True) if not one]
    assert [number for number, keep in enumerate(normal) if keep] == list(range(0, len(normal), every))


@given(steps=st.lists(st.floats(0, 10), max_size=100), seconds=st.floats(0.5, 20))
def test_by_time_the_next_normal_frame_after_so_many_seconds_is_kept(steps: list[float], seconds: float) -> None:
    now = [100.0]
    sampler = Sampler(Sampling(normal_every=0, normal_seconds=seconds), monotonic=lambda: now[0])
    last: float | None = None
    for step in steps:
        now[0] += step
        expected = last is None or now[0] - last >= seconds
        assert sampler.keep("cam1", False) == expected
        last = now[0] if expected else last


def test_cameras_count_by_themselves_and_may_have_rules_of_their_own() -> None:
    sampler = Sampler(Sampling(normal_every=5, cameras={"quiet": NormalFrames(normal_every=1)}))
    assert [sampler.keep("busy", False) for _ in range(6)] == [True, False, False, False, False, True]
    assert all(sampler.keep("quiet", False) for _ in range(6))
    assert sampler.keep("other", False)


@given(
    found=st.lists(st.booleans(), max_size=300),
    stages=st.lists(st.sampled_from(Stage), min_size=1, max_size=5),
    every=st.integers(1, 4),
    fewer=st.integers(2, 12),
)
def test_a_stage_withholds_what_it_says_and_counts_it(
    found: list[bool], stages: list[Stage], every: int, fewer: int
) -> None:
    rules, sampler = Sampler(Sampling(normal_every=every)), Sampler(Sampling(normal_every=every), fewer)
    missing = 0
    for number, one in enumerate(found):
        stage = sampler.stage = stages[number % len(stages)]
        wanted, kept = rules.keep("cam1", one), sampler.keep("cam1", one)
        missing += wanted and not kept
        assert wanted or not kept
        if one:
            assert kept == (stage < Stage.NO_IMAGES)
        elif stage >= Stage.RECORDS:
            assert not kept
        elif stage is Stage.NORMAL:
            assert kept == wanted
    assert sum(sampler.withheld().values()) == missing


def test_in_the_first_stage_one_of_so_many_normal_pictures_stays() -> None:
    sampler = Sampler(Sampling(normal_every=2), fewer=5)
    sampler.stage = Stage.FEWER
    assert [number for number in range(40) if sampler.keep("cam1", False)] == [0, 10, 20, 30]
    assert sampler.withheld() == {"fewer_normal": 16, "records_only": 0, "no_images": 0}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"low": "40%"}, "low must be below high"),
        ({"low": "30%"}, "low must be below high"),
        ({"high": "60%"}, "high must be below records_only"),
        ({"records_only": "80%"}, "records_only must be below no_images"),
        ({"reserve": "much"}, "not an amount of disk space"),
        ({"low": -5}, "not an amount of disk space"),
        ({"fsync": "sometimes"}, "frame"),
    ],
)
def test_limits_that_make_no_sense_are_refused(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Disk.model_validate(wrong)


def test_per_cent_and_bytes_may_be_mixed() -> None:
    limits = Disk(low="10GB", high="20GB", no_images="90%").watermarks()
    assert limits.high.of(1) == 20e9 and limits.images.of(100) == 90
