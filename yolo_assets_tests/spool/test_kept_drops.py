"""A frame that nothing processed may keep its image; it is still one captured, dropped frame."""

from datetime import UTC, datetime
from pathlib import Path

import orjson

from yolo_assets.contracts.times import Hour
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.spool.writer import SpoolWriter
from yolo_assets_tests.support.records import frame_record

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HOUR = Hour.of(AT)


def test_an_image_without_a_model_is_counted_once_with_its_reason(tmp_path: Path) -> None:
    with SpoolWriter(tmp_path, "cam01", "box") as writer:
        writer.drop(AT, "no_model", b"jpeg")
        writer.drop(AT, "no_model", b"other")  # the same millisecond: another name
        writer.drop(AT, "queue_full")
        writer.write(AT, frame_record({"detections": [], "model_version": "weld/1", "device_id": "box"}), b"third")
        seal = writer.seal(HOUR)
    hour = SpoolHour.of(tmp_path, "cam01", HOUR)
    assert [member.name for member in hour.frames()] == [
        "20260102_030405_000.jpg",
        "20260102_030405_000_1.jpg",
        "20260102_030405_000_2.jpg",
    ]
    assert seal.dropped == {"no_model": 2, "queue_full": 1}
    assert (seal.frames, seal.records, seal.processed, seal.captured) == (3, 1, 1, 4)


def test_an_image_whose_drop_was_lost_in_a_crash_is_counted_as_interrupted(tmp_path: Path) -> None:
    with SpoolWriter(tmp_path, "cam01", "box") as writer:
        writer.drop(AT, "no_model", b"jpeg")
    (tmp_path / "cam01" / HOUR.key / "drops.log").write_bytes(b"")
    with SpoolWriter(tmp_path, "cam01", "box") as writer:
        assert writer.seal(HOUR).dropped == {"interrupted": 1}


def test_a_late_image_leaves_the_seal_alone(tmp_path: Path) -> None:
    with SpoolWriter(tmp_path, "cam01", "box") as writer:
        writer.seal(HOUR)
        writer.drop(AT, "no_model", b"jpeg")
    folder = tmp_path / "cam01" / HOUR.key
    assert (folder / "20260102_030405_000.jpg").read_bytes() == b"jpeg"
    [late] = folder.glob("*.late-drop.log")
    assert orjson.loads(late.read_bytes())["image"] == "20260102_030405_000.jpg"
