"""Records in every form that producers write, and what is said of those that are none."""

from __future__ import annotations

import codecs
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.contracts.times import Hour
from yolo_assets.spool.frames import FrameFolder
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.spool.records import (
    LONGEST_RECORD,
    BadRecord,
    FrameRecord,
    ReadRecord,
    RecordFile,
    merged_lines,
    read_file,
    read_records,
)

HOUR = Hour.from_key("20241015_14")


def record(frame: str = "a.jpg", **more: Any) -> dict[str, Any]:
    return {"image_path": frame, "detections": [], "model_version": "m", "device_id": "d", **more}


def file(name: str, data: bytes) -> RecordFile:
    return RecordFile(name, f"cam1/{HOUR}/{name}", lambda: io.BytesIO(data))


def read(name: str, data: bytes) -> list[ReadRecord | BadRecord]:
    return list(read_file(file(name, data)))


def bad(found: list[ReadRecord | BadRecord]) -> list[BadRecord]:
    return [item for item in found if isinstance(item, BadRecord)]


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(st.lists(texts, min_size=1, max_size=5), st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]), st.data())
def test_records_are_read_in_any_form_and_encoding(devices: list[str], encoding: str, data: st.DataObject) -> None:
    records = [record(f"{number}.jpg", device_id=device) for number, device in enumerate(devices)]
    indent = data.draw(st.sampled_from([None, 2]))
    ascii_only = data.draw(st.booleans())
    lines = "\n".join(json.dumps(r, ensure_ascii=ascii_only) for r in records)
    array = json.dumps(records, ensure_ascii=ascii_only, indent=indent)
    forms = [("x.ndjson", lines), ("x.jsonl", lines + "\n"), ("x.json", array)]
    forms += [("x.json", lines)] if len(records) > 1 else []
    for name, text in forms:
        found = read(name, text.encode(encoding))
        assert [r.record.device_id for r in found if isinstance(r, ReadRecord)] == devices
        assert [r.number for r in found if isinstance(r, ReadRecord)] == list(range(1, len(devices) + 1))
        assert [json.loads(r.raw)["device_id"] for r in found] == devices
    (one,) = read("x.json", json.dumps(records[0], ensure_ascii=ascii_only, indent=indent).encode(encoding))
    assert isinstance(one, ReadRecord) and one.record.device_id == devices[0] and one.number is None
    assert json.loads(one.raw) == records[0]


def test_a_line_in_another_encoding_is_refused_by_name_and_the_next_one_read() -> None:
    good = json.dumps(record()).encode()
    latin = json.dumps(record(device_id="Prüfstand"), ensure_ascii=False).encode("latin-1")
    found = read("x.ndjson", b"\n".join([good, latin, good]))
    assert [type(item) for item in found] == [ReadRecord, BadRecord, ReadRecord]
    (refused,) = bad(found)
    assert "is not UTF-8" in refused.reason and "save it as UTF-8" in refused.reason
    assert refused.raw == latin and refused.source.endswith("x.ndjson:2")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["x.ndjson", "x.json"])
def test_utf16_without_a_mark_is_one_refusal_by_name(name: str, encoding: str) -> None:
    text = json.dumps(record()) + "\n" + json.dumps(record("b.jpg"))
    (refused,) = read(name, text.encode(encoding))
    assert isinstance(refused, BadRecord) and "seems to be UTF-16" in refused.reason and refused.raw


def test_a_marked_file_that_is_damaged_loses_that_line_alone() -> None:
    lines = [json.dumps(record(f"{number}.jpg")).encode("utf-16-le") for number in range(3)]
    lines[1] = lines[1][:20] + b"\x00\xd8" + lines[1][22:]  # half of a pair
    data = codecs.BOM_UTF16_LE + "\n".encode("utf-16-le").join(lines)
    found = read("x.ndjson", data)
    assert [type(item) for item in found] == [ReadRecord, BadRecord, ReadRecord]


