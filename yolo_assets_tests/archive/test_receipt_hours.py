"""The archive seen by listing alone: every hour once, however small the pieces; strange keys change nothing."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.archiving import archive_hour
from yolo_assets.archive.listing import ListedHour, list_day, list_hour, parts_version, read_hours, sweep
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour
from yolo_assets.storage import open_store

FIRST = Hour(datetime(2026, 1, 30, 22, tzinfo=UTC))
NAMES = [
    ArchiveName(camera, FIRST.next(offset), part)
    for offset in (0, 1, 2, 3, 30, 31)  # over the end of a day and of a month
    for camera in ("a", "a-b", "a_b", "z")
    for part in (1, 2)
]
STRANGE = (
    "receipts/readme.txt",
    "receipts/date=2026-01-30/hour=22/notes.txt",
    "receipts/date=2026-01-30/hour=99/yolo_a_20260130_22.receipt.json",
    "receipts/date=nonsense/hour=01/yolo_a_20260130_22.receipt.json",
    "receipts/z",
)


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    store = open_store((tmp_path_factory.mktemp("listing") / "archive").as_uri())
    for key in (*(name.receipt_key for name in NAMES), *STRANGE):
        store.put(key, b"not read")
    return Archive(store, TrustedKeys({}))


def expected(names: list[ArchiveName]) -> list[ListedHour]:
    hours = sorted({name.hour for name in names})
    return [ListedHour(hour, tuple(sorted(n.stem for n in names if n.hour == hour))) for hour in hours]


def sets(hours: list[ListedHour]) -> list[tuple[Hour, set[str]]]:
    return [(hour.hour, set(hour.stems)) for hour in hours]


@pytest.mark.parametrize("seconds", [0, 60])
def test_a_sweep_passes_every_hour_once_and_begins_again(listed: Archive, seconds: float) -> None:
    seen: list[ListedHour] = []
    position = ""
    for _ in range(20):
        piece = sweep(listed, position, FIRST.next(1000), seconds)
        seen += piece.hours
        position = piece.position
        if not position:
            break
    assert position == "" and sets(seen) == sets(expected(NAMES))


def test_a_sweep_ends_at_its_bound_and_restarts_from_a_bad_cursor(listed: Archive) -> None:
    piece = sweep(listed, "no place at all", FIRST.next(30), 60)
    assert piece.position == "" and [hour.hour for hour in piece.hours] == [FIRST.next(n) for n in range(4)]


def test_days_and_hours(listed: Archive) -> None:
    assert [hour.hour for hour in list_day(listed, "2026-01-31")] == [FIRST.next(2), FIRST.next(3)]
    assert set(list_hour(listed, FIRST).stems) == {name.stem for name in NAMES if name.hour == FIRST}
    assert list_hour(listed, FIRST.next(7)).version == "" == parts_version([])


@given(st.sets(st.sampled_from(NAMES)), st.sets(st.sampled_from(NAMES)))
def test_the_version_is_the_set_of_parts(one: set[ArchiveName], other: set[ArchiveName]) -> None:
    versions = [parts_version(name.stem for name in names) for names in (one, other)]
    assert (versions[0] == versions[1]) == (one == other)


def test_what_is_read_is_verified_and_the_untrusted_is_listed(
    archive: Archive, signer: Signer, trusted: TrustedKeys, fill_hour, tmp_path: Path
) -> None:
    hour = fill_hour()
    archive_hour(hour, archive, signer)
    name = ArchiveName(hour.camera_id, hour.hour)
    good = archive.store.get(name.receipt_key)
    archive.store.put(ArchiveName("cam2", hour.hour).receipt_key, good)
    archive.store.put(ArchiveName("cam3", hour.hour).receipt_key, b"{}")
    (found,) = read_hours(archive, [list_hour(archive, hour.hour)])
    assert [receipt.camera_id for receipt in found.receipts] == ["cam1"]
    assert found.version == parts_version([name.stem])
    assert {one.key.rsplit("/", 1)[-1].split("_")[1] for one in found.untrusted} == {"cam2", "cam3"}
    stranger = TrustedKeys.of(Signer.load_or_create(tmp_path / "other"))
    (found,) = read_hours(Archive(archive.store, stranger), [list_hour(archive, hour.hour)])
    assert not found.receipts and found.version == "" and len(found.untrusted) == 3
