"""Detection records: objects, arrays and lines, in any encoding."""

from __future__ import annotations

import io
from collections.abc import Iterator

from yolo_assets.contracts.times import Hour
from yolo_assets.spool.frames import FrameFolder
from yolo_assets.spool.records import BadRecord, FrameRecord, RecordFile, parse_record, read_records
from yolo_assets_tests.fuzz.law import foreign
from yolo_assets_tests.fuzz.odd_json import mutate as mutate

NAMES = ("20241015_140001_000.json", "records.ndjson", "x.jsonl", "foreign.json")
FRAMES = ("20241015_140001_000.jpg", "20241015_140002.jpg", "defect é.PNG")
HOUR = Hour.from_key("20241015_14")


def seeds() -> Iterator[bytes]:
    """The records of the foreign spools, each as each kind of file."""
    for data in {*foreign("spool", ".json", ".ndjson", ".jsonl")}:
        for number in range(len(NAMES)):
            yield bytes([number]) + data


def check(data: bytes) -> None:
    """The first byte says what the file is called."""
    name = NAMES[data[0] % len(NAMES)] if data else NAMES[0]
    file = RecordFile(name, f"cam1/{HOUR.key}/{name}", lambda: io.BytesIO(data[1:]))
    for found in read_records([file], FrameFolder.of("cam1", HOUR, FRAMES)):
        if isinstance(found, BadRecord):
            assert found.reason and "\n" not in found.reason and found.source.startswith(file.source), found
            continue
        assert isinstance(found, FrameRecord) and found.frame and "/" not in found.frame, found
        written = found.record.to_json()  # times in milliseconds, as ours are
        again = parse_record(written, "again")
        assert not isinstance(again, BadRecord) and again.to_json() == written, (again, found.record)
