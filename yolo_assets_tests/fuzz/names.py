"""Names, times, hours, locations, and the small texts of settings."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from yolo_assets.archive.audit.audit import parse_share
from yolo_assets.archive.bandwidth.rates import Timetable
from yolo_assets.contracts import names
from yolo_assets.contracts.locations import location_folder, location_url, parse_file_url
from yolo_assets.contracts.text import decode_text, plain
from yolo_assets.contracts.times import Hour, format_time, parse_time
from yolo_assets.spool.files import native_name, portable_name
from yolo_assets.spool.pressure import parse_mark
from yolo_assets_tests.fuzz.law import refused_or

LONGEST = 256


def seeds() -> Iterator[bytes]:
    """One of each."""
    for text in (
        *("yolo_lineA_cam01_20241015_14_p2.tar.gz", "20241015_14", "2024-10-15-14:00", "2024-10-15T14:00:00.123+08:00"),
        *("20241015_140002_123_4.jpg", "20241015_140002.PNG", "0001-01-01T00:00:00+08:00", "99991231_23", "2024-10-15"),
        *("file:///srv/a%20b", "s3://bucket/prefix", "C:\\arch", "\\\\nas\\share", "~/x", "line/20260102-1a2b3c4d"),
        *("22:00-06:00 unlimited, else 20MB/s", "20MB/s", "5GB", "25%", "defect.jpg.json", "焊缝裂纹"),
    ):
        yield text.encode()
    yield b"latin1_\xe9.jpg"


def check(data: bytes) -> None:
    """Each parser gets the same text."""
    raw = data.decode("utf-8", "surrogateescape")
    if raw and "/" not in raw and "\0" not in raw and raw not in (".", ".."):
        assert native_name(portable_name(raw)) == raw
    refused_or(lambda: decode_text(data, "x"))
    text = data.decode("utf-8", "replace")
    assert plain(text).isprintable() or not text
    for ask in (names.is_frame, names.is_record_file, names.holds_lines):
        assert ask(text) in (True, False)
    if archive := refused_or(lambda: names.ArchiveName.parse(text)):
        assert names.ArchiveName.parse(archive.receipt_key) == names.ArchiveName.parse(archive.stem) == archive
    for read, write in (
        (Hour.from_key, lambda hour: hour.key),
        (Hour.from_partition_key, lambda hour: hour.partition_key),
    ):
        if hour := refused_or(lambda read=read: read(text)):
            assert read(write(hour)) == hour and hour.start < hour.end and hour.start in hour
            refused_or(hour.next)
    if moment := refused_or(lambda: parse_time(text)):
        assert abs(parse_time(format_time(moment)) - moment) < timedelta(milliseconds=1)
    if taken := names.frame_time(text):
        assert names.frame_time(names.frame_name(taken)) == taken
    for one in (names.check_id, names.check_class_name, names.check_version, names.check_sha256):
        assert refused_or(lambda one=one: one(text)) in (None, text)
    refused_or(lambda: names.parse_model_version(text))
    if url := refused_or(lambda: location_url(text)):
        assert location_url(url) == url
        assert url.startswith("s3://") or parse_file_url(url) == location_folder(text).absolute()
    if table := refused_or(lambda: Timetable.parse(text)):
        assert str(Timetable.parse(str(table))) == str(table)
    refused_or(lambda: parse_mark(text))
    refused_or(lambda: parse_share(text))