def test_a_list_of_ultralytics_is_named_as_one() -> None:
    # As Results.to_json of Ultralytics 8 writes it.
    listed = [{"name": "crack", "class": 0, "confidence": 0.9, "box": {"x1": 1.0, "y1": 2.0, "x2": 3.0, "y2": 4.0}}]
    (refused,) = read("20241015_140002.json", json.dumps(listed, indent=2).encode())
    assert isinstance(refused, BadRecord) and "Ultralytics" in refused.reason
    assert json.loads(refused.raw)["name"] == "crack"
    (empty,) = read("20241015_140003.json", b"[]")
    assert isinstance(empty, BadRecord) and "empty list" in empty.reason


def test_an_element_that_is_no_record_does_not_stop_the_others() -> None:
    found = read("x.json", json.dumps([record("a.jpg"), 7, {"image_path": 3}, record("b.jpg")]).encode())
    assert [type(item) for item in found] == [ReadRecord, BadRecord, BadRecord, ReadRecord]
    assert [item.source[-1] for item in bad(found)] == ["2", "3"]


@pytest.mark.parametrize("tail", ["", ",", ', {"image_path": ', " 5]", ",]", ', {"x": "\\'])
def test_a_list_that_is_cut_off_keeps_what_came_before(tail: str) -> None:
    found = read("x.json", f"[{json.dumps(record())}{tail}".encode())
    assert isinstance(found[0], ReadRecord)
    assert "what follows in the file is not read" in bad(found)[0].reason


def test_what_follows_a_list_is_told() -> None:
    found = read("x.json", f"[{json.dumps(record())}]\n{json.dumps(record('b.jpg'))}".encode())
    assert [type(item) for item in found] == [ReadRecord, BadRecord]


def test_a_long_list_is_read_element_by_element() -> None:
    many = json.dumps([record(f"{number}.jpg", note="x" * 1000) for number in range(12_000)])
    assert len(many) > LONGEST_RECORD
    found = read("x.json", many.encode())
    assert len(found) == 12_000 and not bad(found)


def test_an_element_that_is_too_long_is_refused() -> None:
    data = json.dumps([record(), record(note="x" * (LONGEST_RECORD + (2 << 20)))]).encode()
    found = read("x.json", data)
    assert isinstance(found[0], ReadRecord) and "longer than" in bad(found)[0].reason


def test_a_file_written_on_in_another_encoding_gives_each_line_once() -> None:
    first = "\n".join(json.dumps(record(f"{number}.jpg")) for number in range(2)).encode()
    later = "\n".join(json.dumps(record(f"{number}.jpg")) for number in range(3)).encode("utf-16")
    found = list(read_file(merged_lines(file("x.ndjson", first), file("x.ndjson", later))))
    assert [item.record.image_path for item in found if isinstance(item, ReadRecord)] == ["0.jpg", "1.jpg", "2.jpg"]


def test_a_record_of_another_camera_is_bad_and_keeps_its_path() -> None:
    lines = b"\n".join(json.dumps(record(path)).encode() for path in ("a.jpg", f"cam2/{HOUR}/a.jpg"))
    good, refused = read_records([file("x.ndjson", lines)], FrameFolder.of("cam1", HOUR, ["a.jpg"]))
    assert isinstance(good, FrameRecord) and good.frame == "a.jpg"
    assert isinstance(refused, BadRecord) and refused.image_path == f"cam2/{HOUR}/a.jpg"
    assert refused.source == f"cam1/{HOUR}/x.ndjson:2"


@given(st.binary(max_size=200), st.sampled_from(["x.json", "x.ndjson", "x.jsonl"]))
def test_any_bytes_are_records_or_named(data: bytes, name: str) -> None:
    for item in read(name, data):
        assert isinstance(item, BadRecord) and item.reason and "\n" not in item.reason


def test_only_a_picture_that_lies_there_is_meant_by_a_path_from_elsewhere(tmp_path: Path) -> None:
    hour = SpoolHour.of(tmp_path, "cam1", HOUR)
    hour.path.mkdir(parents=True)
    (hour.path / "a.json").write_text(json.dumps(record("/tmp/yolo/a.jpg")))
    assert isinstance(next(hour.records()), BadRecord)
    (hour.path / "a.jpg").write_bytes(b"x")
    assert isinstance(next(hour.records()), FrameRecord)
