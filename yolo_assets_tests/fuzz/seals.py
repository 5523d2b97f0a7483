"""What lies beside the frames of an hour: seal, drops, the archiver's plan and receipts, the frame journal."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from yolo_assets.contracts.spool import ArchivePlan, Seal
from yolo_assets.spool.frame_journal import SLOT, FrameJournal
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.spool.traces import count_hour, last_sequence, read_traces, used_stems
from yolo_assets_tests.fuzz.law import refused_or, scratch
from yolo_assets_tests.fuzz.odd_json import mutate as mutate

FILES = (
    ".sealed",
    "drops.log",
    "x.late-drop.log",
    "records.ndjson",
    ".archiving.json",
    ".uploaded",
    ".uploaded.members",
)
MOMENT = datetime(2024, 10, 15, 15, tzinfo=UTC)


def seeds() -> Iterator[bytes]:
    """A good example of each, and a slot of the journal."""
    seal = Seal(
        camera_id="cam1",
        hour="20241015_14",
        device_id="d",
        frames=1,
        records=1,
        bytes=9,
        captured=2,
        processed=1,
        dropped={"overload": 1},
        sealed_at=MOMENT,
    )
    plan = (
        b'{"archive_key":"k","camera_id":"cam1","codec":"c","created_at":"2024-10-15T15:00:00.000Z","hour":"20241015_14",'
        b'"members":[{"mtime_ns":1,"name":"a.jpg","size":1}],"part":1,"part_size":5,"writer_version":"1"}'
    )
    yield b"\0" + seal.to_json()
    for number in (1, 2):
        yield (
            bytes([number]) + b'{"reason":"overload","count":2,"sequence":7,"image":"a.jpg","claims":["torn-1"]}\n{"rea'
        )
    yield b'\3{"image_path":"cam1/20241015_14/a.jpg","model_version":"line/1","sequence":8}\n{"image_path":"b'
    for number in (4, 5, 6):
        yield bytes([number]) + plan
    yield (
        b'\7{"camera":"cam1","generation":3,"captured":5,"next":6,"processed":4,"dropped":{"overload":1},'
        b'"hours":{"20241015_14":[[0,2],[["overload",3,1,["a.jpg"]]]]}}'
    )


@cache
def _hour() -> Path:
    hour = scratch() / "cam1" / "20241015_14"
    hour.mkdir(parents=True)
    return hour


def check(data: bytes) -> None:
    """The first byte says which file it is; the others are not there."""
    number, content = (data[0] % (len(FILES) + 1), data[1:]) if data else (0, b"")
    if number == len(FILES):
        _journal(content)
        return
    folder = _hour()
    (folder / FILES[number]).write_bytes(content)
    try:
        hour = SpoolHour.at(folder)
        seal = refused_or(hour.seal)
        if seal is not None:
            assert Seal.from_json(seal.to_json()).to_json() == seal.to_json()
        plan = refused_or(lambda: ArchivePlan.from_json(content))
        if plan is not None:
            assert ArchivePlan.from_json(plan.to_json()).to_json() == plan.to_json()
        refused_or(hour.receipts)
        refused_or(hour.folder)
        refused_or(hour.uncovered_members)
        refused_or(lambda: [*hour.records()])
        traces = refused_or(lambda: read_traces(hour))
        if traces is not None:
            counted = refused_or(lambda: count_hour(hour, traces, "d", MOMENT))
            assert counted is None or Seal.from_json(counted.to_json()) == counted
        assert refused_or(lambda: last_sequence(hour)) is not None
        refused_or(lambda: used_stems(hour))
    finally:
        (folder / FILES[number]).unlink()


def _journal(content: bytes) -> None:
    """A slot whose checksum fits: what a disk gave back as it was written, by whatever program."""
    path = _hour().parent / "frames.journal"
    line = content.replace(b"\n", b" ")
    path.write_bytes((b"%08x %s\n" % (zlib.crc32(line), line)).ljust(SLOT, b"\0"))
    try:
        FrameJournal(["cam1"], path).close()
    finally:
        path.unlink(missing_ok=True)
