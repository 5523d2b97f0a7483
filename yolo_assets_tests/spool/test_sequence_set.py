"""Sequence numbers kept as runs behave as a set."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.spool.frame_journal import SequenceSet

NUMBERS = st.integers(0, 30)


@given(st.lists(st.tuples(st.booleans(), NUMBERS), max_size=80))
def test_they_hold_what_a_set_holds(steps: list[tuple[bool, int]]) -> None:
    runs, plain = SequenceSet(), set[int]()
    for put_in, number in steps:
        if put_in:
            runs.add(number)
            plain.add(number)
        else:
            runs.discard(number)
            plain.discard(number)
        assert list(runs) == sorted(plain) and bool(runs) == bool(plain)
        assert SequenceSet.from_steps(runs.steps()) == runs == SequenceSet(plain)
        assert len(runs.steps()) == 2 * sum(number - 1 not in plain for number in plain), "as few as can be"


@pytest.mark.parametrize("steps", [[3], [1, 0], [0, 1], [1, 1, 0, 4], [2, -1]])
def test_what_is_no_steps_is_refused(steps: list[int]) -> None:
    with pytest.raises(ValueError):
        SequenceSet.from_steps(steps)
