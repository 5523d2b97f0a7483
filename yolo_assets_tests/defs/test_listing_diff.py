"""Which archived hours changed: pure."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.archive.listing import ListedHour
from yolo_assets.contracts.times import Hour
from yolo_assets.defs.archive.listing_diff import (
    LONGEST_WAIT,
    RETRY_AFTER,
    ReceiptsCursor,
    data_version,
    find_changes,
    known_version,
    position_after,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
FIRST = Hour(datetime(2026, 3, 1, 0, tzinfo=UTC))
MINUTE = timedelta(minutes=1)

hours = st.integers(0, 5).map(FIRST.next)
stems = st.frozensets(st.sampled_from("abcdef"), min_size=1).map(lambda found: tuple(sorted(found)))
archives = st.dictionaries(hours, stems).map(lambda found: [ListedHour(h, s) for h, s in sorted(found.items())])


@given(archives)
def test_a_known_hour_is_unchanged_and_a_later_part_is_a_change(archive: list[ListedHour]) -> None:
    known = {item.hour: item.version for item in archive}
    assert find_changes(archive, archive, known, ReceiptsCursor(), NOW, timedelta())[0] == []
    later = [ListedHour(item.hour, (*item.stems, "p2")) for item in archive]
    assert find_changes(later, [], known, ReceiptsCursor(), NOW, timedelta())[0] == later


@given(archives, st.integers(0, 20))
def test_an_hour_waits_until_it_is_quiet_but_not_for_ever(archive: list[ListedHour], changes: int) -> None:
    """A device adds a camera every half minute; nothing is reported before it stops, or before the longest wait."""
    cursor, moment, news = ReceiptsCursor(), NOW, []
    for number in range(changes + 1):
        now_listed = [ListedHour(item.hour, (*item.stems, *map(str, range(number)))) for item in archive]
        news, cursor = find_changes(now_listed, [], {}, ReceiptsCursor.load(cursor.model_dump_json()), moment, MINUTE)
        if news:
            break
        moment += MINUTE / 2
    waited = moment - NOW
    if news:
        assert waited >= LONGEST_WAIT
    else:
        assert waited <= LONGEST_WAIT + MINUTE
        last = [ListedHour(item.hour, (*item.stems, *map(str, range(changes)))) for item in archive]
        assert find_changes(last, [], {}, cursor, moment + MINUTE, MINUTE)[0] == last


def test_a_change_without_effect_is_repeated_but_not_in_every_tick() -> None:
    archive, cursor, acted = [ListedHour(FIRST, ("a",))], ReceiptsCursor(), []
    for minute in range(60):
        moment = NOW + minute * MINUTE
        news, cursor = find_changes(archive, archive, {}, cursor, moment, timedelta())
        if news:
            acted.append(minute)
            cursor = cursor.noting(asked=[FIRST], now=moment)
    assert acted == list(range(0, 60, int(RETRY_AFTER / MINUTE)))


@given(archives)
def test_refused_hours_are_not_read_again_until_they_or_the_keys_change(archive: list[ListedHour]) -> None:
    cursor = ReceiptsCursor().trusting(["one"])
    refused = {item.hour: item.version for item in archive}
    cursor = ReceiptsCursor.load(cursor.noting(refused=refused, now=NOW).model_dump_json())
    assert find_changes(archive, [], {}, cursor.trusting(["one"]), NOW, timedelta())[0] == []
    assert find_changes(archive, [], {}, cursor.trusting(["one", "two"]), NOW, timedelta())[0] == archive


def test_the_sweep_pauses_at_its_end_and_restarts_with_a_new_key() -> None:
    cursor = ReceiptsCursor().trusting(["one"])
    assert not cursor.resting(NOW, MINUTE)
    assert not cursor.noting(position="receipts/date=2026-01-01", now=NOW).resting(NOW, MINUTE)
    done = cursor.noting(position="", now=NOW)
    assert done.resting(NOW + MINUTE / 2, MINUTE) and not done.resting(NOW + MINUTE, MINUTE)
    assert not done.resting(NOW, timedelta()) and not done.trusting(["one", "two"]).resting(NOW, MINUTE)
    assert done.noting(now=NOW + MINUTE).swept == NOW, "a tick without a sweep changes nothing"


@given(st.dictionaries(hours, st.text("0123456789abcdef", min_size=16, max_size=16)))
def test_a_data_version_has_an_entry_for_each_hour_of_a_run(versions: dict[Hour, str]) -> None:
    text = data_version(versions)
    assert {hour: known_version(text, hour) for hour in versions} == versions
    assert known_version(text, FIRST.next(99)) is None
    assert known_version("0123abc an older release", FIRST) is None is known_version(None, FIRST)


@given(st.text(max_size=30))
def test_a_damaged_cursor_is_an_empty_one(text: str) -> None:
    assert ReceiptsCursor.load(text).waiting == {} or text.startswith("{")


@given(archives, st.data())
def test_an_hour_that_was_not_reached_is_returned_again(archive: list[ListedHour], data: st.DataObject) -> None:
    left = data.draw(st.sets(st.sampled_from([item.hour for item in archive]))) if archive else set()
    position = position_after(archive, "reached", left)
    if not left:
        assert position == "reached"
        return
    keys = [f"receipts/date={item.hour.date}/hour={item.hour.hh}/x.receipt.json" for item in archive]
    first = min(left)
    assert [item.hour >= first for item in archive] == [key > position for key in keys]


def test_the_cursor_stays_small() -> None:
    cursor = ReceiptsCursor()
    many = [ListedHour(FIRST.next(number), ("a",)) for number in range(5000)]
    _, cursor = find_changes([], many, {}, cursor, NOW, timedelta())
    refused = {item.hour: item.version for item in many}
    assert len(cursor.noting(now=NOW).model_dump_json()) < 250_000
    assert len(cursor.noting(refused=refused, now=NOW).model_dump_json()) < 50_000
