import itertools
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.contracts import names
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.times import Hour, format_time, hours_between, parse_time

moments = st.datetimes(
    min_value=datetime(2000, 1, 1),
    max_value=datetime(2100, 1, 1),
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
    parsed = names.parse_frame_name(names.frame_name(moment, again))
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
