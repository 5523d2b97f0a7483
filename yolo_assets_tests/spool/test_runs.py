"""Runs are a set of numbers."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.spool.runs import Runs

NUMBERS = st.integers(0, 30)


@given(st.lists(st.tuples(st.booleans(), NUMBERS), max_size=80))
def test_they_hold_what_a_set_holds(steps: list[tuple[bool, int]]) -> None:
    runs, plain = Runs(), set[int]()
    for put_in, number in steps:
        if put_in:
            runs.add(number)
            plain.add(number)
        else:
            runs.discard(number)
            plain.discard(number)
        assert list(runs) == sorted(plain) and bool(runs) == bool(plain)
        lists = runs.as_lists()
        assert all(a[1] + 1 < b[0] for a, b in pairwise(lists)), "no two that touch"
        assert Runs(lists) == runs


@pytest.mark.parametrize("runs", [[[3, 2]], [[0, 5], [5, 9]], [[7, 8], [1, 2]]])
def test_what_is_no_runs_is_refused(runs: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="order"):
        Runs(runs)
