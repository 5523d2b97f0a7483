"""Waits between tries: they grow, stay within their bounds, differ between two that failed together, and repeat."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.runtime.backoff import Backoff

_firsts = st.floats(0.001, 100)
_factors = st.floats(1, 1e5)
_failures = st.integers(1, 10_000)


@given(_firsts, _factors, _failures, st.floats(0, 1), st.floats(0, 1))
def test_a_wait_lies_between_its_jittered_share_and_its_whole(
    first: float, factor: float, failures: int, jitter: float, drawn: float
) -> None:
    longest = first * factor
    wait = Backoff(first, longest, jitter, draw=lambda: drawn).seconds(failures)
    whole = min(longest, first * 2.0 ** min(failures - 1, 100))
    assert whole * (1 - jitter) * (1 - 1e-9) <= wait <= whole * (1 + 1e-9)


@given(_firsts, _factors, _failures)
def test_waits_without_jitter_at_most_double_and_never_shrink(first: float, factor: float, failures: int) -> None:
    backoff = Backoff(first, first * factor)
    one, next_one = backoff.seconds(failures), backoff.seconds(failures + 1)
    assert first <= one <= next_one <= min(2 * one, first * factor) * (1 + 1e-9)


@given(st.lists(st.booleans(), max_size=30), st.integers(0, 2**32))
def test_success_resets_the_waits_and_a_seed_repeats_them(outcomes: list[bool], seed: int) -> None:
    twins = [Backoff(0.5, 30, 0.5, draw=random.Random(seed).random) for _ in range(2)]
    in_a_row = 0
    for worked in outcomes:
        if worked:
            in_a_row = 0
            for twin in twins:
                twin.succeeded()
            continue
        in_a_row += 1
        waits = {twin.failed() for twin in twins}
        assert len(waits) == 1 and all(twin.failures == in_a_row for twin in twins)
        assert min(30, 0.5 * 2 ** (in_a_row - 1)) / 2 <= waits.pop() <= min(30, 0.5 * 2 ** (in_a_row - 1))


def test_two_that_failed_together_wait_for_different_times() -> None:
    assert len({Backoff(1, 30, 0.5).failed() for _ in range(10)}) == 10


@pytest.mark.parametrize(("first", "longest", "jitter"), [(0, 1, 0), (2, 1, 0), (1, 2, 1.5), (1, 2, -0.1)])
def test_waits_that_cannot_be_are_refused(first: float, longest: float, jitter: float) -> None:
    with pytest.raises(BadInputError, match="waits must grow"):
        Backoff(first, longest, jitter)
