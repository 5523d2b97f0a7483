import itertools
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from yolo_assets.contracts import names
from yolo_assets.contracts.base import Time
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.times import Hour, format_time, hours_between, parse_time

moments = st.datetimes(
    min_value=datetime(2000, 1, 1),
    max_value=datetime(2099, 12, 30),
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-8))]),
)
ids = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)


@given(moments)
def test_times_round_trip_to_the_millisecond(moment: datetime) -> None:
    text = format_time(moment)
    assert text.endswith("Z") and len(text) == len("2026-01-02T03:04:05.678Z")
    assert abs(parse_time(text) - moment) < timedelta(milliseconds=1)


@pytest.mark.parametrize("text", ["2026-01-02T03:04:05", "yesterday", "", "2026-13-01T00:00:00Z"])
def test_times_without_a_zone_or_sense_are_refused(text: str) -> None:
    with pytest.raises(BadInputError):
        parse_time(text)


@given(moments)
def test_a_moment_lies_in_its_hour_and_every_form_of_the_hour_agrees(moment: datetime) -> None:
    hour = Hour.of(moment)
    assert moment in hour and moment not in hour.next() and moment not in hour.next(-1)
    assert Hour.from_key(hour.key) == hour == Hour.from_partition_key(hour.partition_key)


@given(moments, st.integers(1, 50))
def test_hours_between_cover_without_gap(start: datetime, count: int) -> None:
    end = Hour.of(start).next(count).start
    found = list(hours_between(start, end))
    assert len(found) == count and found[0] == Hour.of(start)
    assert all(after == before.next() for before, after in itertools.pairwise(found))


@given(ids, moments, st.integers(1, 99))
def test_archive_names_round_trip_from_every_key(camera: str, moment: datetime, part: int) -> None:
    name = ArchiveName(camera, Hour.of(moment), part)
    for key in (name.stem, name.archive_key, name.index_key, name.receipt_key):
        assert ArchiveName.parse(key) == name


@given(ids, ids, moments)
def test_two_cameras_never_share_a_key(one: str, other: str, moment: datetime) -> None:
    hour = Hour.of(moment)
    if one != other:
        assert ArchiveName(one, hour).archive_key != ArchiveName(other, hour).archive_key


@given(moments, st.integers(0, 1000))
def test_frame_names_hold_their_capture_time(moment: datetime, again: int) -> None:
    parsed = names.frame_time(names.frame_name(moment, again))
    assert parsed is not None and abs(parsed - moment) < timedelta(milliseconds=1)
    assert names.is_frame(names.frame_name(moment, again))


@given(st.text(max_size=80))
def test_any_text_is_a_safe_camera_id_or_refused(text: str) -> None:
    try:
        accepted = names.check_id(text)
    except BadInputError as error:
        assert "\n" not in str(error)
    else:
        path = names.spool_hour(Path("/spool"), accepted, Hour.from_key("20260102_03"))
        assert path.parent.parent == Path("/spool") and path.resolve() == path


@pytest.mark.parametrize("bad", ["", "a/b", "..", "cam 1", "cam\n", "ü", "a" * 65, "cam.1"])
def test_bad_camera_ids_are_refused(bad: str) -> None:
    with pytest.raises(BadInputError, match="camera id"):
        names.check_id(bad)


@pytest.mark.parametrize("bad", ["..", "a/../b", ".hidden", "a..b", "", "http://x", "a/b", "v" * 129])
def test_versions_are_ids_never_paths(bad: str) -> None:
    with pytest.raises(BadInputError):
        names.check_version(bad)


@pytest.mark.parametrize("bad", ["yolo_cam_20260102", "yolo_cam_20260102_25", "yolo_cam_20260102_03_p0", "x.tar.gz"])
def test_other_names_are_not_archives(bad: str) -> None:
    with pytest.raises(BadInputError):
        ArchiveName.parse(bad)


outside = st.sampled_from(["99991231_23", "19691231_23", "22000101_00", "00010101_00", "21000101_00"])


@given(outside)
def test_hours_outside_1970_to_2099_are_refused_by_name(key: str) -> None:
    with pytest.raises(BadInputError, match=rf"{key.lstrip('0')} lies outside the years 1970 to 2099"):
        Hour.from_key(key)
    with pytest.raises(BadInputError, match="outside the years"):
        Hour.from_partition_key(f"{key[:4]}-{key[4:6]}-{key[6:8]}-{key[9:]}:00")


