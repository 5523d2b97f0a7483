"""Stages of a filling disk: they begin in time, end late, and never flap."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.spool.pressure import Level, Mark, Stage, Watermarks, next_stage, parse_mark, reason

TOTAL = 1000
LIMITS = Watermarks(Mark(0.25), Mark(0.30), Mark(0.50), Mark(0.70), Mark(0.05))
levels = st.builds(Level, st.integers(0, TOTAL), st.integers(0, TOTAL), st.just(TOTAL))


def test_marks_as_people_write_them() -> None:
    assert parse_mark("30%").of(200) == 60
    assert parse_mark(" 1.5 GB").of(1) == 1.5e9
    assert parse_mark(4096).of(1) == 4096
    for wrong in ("30", "-1%", "101%", "20 GiB", "", -1, True, None, 2.5):
        with pytest.raises(BadInputError):
            parse_mark(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spool", "free", "stage"),
    [
        (299, 700, 0),
        (300, 700, 1),
        (500, 500, 2),
        (700, 300, 3),
        (0, 149, 1),  # somebody else fills the disk
        (0, 99, 2),
        (0, 49, 3),
        (0, 0, 3),
    ],
)
def test_stages_begin_at_their_marks_also_when_one_is_skipped(spool: int, free: int, stage: int) -> None:
    assert next_stage(Stage.NORMAL, Level(spool, free, TOTAL), LIMITS) == stage


@given(stage=st.sampled_from(Stage), level=levels)
def test_a_stage_is_decided_after_one_measurement(stage: Stage, level: Level) -> None:
    after = next_stage(stage, level, LIMITS)
    assert next_stage(after, level, LIMITS) == after
    assert after >= next_stage(Stage.NORMAL, level, LIMITS), "never less than the level asks for"
    assert (reason(after, level, LIMITS) == "") == (after is Stage.NORMAL)


@given(level=levels, fuller=st.integers(0, 300), less_free=st.integers(0, 300), stage=st.sampled_from(Stage))
def test_a_fuller_disk_never_means_a_lower_stage(level: Level, fuller: int, less_free: int, stage: Stage) -> None:
    worse = Level(min(TOTAL, level.spool + fuller), max(0, level.free - less_free), TOTAL)
    assert next_stage(stage, worse, LIMITS) >= next_stage(stage, level, LIMITS)


@given(around=st.sampled_from([300, 500, 700]), trembling=st.lists(st.integers(-20, 20), max_size=50))
def test_a_level_that_trembles_around_a_mark_changes_the_stage_once(around: int, trembling: list[int]) -> None:
    stage, changes = Stage(next_stage(Stage.NORMAL, Level(around - 21, TOTAL, TOTAL), LIMITS)), 0
    for offset in trembling:
        after = next_stage(stage, Level(around + offset, TOTAL, TOTAL), LIMITS)
        changes += after != stage
        stage = after
    assert changes <= 1


def test_a_large_disk_that_others_fill_needs_no_more_than_a_few_gigabytes() -> None:
    total = 2 * 10**12
    for free, stage in ((3.1e9, 0), (2.9e9, 1), (1.9e9, 2), (0.9e9, 3)):
        assert next_stage(Stage.NORMAL, Level(0, int(free), total), LIMITS) == stage


def test_an_emptied_disk_is_normal_again() -> None:
    assert next_stage(Stage.NO_IMAGES, Level(0, TOTAL, TOTAL), LIMITS) is Stage.NORMAL
    assert next_stage(Stage.FEWER, Level(260, TOTAL, TOTAL), LIMITS) is Stage.FEWER  # not before low
    assert next_stage(Stage.FEWER, Level(249, TOTAL, TOTAL), LIMITS) is Stage.NORMAL
    assert next_stage(Stage.NO_IMAGES, Level(0, 55, TOTAL), LIMITS) is Stage.NO_IMAGES  # a quarter more than began it
