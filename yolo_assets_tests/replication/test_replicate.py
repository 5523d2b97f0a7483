"""A second copy of the archive: the same objects, in an order that holds at any moment, at the cost of what is new."""

from __future__ import annotations

from pathlib import Path

import pytest

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.audit.audit import audit, parse_share
from yolo_assets.archive.audit.verification import verify_archives
from yolo_assets.archive.options import ArchiveOptions
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.storage import StoreUnavailableError, open_store
from yolo_assets.storage.faults import Effect, FaultyStore, fail
from yolo_assets.storage.retrying import RetryBounds, RetryingStore
from yolo_assets_tests.support.two_places import TwoPlaces

HOURS = ("20260102_03", "20260102_04", "20260103_05")
ONCE = RetryBounds(tries=1)


@pytest.fixture
def places(tmp_path: Path) -> TwoPlaces:
    """Three hours in the archive."""
    places = TwoPlaces(tmp_path)
    for hour in HOURS:
        places.record(hour)
    places.archive()
    return places


def test_the_copy_holds_the_same_objects(places: TwoPlaces) -> None:
    audit(Archive(open_store(places.first), places.trusted), places.signer, parse_share("1"))
    done = places.replicate()
    first, second = places.objects(places.first), places.objects(places.second)
    assert first == second and done.complete
    assert done.counts.archives == 3 and done.counts.objects >= 2, "with the records of the audit"
    here, there = places.statements(places.first), places.statements(places.second)
    assert here == there and [(s.first, s.second) for s in here] == [(places.first, places.second)]
    assert [entry.name for entry in here[0].archives] == [f"yolo_cam1_{hour}" for hour in HOURS]


def test_a_second_run_sends_only_what_is_new(places: TwoPlaces) -> None:
    places.replicate()
    source, target = FaultyStore(open_store(places.first)), FaultyStore(open_store(places.second))
    done = places.replicate(source, target)
    assert done.counts.archives == 0 and not done.statements
    assert source.counts()["get"] == 0 and target.counts()["put_if_absent"] == 0
    places.record("20260103_06")
    places.record(HOURS[0], seed=5)  # late frames: part 2 of the first hour
    places.archive()
    done = places.replicate(source, target)
    assert done.counts.archives == 2 and source.counts()["get"] == 4, "receipt and index of each"
    assert places.objects(places.first) == places.objects(places.second)


def test_checkpoints_keys_and_the_audit_trail_go_along(places: TwoPlaces) -> None:
    places.replicate()
    first, root = open_store(places.first), places.root / "store"
    written = {
        "checkpoints/00000001.checkpoint": first,
        "checkpoints/00000001-0123456789abcdef.receipts.gz": first,
        "audit/trail/0000000001.json": open_store(root.as_uri()),
        "keys/devices/0123456789abcdef.json": open_store(root.as_uri()),
    }
    for key, store in written.items():
        store.put(key, key.encode())
    assert places.replicate().counts.objects == 4
    second = places.objects(places.second)
    assert all(second[key] == key.encode() for key in written)
    assert places.replicate().counts.objects == 0


def test_years_of_receipts_are_not_listed_again(places: TwoPlaces, monkeypatch: pytest.MonkeyPatch) -> None:
    from yolo_assets.replication import replicate

    places.replicate()
    monkeypatch.setattr(replicate, "SLICE", 0)
    source = FaultyStore(open_store(places.first))
    listed: list[str | None] = []
    inner = source.list
    monkeypatch.setattr(
        source,
        "list",
        lambda prefix, *, start_after=None: listed.append(start_after) or inner(prefix, start_after=start_after),
    )
    places.replicate(source)
    after = [key for key in listed if key is not None and key.startswith("receipts/date=")]
    assert len(after) == 1 and after[0] > "receipts/date=2026-01-03", "from two days before the last run"


@pytest.mark.parametrize("effect", ["before", "after"])
def test_no_receipt_without_its_archive_whatever_fails(places: TwoPlaces, effect: Effect) -> None:
    for nth in range(1, 11):  # nine objects of three archives, and the statement
        places.second = (places.root / f"second-{nth}").as_uri()
        target = FaultyStore(open_store(places.second), fail("put_if_absent", nth=nth, effect=effect))
        with pytest.raises(StoreUnavailableError):
            places.replicate(second=target)
        keys = set(places.objects(places.second))
        names = [ArchiveName.parse(key) for key in keys if key.startswith("receipts/")]
        assert all({name.archive_key, name.index_key} <= keys for name in names)
        assert places.replicate().complete
        assert places.objects(places.first).items() <= places.objects(places.second).items()
        named = {entry.name for statement in places.statements(places.second) for entry in statement.archives}
        assert named == {f"yolo_cam1_{hour}" for hour in HOURS}, "also those of the run that failed"


def test_an_upload_that_broke_off_is_resumed(tmp_path: Path) -> None:
    places = TwoPlaces(tmp_path)
    places.record(HOURS[0], frames=10, size=5 << 20)
    places.archive(ArchiveOptions(whole=0))
    target = FaultyStore(open_store(places.second), fail("upload_part", nth=5, times=None))
    with pytest.raises(StoreUnavailableError):
        places.replicate(second=RetryingStore(target, ONCE))
    done = places.replicate()
    assert done.counts.parts_resumed >= 2 and done.counts.parts_sent + done.counts.parts_resumed >= 7
    assert places.objects(places.first) == places.objects(places.second)
    assert [path.name for path in next((tmp_path / "home" / "copying").iterdir()).iterdir()] == ["pending.ndjson"]


def test_what_is_damaged_in_the_first_place_is_not_copied(places: TwoPlaces) -> None:
    name = ArchiveName.parse(f"yolo_cam1_{HOURS[1]}")
    store = open_store(places.first)
    data = bytearray(store.get(name.archive_key))
    data[len(data) // 2] ^= 1
    store.put(name.archive_key, bytes(data))
    done = places.replicate()
    assert (
        done.failed_count == 1
        and done.failed[0].name == name.stem
        and "not what its receipt says" in done.failed[0].reason
    )
    second = places.objects(places.second)
    assert not any(key in second for key in (name.archive_key, name.index_key, name.receipt_key))
    assert done.counts.archives == 2, "the others are copied"
    data[len(data) // 2] ^= 1
    store.put(name.archive_key, bytes(data))
    assert places.replicate().failed_count == 0
    assert places.objects(places.second)[name.archive_key] == bytes(data)


def test_another_object_in_the_second_place_is_never_overwritten(places: TwoPlaces) -> None:
    name = ArchiveName.parse(f"yolo_cam1_{HOURS[0]}")
    open_store(places.second).put(name.archive_key, b"something else")
    done = places.replicate()
    assert "holds other bytes" in done.failed[0].reason
    assert open_store(places.second).get(name.archive_key) == b"something else"


def test_the_copy_verifies_by_itself(places: TwoPlaces) -> None:
    places.replicate()
    copy = Archive(open_store(places.second), places.trusted)
    for how in ("head", "full"):
        for report in verify_archives(copy, list(copy.names()), how):
            assert report.ok, report.problems
    name = next(copy.names())
    copy.store.put(name.archive_key, copy.store.get(name.archive_key))
    report = next(verify_archives(Archive(copy.store, places.trusted), [name]))
    assert "ETag differs" in report.problems[0], "its statement says what it was"
