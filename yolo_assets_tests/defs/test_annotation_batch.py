"""``annotation_batch`` in Dagster: a frame that is no picture is left out and named, and the batch goes on."""

from __future__ import annotations

from pathlib import Path

from yolo_assets.contracts.times import Hour, format_time
from yolo_assets.defs.lanes import HourRange
from yolo_assets.local.driver import Graph

FOREIGN = Path(__file__).parents[1] / "foreign" / "spool"
HOUR = Hour.from_key("20260301_02")
THEIRS = "20241015_14"


def put_foreign_hour(spool: Path) -> Path:
    """The case of the frame of 0 bytes, as if it had happened in ``HOUR``."""
    folder = spool / "cam01" / HOUR.key
    folder.mkdir(parents=True)
    for path in (FOREIGN / "zero_byte_frame" / "cam01" / THEIRS).iterdir():
        data = path.read_bytes()
        if path.suffix == ".json":
            data = data.replace(THEIRS.encode(), HOUR.key.encode()).replace(b"2024-10-15T14", b"2026-03-01T02")
        (folder / path.name.replace(THEIRS, HOUR.key)).write_bytes(data)
    return folder


def test_a_batch_goes_on_without_frames_that_are_no_pictures(home: Path, graph: Graph) -> None:
    folder = put_foreign_hour(home / "spool")
    (empty,) = (path for path in folder.glob("*.jpg") if not path.stat().st_size)
    cut = folder / f"{HOUR.key}0100_000.jpg"
    cut.write_bytes(next(path for path in folder.glob("*.jpg") if path != empty).read_bytes()[:-9])
    graph.run(["hourly_archives"], HourRange(HOUR, HOUR))
    config = {"budget": 9, "since": format_time(HOUR.start), "until": format_time(HOUR.end)}
    config = {"ops": {"annotation_batch": {"config": config}}}
    made = graph.run(["annotation_batch"], config=config)["annotation_batch"]
    assert made["frames"] == 5 and made["left_out"] == 2
    told = {record.data["what"]: str(record.data["why"]) for record in made["left_out_why"].records}
    assert "0 bytes" in told[f"cam01/{HOUR.key}/{empty.name}"]
    assert "cut off" in told[f"cam01/{HOUR.key}/{cut.name}"]
    again = graph.run(["annotation_batch"], config=config)["annotation_batch"]
    assert again["frames"] == 0 and again["left_out"] == 2, "nothing is left to ask for, and nothing fails"
