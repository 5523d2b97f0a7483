"""What others wrote comes back exactly: frames by their own time, pairs of picture and record, pictures of any kind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.near_hours import archives_holding
from yolo_assets.archive.restore.filter import FrameFilter
from yolo_assets.archive.restore.one_frame import one_frame
from yolo_assets.archive.restore.plan import plan_restore
from yolo_assets.archive.restore.writing import restore
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import ArchiveName, frame_name
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour
from yolo_assets.spool.frames import frame_stem
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.spool.records import FrameRecord
from yolo_assets.storage import ObjectStore, open_store
from yolo_assets.storage.decorators import ForwardingStore
from yolo_assets_tests.support.one_round import run_archiver

FOREIGN = Path(__file__).parents[1] / "foreign" / "spool"
HOUR = Hour.from_key("20241015_14")
STRAY = "20241015_150000_100.jpg"
Archived = Callable[[str], Archive]


@pytest.fixture
def archived(tmp_path: Path, archive: Archive, signer: Signer) -> Archived:
    """Archives a foreign spool."""

    def work(case: str) -> Archive:
        shutil.copytree(FOREIGN / case, tmp_path / "spool")
        results = run_archiver(tmp_path / "spool", archive, signer, grace_seconds=0)
        assert results and all(result.status == "archived" for result in results)
        return archive

    return work


def at(hour: int, minute: int, second: float = 0) -> datetime:
    return datetime(2024, 10, 15, hour, minute, tzinfo=UTC) + timedelta(seconds=second)


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


class Counting(ForwardingStore):
    """Counts requests."""

    def __init__(self, store: ObjectStore) -> None:
        super().__init__(store)
        self.requests: list[str] = []

    def _around(self, operation: str, key: str, request: Callable[[], Any]) -> Any:
        self.requests.append(f"{operation} {key}")
        return request()

    def list(self, prefix: str = "", **options: Any) -> Iterator[Any]:
        self.requests.append(f"list {prefix}")
        return super().list(prefix, **options)


def uncounted(archive: Archive, signer: Signer) -> None:
    """Make every receipt one of an earlier version, which counted nothing outside the hour."""
    for name in list(archive.names()):
        receipt = archive.receipt(name)
        older = receipt.model_copy(update={"outside_hour": None, "records_without_frame": None, "signature": None})
        assert b"outside" not in older.payload() and b"without_frame" not in older.payload()
        archive.store.put(name.receipt_key, signer.seal(older.payload(), "receipt").to_json())
        assert archive.receipt(name).outside_hour is None


@pytest.mark.parametrize("earlier", [False, True], ids=["counted", "receipts-of-before"])
def test_a_frame_beside_its_folders_hour_is_found_by_its_time(
    earlier: bool, archived: Archived, signer: Signer, tmp_path: Path
) -> None:
    archive = archived("hour_border")
    outside = archive.receipt(ArchiveName("late", HOUR)).outside_hour
    assert outside is not None
    assert (outside.count, outside.first, outside.last) == (1, at(15, 0, 0.1), at(15, 0, 0.1))
    inside = archive.receipt(ArchiveName("late", HOUR.next())).outside_hour
    assert inside is not None and (inside.count, inside.first) == (0, None)
    if earlier:
        uncounted(archive, signer)
    for camera in ("late", None):
        out = tmp_path / f"out-{camera}"
        assert restore(archive, camera, at(15, 0), at(15, 10), out).ok
        assert names(out / "late") == {
            f"20241015_14/{STRAY}",
            "20241015_14/20241015_150000_100.json",
            "20241015_15/20241015_150001_100.jpg",
            "20241015_15/20241015_150001_100.json",
        }
    one = tmp_path / "one"
    restore(archive, "late", at(15, 0), at(15, 0, 1), one, class_name="defect_crack")
    assert names(one) == {f"late/20241015_14/{STRAY}", "late/20241015_14/20241015_150000_100.json"}
    picture = (FOREIGN / "hour_border" / "late" / HOUR.key / STRAY).read_bytes()
    assert archive.cat("late", frame=STRAY) == (STRAY, picture)
    for moment, expected in (
        (at(15, 0, 0.1), STRAY),
        (at(15, 0, 1), STRAY),
        (at(15, 0, 1.1), "20241015_150001_100.jpg"),
        (at(15, 0, 0.099), "20241015_145959_900.jpg"),
        (at(15, 0, 0), "20241015_145959_900.jpg"),
    ):
        assert one_frame(archive, "late", at=moment).name == expected, moment
    assert one_frame(archive, "late", frame=STRAY).data == picture
    whole = tmp_path / "whole"
    restore(archive, "late", HOUR.start, HOUR.end, whole)
    assert len(names(whole)) == 4, "the archive of a whole hour comes whole"


def test_a_question_about_a_time_reads_two_hours_more_and_no_archive(
    archived: Archived, signer: Signer, tmp_path: Path, trusted: TrustedKeys
) -> None:
    archived("hour_border")
    plain = open_store((tmp_path / "archive").as_uri())
    for start, hours in ((at(15, 0), {14, 15}), (at(15, 30), {15}), (at(13, 0), set[int]()), (at(16, 0), set[int]())):
        store = Counting(plain)
        found = archives_holding(Archive(store, trusted), start, start + timedelta(minutes=10), camera_id="late")
        assert {name.hour.start.hour for name in found} == hours
        assert len([line for line in store.requests if line.startswith("list")]) <= 5
        assert len([line for line in store.requests if not line.startswith("list")]) <= 2, store.requests


def test_the_example_record_is_found_by_its_frame_and_by_its_second(archived: Archived, tmp_path: Path) -> None:
    archive = archived("seed_record")
    frame = one_frame(archive, "camera_01", frame="20241015_140002.jpg")
    assert (frame.name, frame.hour) == ("20241015_140002.jpg", HOUR)
    assert one_frame(archive, "camera_01", at=at(14, 0, 2.5)).name == "20241015_140002.jpg"
    restore(archive, "camera_01", at(14, 0, 2), at(14, 0, 3), tmp_path / "out")
    pair = {"20241015_140002.jpg", "20241015_140002.json"}
    assert names(tmp_path / "out" / "camera_01" / HOUR.key) == pair
    restore(archive, "camera_01", HOUR.start, HOUR.end, tmp_path / "class", class_name="defect_crack")
    assert names(tmp_path / "class" / "camera_01" / HOUR.key) == pair


def test_pictures_of_other_kinds_count_and_come_with_their_records(archived: Archived, tmp_path: Path) -> None:
    archive = archived("png_beside_jpg")
    receipt = archive.receipt(ArchiveName("cam01", HOUR))
    assert (receipt.frame_count, receipt.file_count, receipt.records_without_frame) == (4, 8, 0)
    (found,) = receipt.classes
    restore(archive, "cam01", HOUR.start, HOUR.end, tmp_path / "pairs", class_name=found)
    assert len(names(tmp_path / "pairs")) == 8
    restore(archive, "cam01", HOUR.start, HOUR.end, tmp_path / "frames", class_name=found, frames_only=True)
    assert sorted(Path(name).suffix for name in names(tmp_path / "frames")) == [".jpg", ".jpg", ".png", ".png"]
    png = "20241015_140001_000.png"
    assert one_frame(archive, "cam01", frame=png).data.startswith(b"\x89PNG")
    assert one_frame(archive, "cam01", at=at(14, 0, 1.5)).name == png


def record(frame: str, confidence: float, **more: object) -> dict[str, object]:
    found = {"bbox": [1, 2, 3, 4], "class": "crack", "confidence": confidence, "timestamp": "2024-10-15T14:00:00Z"}
    return {"image_path": frame, "detections": [found], "model_version": "m", "device_id": "d", **more}


def test_a_frame_without_a_time_in_its_name_goes_by_its_record(
    archive: Archive, signer: Signer, tmp_path: Path
) -> None:
    hour = SpoolHour.of(tmp_path / "spool", "cam1", HOUR)
    hour.path.mkdir(parents=True)
    for number, moment in enumerate((at(14, 0, 2), at(14, 0, 3), at(15, 0, 0.2))):
        (hour.path / f"part{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n%d" % number)
        line = record(f"part{number}.png", 0.9, captured_at=moment.isoformat())
        (hour.path / f"part{number}.json").write_text(json.dumps(line))
    (hour.path / "nobody_knows.bmp").write_bytes(b"BM")
    for second in (2, 3):
        (hour.path / f"20241015_14000{second}.jpg").write_bytes(b"\xff\xd8\xff%d" % second)
        line = record(f"20241015_14000{second}.jpg", 0.9)
        (hour.path / f"result-{second}.json").write_text(json.dumps(line))
    (hour.path / "metadata.json").write_text('{"line": 7}')
    run_archiver(tmp_path / "spool", archive, signer, grace_seconds=0)
    outside = archive.receipt(ArchiveName("cam1", HOUR)).outside_hour
    assert outside is not None and (outside.count, outside.first) == (1, at(15, 0, 0.2))

    def between(start: datetime, end: datetime) -> set[str]:
        out = tmp_path / f"{start:%H%M%S}"
        restore(archive, "cam1", start, end, out)
        return {name.removeprefix(f"cam1/{HOUR}/") for name in names(out)}

    own = {"part0.png", "part0.json", "20241015_140002.jpg", "result-2.json"}
    assert between(at(14, 0, 2), at(14, 0, 3)) == own | {"nobody_knows.bmp", "metadata.json"}
    assert between(at(15, 0), at(15, 10)) == {"part2.png", "part2.json", "metadata.json"}


def test_records_that_cannot_be_understood_are_counted_where_they_are_searched(
    archive: Archive, signer: Signer, tmp_path: Path
) -> None:
    hour = SpoolHour.of(tmp_path / "spool", "cam1", HOUR)
    hour.path.mkdir(parents=True)
    for second in range(4):
        (hour.path / f"20241015_14000{second}.jpg").write_bytes(b"\xff\xd8\xff%d" % second)
    good = record("20241015_140000.jpg", 0.9)
    elsewhere = record("cam2/20241015_140001.jpg", 0.9, camera_id="cam2")
    impossible = record("20241015_140002.jpg", 0.9, captured_at="0001-01-01T00:00:00+08:00")
    lines = [json.dumps(good), json.dumps(elsewhere), json.dumps(impossible), "{half"]
    (hour.path / "records.ndjson").write_text("\n".join(lines))
    (hour.path / "20241015_140003.json").write_text("[]")
    run_archiver(tmp_path / "spool", archive, signer, grace_seconds=0)
    out = tmp_path / "out"
    plan = plan_restore(archive, FrameFilter(HOUR.start, HOUR.end, "cam1", class_name="crack"), out)
    assert (plan.files, plan.unreadable) == (2, 4)
    assert restore(archive, "cam1", HOUR.start, HOUR.end, out, class_name="crack").ok
    assert names(out / "cam1" / HOUR.key) == {"20241015_140000.jpg", "20241015_140000.ndjson"}


def test_the_receipt_counts_records_whose_frame_is_nowhere(archive: Archive, signer: Signer, tmp_path: Path) -> None:
    hour = SpoolHour.of(tmp_path / "spool", "cam1", HOUR)
    hour.path.mkdir(parents=True)
    (hour.path / "20241015_140000.jpg").write_bytes(b"\xff\xd8\xff")
    lines = [record(f"20241015_14000{number}.jpg", 0.9) for number in range(3)]
    lines.append(record("20241015_140003.jpg", 0.9, image_saved=False))
    (hour.path / "r.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run_archiver(tmp_path / "spool", archive, signer, grace_seconds=0, keep_local=True)
    assert archive.receipt(ArchiveName("cam1", HOUR)).records_without_frame == 2
    (hour.path / "20241015_140001.jpg").write_bytes(b"\xff\xd8\xff1")
    (hour.path / "r.jsonl").write_text("".join(json.dumps(line) + "\n" for line in reversed(lines)))
    run_archiver(tmp_path / "spool", archive, signer, grace_seconds=0, keep_local=True)
    second = archive.receipt(ArchiveName("cam1", HOUR, 2))
    assert second.records_without_frame == 1, "one picture lies in part 1, one came with part 2"


def test_a_name_is_accepted_as_listings_spell_it(archive: Archive, signer: Signer, tmp_path: Path) -> None:
    hour = SpoolHour.of(tmp_path / "spool", "cam1", HOUR)
    hour.path.mkdir(parents=True)
    odd = [b"latin1_\xe9.jpg", b"back\\slash.jpg", rb"literal_\xe9.jpg", "für.png".encode()]
    for number, name in enumerate(odd):
        with open(bytes(hour.path) + b"/" + name, "wb") as file:
            file.write(b"picture %d" % number)
    run_archiver(tmp_path / "spool", archive, signer, grace_seconds=0)
    listed = [row.name for row in archive.part(archive.receipt(ArchiveName("cam1", HOUR))).index()]
    found = {one_frame(archive, "cam1", frame=name, hour=HOUR).data for name in listed}
    assert found == {b"picture %d" % number for number in range(4)}
    with pytest.raises(BadInputError):
        one_frame(archive, "cam1", frame="no_time.jpg")


frames = st.lists(
    st.tuples(
        st.integers(0, 3599),
        st.sampled_from(["json", "line", "array", "both", "none"]),
        st.integers(0, 10),
        st.booleans(),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda frame: frame[0],
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frames=frames, least=st.integers(0, 10), start=st.integers(0, 3599), seconds=st.integers(1, 4000))
def test_conditions_give_exactly_the_pairs(
    frames: list[tuple[int, str, int, bool]],
    least: int,
    start: int,
    seconds: int,
    signer: Signer,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("pairs")
    archive = Archive(open_store((folder / "archive").as_uri()), TrustedKeys.of(signer))
    hour = SpoolHour.of(folder / "spool", "cam1", HOUR)
    hour.path.mkdir(parents=True)
    lines, array, expected, pictures = [], [], {}, set()
    since, until = HOUR.start + timedelta(seconds=start), HOUR.start + timedelta(seconds=start + seconds)
    for second, form, tenths, kept in frames:
        moment = HOUR.start + timedelta(seconds=second)
        name = frame_name(moment)
        if kept:
            (hour.path / name).write_bytes(b"\xff\xd8\xff" + name.encode())
        document = record(f"cam1/{HOUR}/{name}", tenths / 10, sequence=second)
        if form in ("json", "both"):
            (hour.path / f"{frame_stem(name)}.json").write_text(json.dumps(document))
        if form in ("line", "both"):  # the file wins over the line
            lines.append(document if form == "line" else document | {"detections": []})
        if form == "array":
            array.append(document)
        if form != "none" and tenths >= least and since <= moment < until:
            expected[name] = document
            pictures |= {name} if kept else set()
    (hour.path / "records.ndjson").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (hour.path / "all.json").write_text(json.dumps(array))
    run_archiver(folder / "spool", archive, signer, grace_seconds=0)

    wanted = {"class_name": "crack", "min_confidence": least / 10}
    plan = plan_restore(archive, FrameFilter(since, until, "cam1", **wanted), folder / "out")  # type: ignore[arg-type]
    done = restore(archive, "cam1", since, until, folder / "out", **wanted)  # type: ignore[arg-type]
    assert done.ok and done.files == plan.files and done.bytes == plan.bytes
    back = SpoolHour.of(folder / "out", "cam1", HOUR)
    assert {member.name for member in back.frames()} == pictures
    found = {one.frame: one.record for one in back.records() if isinstance(one, FrameRecord)}
    assert {name: one.sequence for name, one in found.items()} == {n: d["sequence"] for n, d in expected.items()}
    assert len(list(back.records())) == len(expected), "and nothing else"
    again = restore(archive, "cam1", since, until, folder / "out", **wanted)  # type: ignore[arg-type]
    assert again.ok and (again.files, again.skipped) == (0, done.files)
    only = restore(archive, "cam1", since, until, folder / "only", frames_only=True, **wanted)  # type: ignore[arg-type]
    assert only.files == len(pictures)
