from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.contracts.times import Hour
from yolo_assets.defs.intake.memory import RETRY_AFTER, SpoolCursor
from yolo_assets.defs.intake.spool_diff import ClosedHour, find_changes
from yolo_assets.defs.recovery.unfinished import LONGEST_PAUSE

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
FIRST = Hour(datetime(2026, 3, 1, 0, tzinfo=UTC))


def closed(camera: str, offset: int, files: str, covered: bool = False) -> ClosedHour:
    return ClosedHour(camera, FIRST.next(offset), f"all-{files}", "" if covered else f"new-{files}", 3, 100)


items = st.builds(closed, st.sampled_from(["a", "b", "c"]), st.integers(0, 5), st.sampled_from("xyz"), st.booleans())
spools = st.lists(items, unique_by=lambda item: (item.camera_id, item.hour))


@given(spools, st.integers(1, 4))
def test_everything_is_reported_once_oldest_first_within_the_limit(spool: list[ClosedHour], limit: int) -> None:
    cursor, reported = SpoolCursor(), []
    for _ in range(10):
        found = find_changes(spool, cursor, NOW, limit)
        assert len(found.changed) <= limit
        reported += [news.hour for news in found.changed]
        cursor = SpoolCursor.load(found.cursor.model_dump_json())
        if not found.changed:
            assert found.waiting == 0
            break
    assert reported == sorted({item.hour for item in spool})


@given(spools)
def test_archiving_and_reclaiming_are_not_changes(spool: list[ClosedHour]) -> None:
    cursor = find_changes(spool, SpoolCursor(), NOW, 100).cursor
    archived = [ClosedHour(i.camera_id, i.hour, "reclaimed-half", "", i.frames, i.size) for i in spool]
    for state in (archived, archived[::2], []):
        found = find_changes(state, cursor, NOW, 100)
        assert not found.changed and not found.overdue
        cursor = found.cursor


@given(spools, items)
def test_late_frames_and_late_cameras_are_changes(spool: list[ClosedHour], late: ClosedHour) -> None:
    cursor = find_changes(spool, SpoolCursor(), NOW, 100).cursor
    late = ClosedHour(late.camera_id, late.hour, "late", "late", 1, 1)
    rest = [item for item in spool if (item.camera_id, item.hour) != (late.camera_id, late.hour)]
    found = find_changes([*rest, late], cursor, NOW, 100)
    assert [news.hour for news in found.changed] == [late.hour]


def test_an_unarchived_hour_is_requested_again_with_growing_pauses() -> None:
    spool = [closed("a", 0, "x")]
    cursor = find_changes(spool, SpoolCursor(), NOW, 9).cursor
    asked: list[int] = []
    for minute in range(0, 80 * 60, 10):
        now = NOW + timedelta(minutes=minute)
        found = find_changes(spool, cursor, now, 9)
        assert not found.changed
        asked += [minute // 60] * len(found.overdue)
        cursor = found.cursor.noting({}, found.overdue, now)
    assert asked == [3, 9, 21, 45, 69], "after 3, 6, 12, then 24 hours"
    assert RETRY_AFTER > LONGEST_PAUSE, "recovery requests it sooner, as long as it does"


def test_an_hour_that_something_tried_is_not_overdue() -> None:
    spool = [closed("a", 0, "x")]
    cursor = find_changes(spool, SpoolCursor(), NOW, 9).cursor
    later = NOW + RETRY_AFTER
    (hour,) = find_changes(spool, cursor, later, 9).overdue
    cursor = cursor.noting({hour: later - timedelta(hours=1)}, [], later)
    assert not find_changes(spool, cursor, later + timedelta(minutes=110), 9).overdue
    assert find_changes(spool, cursor, later + timedelta(minutes=120), 9).overdue


def test_live_hours_are_reported_before_a_backlog() -> None:
    now = FIRST.next(1001).start
    backlog = [closed("a", offset, "x") for offset in range(1000)]
    found = find_changes([*backlog, closed("a", 1000, "x")], SpoolCursor(), now, 24)
    assert [item.hour for item in found.changed][:6] == [FIRST.next(offset) for offset in range(995, 1001)]


@given(spools)
def test_the_data_version_is_the_closed_set(spool: list[ClosedHour]) -> None:
    one = {n.hour: n.data_version for n in find_changes(spool, SpoolCursor(), NOW, 99).changed}
    other = {n.hour: n.data_version for n in find_changes(spool[::-1], SpoolCursor(), NOW, 99).changed}
    assert one == other


@given(st.text(max_size=30))
def test_a_damaged_cursor_is_an_empty_one(text: str) -> None:
    assert SpoolCursor.load(text).hours == {} or text.startswith("{")
