"""Which archives are due: property tests of the choice, and of coverage counted from records."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.archive.audit.audit import AuditCandidate, choose, parse_share
from yolo_assets.archive.audit.coverage import AuditHistory, count
from yolo_assets.contracts.audit import AuditRecord
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import audit_key, parse_audit_key
from yolo_assets.contracts.old_signatures import Signature

START = datetime(2026, 3, 1, tzinfo=UTC)
SHARES = st.integers(1, 12).flatmap(lambda n: st.integers(1, n).map(lambda k: Fraction(k, n)))
WEIGHTS = st.lists(st.integers(1, 1000), min_size=1, max_size=60)


def archives(weights: list[int], first: int = 0) -> dict[str, AuditCandidate]:
    names = [f"yolo_cam{index}_20260101_{index % 24:02d}" for index in range(first, first + len(weights))]
    looked = [START - timedelta(hours=1 + 7 * (index % 5)) for index in range(len(weights))]
    return {name: AuditCandidate(name, weight, at) for name, weight, at in zip(names, weights, looked, strict=True)}


def look(there: dict[str, AuditCandidate], share: Fraction, now: datetime) -> list[str]:
    """One call: choose, and note that what was chosen was looked at."""
    chosen = [one.name for one in choose(list(there.values()), share)]
    for name in chosen:
        there[name] = AuditCandidate(name, there[name].weight, now)
    return chosen


@given(WEIGHTS, SHARES)
def test_as_many_audits_as_shares_verify_each_archive_once(weights: list[int], share: Fraction) -> None:
    there, calls = archives(weights), math.ceil(1 / share)
    seen = [set(look(there, share, START + timedelta(days=day))) for day in range(3 * calls)]
    for begin in range(len(seen) - calls + 1):
        assert set().union(*seen[begin : begin + calls]) == set(there)


@given(WEIGHTS, SHARES)
def test_each_call_weighs_its_share_and_at_most_one_archive_more(weights: list[int], share: Fraction) -> None:
    there, total = archives(weights), sum(weights)
    for day in range(2 * math.ceil(1 / share)):
        before = dict(there)
        chosen = look(there, share, START + timedelta(days=day))
        assert len(set(chosen)) == len(chosen)
        weight = sum(before[name].weight for name in chosen)
        assert share * total <= weight < share * total + max(weights)


@given(WEIGHTS, st.lists(st.lists(st.integers(1, 1000), max_size=10), max_size=12), SHARES)
def test_archives_that_arrive_meanwhile_do_not_delay_the_others(
    weights: list[int], arrivals: list[list[int]], share: Fraction
) -> None:
    there, calls = archives(weights), math.ceil(1 / share)
    at_first, seen = set(there), set()
    for day in range(calls):
        now = START + timedelta(days=day)
        seen |= set(look(there, share, now))
        for index, weight in enumerate(arrivals[day] if day < len(arrivals) else []):
            name = f"yolo_new{day}_20260301_{index:02d}"
            there[name] = AuditCandidate(name, weight, now)
    assert at_first <= seen


@given(WEIGHTS, SHARES, st.data())
def test_what_another_audit_reserved_is_left_to_it(weights: list[int], share: Fraction, data: st.DataObject) -> None:
    there = archives(weights)
    taken = data.draw(st.sets(st.sampled_from(sorted(there))))
    chosen = [one.name for one in choose(list(there.values()), share, taken)]
    assert not taken & set(chosen)
    assert chosen or taken == set(there)


@given(WEIGHTS, SHARES, st.data())
def test_damaged_archives_are_verified_in_addition_to_the_share(
    weights: list[int], share: Fraction, data: st.DataObject
) -> None:
    there = archives(weights)
    bad = data.draw(st.sets(st.sampled_from(sorted(there))))
    total = sum(weights)
    marked = [AuditCandidate(one.name, one.weight, one.verified_at, one.name in bad) for one in there.values()]
    chosen = [one.name for one in choose(marked, share)]
    weight = {name: there[name].weight for name in there}
    assert bad <= set(chosen) or sum(weight[name] for name in bad & set(chosen)) >= share * total
    good = set(there) - bad
    assert good <= set(chosen) or sum(weight[name] for name in good & set(chosen)) >= share * total


@pytest.mark.parametrize(("text", "share"), [("1/30", Fraction(1, 30)), ("0.05", Fraction(1, 20)), ("1", Fraction(1))])
def test_a_share_is_read(text: str, share: Fraction) -> None:
    assert parse_share(text) == share


@pytest.mark.parametrize("text", ["0", "-1/30", "31/30", "1/0", "x", "", "nan", "inf"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(BadInputError, match="write it like 1/30"):
        parse_share(text)


def test_audit_keys_are_read_back_and_others_are_passed_over() -> None:
    audit_id = "20260301T020000Z-0123abcd"
    for number in (None, 1, 12, 1234):
        assert parse_audit_key(audit_key(audit_id, number)) == (audit_id, number)
    key = audit_key(audit_id, 1)
    for other in (key.replace("2026-03-01", "2026-03-02"), key.replace("verify", "doctor"), key + "x", "audit/x"):
        assert parse_audit_key(other) is None


A, B, C, D = (f"yolo_cam{n}_20260101_00" for n in range(4))
SIZES = {A: 10, B: 20, C: 30, D: 40}


def record(day: float, *, signed: bool = True, **found: Any) -> AuditRecord:
    at = START + timedelta(days=day)
    return AuditRecord(
        audit_id="20260301T020000Z-0123abcd", number=1, last=True, share="1/4", started_at=at, finished_at=at,
        archives=4, archives_size=100, bytes_read=0, writer_version="t",
        signature=Signature(key_id="k", value="v") if signed else None, **found,
    )  # fmt: skip


def test_coverage_counts_what_was_recorded_and_nothing_else() -> None:
    history = AuditHistory()
    history.add(record(-40, full=(A, B, C)))
    history.add(record(-3, full=(A,), head=(B,)))
    history.add(record(-2, full=(C, D), signed=False))
    found = count(SIZES, history, 30, START)
    assert (found.archives, found.size, found.full, found.full_size, found.head, found.unsigned) == (
        4,
        100,
        1,
        10,
        2,
        2,
    )
    assert (found.oldest, found.oldest_never) == (D, True)  # an unsigned audit does not count
    first, second, third = found.lines()
    assert first.startswith("1 of 4 archives (10 of 100 bytes) verified in full within the last 30 days")
    assert D in second and "never" in second and third.startswith("2 more by unsigned audits")
    history.add(record(-1, full=(D,)))
    found = count(SIZES, history, 30, START)
    assert (found.oldest, found.oldest_since) == (B, START - timedelta(days=40))


def test_what_was_wrong_stays_wrong_until_an_audit_finds_it_good() -> None:
    history = AuditHistory()
    history.add(record(-1, problems={A: ("damaged",)}, unchecked={B: "refused"}))
    history.add(record(-9, full=(A, B)))  # read in any order
    found = count(SIZES, history, 30, START, {C: "gone"})
    assert (found.full, set(found.wrong)) == (0, {A, B, C})
    history.add(record(0, head=(A,), full=(B,)))
    found = count(SIZES, history, 30, START)
    assert (found.full, found.head, found.wrong) == (2, 2, {})


def test_a_cold_archive_is_not_due_again_but_not_verified_in_full() -> None:
    history = AuditHistory()
    history.add(record(-1, cold=(A,), head=(B,)))
    at = START - timedelta(days=1)
    assert history.last_verified(A, "full", unsigned_counts=False) == at
    assert (
        history.last_verified(B, "full", unsigned_counts=False)
        < at
        == history.last_verified(B, "head", unsigned_counts=False)
    )
    assert count(SIZES, history, 30, START).full == 0
    history.add(record(0, signed=False, full=(C,)))
    assert (
        history.last_verified(C, "full", unsigned_counts=True)
        == START
        > history.last_verified(C, "full", unsigned_counts=False)
    )
