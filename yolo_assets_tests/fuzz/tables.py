"""Tables out of records: whatever a record says it becomes a row, or a row of the quarantine with a reason."""

from __future__ import annotations

import io
from collections.abc import Iterator

from yolo_assets.spool.frames import FrameFolder
from yolo_assets.spool.records import BadRecord, RecordFile, read_records
from yolo_assets.tables.rows import build_tables
from yolo_assets_tests.fuzz.law import foreign
from yolo_assets_tests.fuzz.odd_json import mutate as mutate
from yolo_assets_tests.fuzz.records import FRAMES, HOUR


def seeds() -> Iterator[bytes]:
    """Records of the foreign spools, in lines."""
    for data in foreign("spool", ".json", ".ndjson"):
        yield b" ".join(data.split(b"\n")) if data[:1] == b"{" else data


def check(data: bytes) -> None:
    """The input is a file of lines."""
    file = RecordFile("records.ndjson", "cam1/records.ndjson", lambda: io.BytesIO(data))
    found = list(read_records([file], FrameFolder.of("cam1", HOUR, FRAMES)))
    tables = build_tables("cam1", HOUR, found)
    bad = {record.source for record in found if isinstance(record, BadRecord)}
    said = set(tables.quarantine["source"])
    assert bad <= said, bad - said
    assert all(reason and "\n" not in reason for reason in tables.quarantine["reason"])
    taken = set(tables.frames["image_path"])
    for record in found:
        if not isinstance(record, BadRecord):
            path = f"cam1/{HOUR.key}/{record.frame}"
            assert path in taken or record.source in said, (record.source, path)
