"""Rotating audits of a real archive root: what is due is verified, recorded, and counted; all damage is reported."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import orjson
import pytest

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.audit import audit as audit_module
from yolo_assets.archive.audit.audit import audit, coverage
from yolo_assets.archive.audit.census import take_census
from yolo_assets.archive.listing import archives_between
from yolo_assets.contracts.names import AUDIT, ArchiveName
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour
from yolo_assets.spool.writer import SpoolWriter
from yolo_assets.storage import StoreUnavailableError, open_store
from yolo_assets.storage.faults import FaultyStore, fail
from yolo_assets_tests.support.one_round import run_archiver
from yolo_assets_tests.support.records import frame_record
from yolo_assets_tests.support.signed import content, sealed, with_content

HOUR = Hour.from_key("20260102_03")
NOW = HOUR.start + timedelta(days=10)
CAMERAS = 7

Fill = Callable[[Archive], list[ArchiveName]]


@pytest.fixture
def fill(tmp_path: Path, signer: Signer) -> Fill:
    """Archives an hour of seven cameras."""

    def run(archive: Archive) -> list[ArchiveName]:
        spool = tmp_path / "spool"
        for number in range(CAMERAS):
            with SpoolWriter(spool, f"cam{number}", "box1") as writer:
                writer.write(
                    HOUR.start,
                    frame_record({"detections": [], "model_version": "m", "device_id": "d"}),
                    b"x" * 500 * number,
                )
                writer.seal(HOUR)
        assert {result.status for result in run_archiver(spool, archive, signer)} == {"archived"}
        return list(archives_between(archive))

    return run


@pytest.fixture
def names(archive: Archive, fill: Fill) -> list[ArchiveName]:
    """In a folder."""
    return fill(archive)


def test_a_round_verifies_every_archive_and_reports_it(store_url: str, fill: Fill, signer: Signer) -> None:
    """In a folder and in S3."""
    archive = Archive(open_store(store_url), TrustedKeys.of(signer))
    names = fill(archive)
    seen: list[str] = []
    for day in range(3):
        now = NOW + timedelta(days=day)
        done = audit(archive, signer, Fraction(1, 3), "full", now, report=lambda one: seen.append(one.name))
        assert done.ok and done.chosen == done.full > 0 and done.bytes_read > 0
        assert done.coverage.full == len(set(seen)) and done.coverage.days == 3
    assert set(seen) == {name.stem for name in names} and len(set(seen[:6])) == 6
    assert coverage(archive, 30, NOW + timedelta(days=3)).full == CAMERAS
    later = coverage(archive, 1.5, NOW + timedelta(days=3))
    assert 0 < later.full < CAMERAS and later.oldest in set(seen[:3]) - set(seen[6:])
    assert coverage(archive, 1, NOW + timedelta(days=9)).full == 0


def test_records_are_signed_and_never_written_again(
    names: list[ArchiveName], archive: Archive, signer: Signer, trusted: TrustedKeys
) -> None:
    first = audit(archive, signer, Fraction(1), "head", NOW)
    kept = {info.key: archive.store.get(info.key) for info in archive.store.list(AUDIT)}
    audit(archive, signer, Fraction(1), "head", NOW)
    assert {key: archive.store.get(key) for key in kept} == kept
    assert len(list(archive.store.list(AUDIT))) == 4  # a claim and a record each
    (key,) = first.records
    document = orjson.loads(trusted.open_document(kept[key], "archive-audit", key).payload)
    assert sorted(document["head"]) == [name.stem for name in names]


def test_a_changed_record_does_not_count_and_is_reported(
    names: list[ArchiveName], archive: Archive, signer: Signer, trusted: TrustedKeys, tmp_path: Path
) -> None:
    (key,) = audit(archive, signer, Fraction(1, 7), "full", NOW).records
    document = content(archive.store.get(key))
    forged = document | {"full": [name.stem for name in names]}
    archive.store.put(key, with_content(archive.store.get(key), forged))
    found = coverage(archive, 30, NOW)
    assert found.full == 0 and "was changed" in found.distrusted[0] and key in found.distrusted[0]
    stranger = Signer.load_or_create(tmp_path / "stranger")
    archive.store.put(key, sealed(stranger, document, "archive-audit"))
    assert "not trusted" in coverage(archive, 30, NOW).distrusted[0]


def test_an_audit_without_a_key_verifies_but_does_not_count(
    names: list[ArchiveName], archive: Archive, trusted: TrustedKeys, signer: Signer
) -> None:
    chosen = [audit(archive, None, Fraction(1, 2), "head", NOW + timedelta(days=day)) for day in range(2)]
    assert sum(one.head for one in chosen) >= CAMERAS
    found = chosen[-1].coverage
    assert (found.full, found.head, found.unsigned) == (0, 0, CAMERAS)
    signed = audit(archive, signer, Fraction(1), "head", NOW + timedelta(days=2))
    assert (signed.chosen, signed.coverage.head, signed.coverage.unsigned) == (CAMERAS, CAMERAS, 0)


def spoil(archive: Archive, name: ArchiveName, damage: str) -> None:
    if damage == "archive gone":
        archive.store.delete(name.archive_key)
    elif damage == "index gone":
        archive.store.delete(name.index_key)
    elif damage == "archive damaged":
        data = bytearray(archive.store.get(name.archive_key))
        data[len(data) // 2] ^= 1
        archive.store.put(name.archive_key, bytes(data))
    else:
        archive.store.put(name.receipt_key, b"{")


@pytest.mark.parametrize("damage", ["archive gone", "index gone", "archive damaged", "receipt damaged"])
def test_damage_is_found_in_a_round_and_reported_until_repaired(
    damage: str, names: list[ArchiveName], archive: Archive, signer: Signer, trusted: TrustedKeys
) -> None:
    bad = names[4]
    keys = (bad.archive_key, bad.index_key, bad.receipt_key)
    before = {key: archive.store.get(key) for key in keys}
    spoil(archive, bad, damage)
    found = [audit(archive, signer, Fraction(1, 3), "full", NOW + timedelta(days=day)) for day in range(5)]
    told = [bad.stem in one.problems for one in found]
    first = told.index(True)
    assert first < 3 and all(told[first:]), "an alarm lasts as long as the damage"
    if damage.endswith("gone"):
        assert first == 0, "what is gone altogether is seen in the listings, whatever is due"
    for one, bad_now in zip(found, told, strict=True):
        assert one.ok != bad_now and (bad.stem in one.coverage.wrong) == bad_now
    assert found[2].coverage.full == CAMERAS - 1
    for key, data in before.items():
        archive.store.put(key, data)
    mended = audit(archive, signer, Fraction(1, 3), "full", NOW + timedelta(days=6))
    assert mended.ok and not mended.coverage.wrong


def failing(archive: Archive, key: str, error: BaseException) -> Archive:
    """An archive whose store stops answering for one object."""
    return Archive(
        FaultyStore(archive.store, fail("stream", key=key, times=None, error=lambda _: error)), archive.trusted
    )


def test_an_object_that_is_refused_for_good_does_not_stop_the_others(
    names: list[ArchiveName], archive: Archive, signer: Signer, trusted: TrustedKeys
) -> None:
    refused = StoreUnavailableError("it belongs to somebody else", transient=False)
    done = audit(failing(archive, names[2].archive_key, refused), signer, Fraction(1), "full", NOW)
    assert (done.full, done.unchecked, done.ok) == (CAMERAS - 1, {names[2].stem: str(refused)}, False)
    assert "could not be verified" in done.coverage.wrong[names[2].stem]


@pytest.mark.parametrize("error", [StoreUnavailableError("the line is cut"), KeyboardInterrupt()])
def test_an_audit_cut_short_keeps_its_results_and_the_next_continues(
    error: BaseException, names: list[ArchiveName], archive: Archive, signer: Signer, trusted: TrustedKeys,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("yolo_assets.archive.audit.verification._WORKERS", {"head": 1, "full": 1})
    order: list[str] = []
    audit(archive, signer, Fraction(1), "full", NOW, report=lambda one: order.append(one.name))
    cut = failing(archive, ArchiveName.parse(order[3]).archive_key, error)
    later = NOW + timedelta(days=1)
    if isinstance(error, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            audit(cut, signer, Fraction(1), "full", later)
    else:
        done = audit(cut, signer, Fraction(1), "full", later)
        assert (done.full, done.stopped, done.ok) == (3, "the line is cut", False)
    seen: list[str] = []
    again = audit(archive, signer, Fraction(4, 7), "full", later, report=lambda one: seen.append(one.name))
    assert again.ok and seen[:4] == order[3:]
    assert coverage(archive, 0.5, later).full == CAMERAS


def test_two_machines_at_once_share_the_work(
    names: list[ArchiveName], archive: Archive, signer: Signer, trusted: TrustedKeys
) -> None:
    seen: list[str] = []

    def other(_: int) -> None:  # begins when the first has claimed its part and not ended
        nonlocal seen
        audit(archive, signer, Fraction(1, 3), "full", NOW, report=lambda one: seen.append(one.name))

    first: list[str] = []
    audit(archive, signer, Fraction(1, 3), "full", NOW, begin=other, report=lambda one: first.append(one.name))
    assert first and seen and not set(first) & set(seen)


def test_what_a_killed_audit_had_reserved_is_due_again(
    names: list[ArchiveName],
    archive: Archive,
    signer: Signer,
    trusted: TrustedKeys,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def killed(*_: Any, **__: Any) -> Any:
        raise SystemExit

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(audit_module, "verify_archives", killed)
        patch.setattr(audit_module._RecordWriter, "write", lambda *_, **__: None)
        audit(archive, signer, Fraction(1), "head", NOW)

    def due(now: datetime) -> int:
        return audit(archive, signer, Fraction(1), "head", now).chosen

    assert due(NOW + timedelta(hours=11)) == 0
    assert due(NOW + timedelta(hours=13)) == CAMERAS


def test_a_long_audit_records_as_it_goes(
    names: list[ArchiveName],
    archive: Archive,
    signer: Signer,
    trusted: TrustedKeys,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(audit_module, "RECORD_SECONDS", -1)
    done = audit(archive, signer, Fraction(1), "full", NOW)
    assert len(done.records) == CAMERAS + 1 and done.full == CAMERAS
    assert coverage(archive, 30, NOW).full == CAMERAS


def test_an_empty_archive_root_is_no_failure(archive: Archive, signer: Signer, trusted: TrustedKeys) -> None:
    done = audit(archive, signer, Fraction(1, 30), "full", NOW)
    assert done.ok and done.chosen == 0 and list(done.coverage.lines()) == ["there is no archive yet"]


@pytest.mark.s3
def test_overwrites_and_deletions_in_a_locked_bucket_are_reported(
    s3_locked_bucket: Any, fill: Fill, signer: Signer, trusted: TrustedKeys
) -> None:
    archive = Archive(open_store(s3_locked_bucket.url), trusted)
    names = fill(archive)
    archive.store.put(names[0].archive_key, b"something else")
    s3_locked_bucket.client.delete_object(Bucket=s3_locked_bucket.name, Key=f"root/{names[1].receipt_key}")
    s3_locked_bucket.client.delete_object(Bucket=s3_locked_bucket.name, Key=f"root/{names[2].archive_key}")
    gone = take_census(archive).gone
    assert set(gone) == {names[1].stem, names[2].stem} and "remove the marker" in gone[names[1].stem]
    done = audit(archive, signer, Fraction(1), "full", NOW)
    assert set(done.problems) == {name.stem for name in names[:3]}
    assert "was overwritten" in done.problems[names[0].stem][0] and "still readable" in done.problems[names[0].stem][0]
    assert "was deleted: delete marker" in done.problems[names[2].stem][0]
    assert done.full == CAMERAS - 3 and set(done.coverage.wrong) == set(done.problems)