@given(st.datetimes(timezones=st.timezones() | st.just(UTC)))
def test_any_moment_has_an_hour_or_is_refused_in_one_line(moment: datetime) -> None:
    try:
        hour = Hour.of(moment)
    except BadInputError as error:
        assert "outside" in str(error)
        assert not 1970 <= moment.year <= 2099 or moment.astimezone(UTC).year in (1969, 2100)
    else:
        assert moment in hour and hour.end - hour.start == timedelta(hours=1)
        assert Hour.from_key(hour.key) == hour


def test_the_first_and_the_last_hour_can_be_calculated_with() -> None:
    first, last = Hour.from_key("19700101_00"), Hour.from_key("20991231_23")
    for hour, step in ((first, -1), (last, 1)):
        assert hour.start in hour and hour.end.timestamp() > 0
        with pytest.raises(BadInputError, match="calendar"):
            hour.next(step)
    assert list(hours_between(last.start, datetime(9999, 1, 1, tzinfo=UTC))) == [last]
    assert next(hours_between(datetime(1, 1, 1, tzinfo=UTC), last.start)) == first
    assert (Hour.nearest(datetime.min.replace(tzinfo=UTC)), Hour.nearest(datetime.max.replace(tzinfo=UTC))) == (
        first,
        last,
    )


@pytest.mark.parametrize(
    "text", ["0001-01-01T00:00:00+08:00", "9999-12-31T23:59:59-01:00", "0001-01-01T00:00:00+00:01"]
)
def test_times_whose_utc_is_no_date_are_refused(text: str) -> None:
    with pytest.raises(BadInputError, match="outside the years 1 to 9999"):
        parse_time(text)
    with pytest.raises(BadInputError, match="outside the years 1 to 9999"):
        format_time(datetime.fromisoformat(text))
    with pytest.raises(ValidationError, match="outside the years 1 to 9999"):
        TypeAdapter(Time).validate_json(f'"{text}"')


@given(st.datetimes(timezones=st.timezones()))
def test_a_time_is_utc_once_read_or_refused(moment: datetime) -> None:
    try:
        read = TypeAdapter(Time).validate_python(moment)
    except ValidationError as error:
        assert "outside the years" in str(error)
    else:
        # By what they count since 1970: Python calls no time equal to one that its own zone has twice.
        assert read.timestamp() == moment.timestamp() and read.utcoffset() == timedelta(0)


endings = st.sampled_from(names.FRAME_ENDINGS).flatmap(
    lambda ending: st.sampled_from([ending, ending.upper(), ending.title()])
)


@given(moments, endings, st.sampled_from(["", "_1", "_12", "_1000"]))
def test_whole_seconds_and_every_picture_ending_are_read(moment: datetime, ending: str, again: str) -> None:
    second = moment.astimezone(UTC).replace(microsecond=0)
    plain, fine = f"{second:%Y%m%d_%H%M%S}", f"{second:%Y%m%d_%H%M%S}_042"
    assert names.frame_time(f"{plain}{again}{ending}") == second
    assert names.frame_time(f"{fine}{again}{ending}") == second + timedelta(milliseconds=42)
    assert names.is_frame(f"{plain}{again}{ending}")


@pytest.mark.parametrize(
    "name",
    [
        "20241015_140002",
        "20241015_140002.gif",
        "20241015_140002.jpg.part",
        "20241015_146002.jpg",
        "20241301_140002.jpg",
        "99991231_235959_999.jpg",
        "19691231_235959.jpg",
        "20241015_140002_.jpg",
        "x20241015_140002.jpg",
        "20241015_140002.jpg\n",
        "２０２４１０１５_１４０００２.jpg",
    ],
)
def test_other_names_hold_no_time(name: str) -> None:
    assert names.frame_time(name) is None


def test_hidden_files_are_no_frames_and_lines_are_told_by_ending() -> None:
    assert not names.is_frame("._20241015_140002.jpg") and not names.is_record_file("._x.json")
    assert names.is_record_file("x.JSONL") and names.holds_lines("x.JSONL") and names.holds_lines("x.ndjson")
    assert names.is_record_file("x.json") and not names.holds_lines("x.json")
