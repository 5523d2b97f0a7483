"""Checkpoints of receipts: what is in them, in which order, and that nothing but the next one is ever written."""

from __future__ import annotations

import hashlib
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from yolo_assets.contracts.errors import BadInputError, IntegrityError
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.transparency.checkpointing import make_checkpoint
from yolo_assets.transparency.log import KnownReceipt, ReceiptList, whole_log
from yolo_assets_tests.catalog.receipt_factory import FIRST, receipt, signed
from yolo_assets_tests.cli.command_line import cli
from yolo_assets_tests.transparency.by_specification import checkpoint_lines, verified_times
from yolo_assets_tests.transparency.logged_plant import LoggedPlant, logged_plant


def test_late_hours_are_appended_and_old_entries_stay(tmp_path: Path) -> None:
    plant = logged_plant(tmp_path, 3)
    late = plant.add("cam01", 2, verified_at=FIRST.start + timedelta(days=3, hours=9))
    made = plant.checkpoint(FIRST.start + timedelta(days=4, hours=4))
    assert (made.stored.number, made.added, made.rewritten, made.untrusted) == (4, 1, (), ())
    stored, lists, tree = whole_log(plant.opened)
    keys = [key for one in lists for key in one.keys]
    assert keys[-1] == late and len(keys) == 7 == tree.size
    assert keys[:6] == sorted(keys[:6]), "by hour and camera as they came"
    data = plant.archive.get(stored[3].key)
    assert verified_times(data, stored[0].checkpoint.origin, plant.signer.public_bytes()) == {
        1: None,
        4: int(made.stored.signed.at.timestamp()),
    }
    assert checkpoint_lines(data)[1:] == (7, tree.root)


def test_sha256sum_checks_the_lists_in_the_archive(tmp_path: Path) -> None:
    logged_plant(tmp_path, 2).day(2, retention_until=FIRST.start + timedelta(days=400), retention_mode="compliance")
    script = "zcat checkpoints/*.receipts.gz | sha256sum --check --strict"
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path / "archive", capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.count(": OK") == 6, done.stderr


def test_a_day_without_receipts_has_its_checkpoint_too(tmp_path: Path) -> None:
    plant = logged_plant(tmp_path, 1)
    made = plant.checkpoint(FIRST.start + timedelta(days=2, hours=4))
    assert (made.stored.number, made.added, made.stored.checkpoint.size, made.stored.list_sha256) == (2, 0, 2, None)


def test_a_receipt_that_was_rewritten_is_told_and_not_taken_in(tmp_path: Path) -> None:
    plant = logged_plant(tmp_path, 1)
    name = ArchiveName("cam01", FIRST)
    plant.archive.put(name.receipt_key, signed(receipt(name, frame_count=9), plant.signer))
    made = plant.checkpoint(FIRST.start + timedelta(days=2, hours=4))
    assert (made.added, made.rewritten) == (0, (name.receipt_key,))


def test_receipts_of_which_the_catalog_has_no_hash_are_read(tmp_path: Path) -> None:
    plant = logged_plant(tmp_path, 1)
    key = plant.add("cam03", 30)
    bare = [KnownReceipt(one, None) for one in (*(known.key for known in plant.receipts()), key)]
    made = make_checkpoint(plant.opened, plant.signer, bare, FIRST.start + timedelta(days=3))
    assert made.added == 1
    _, lists, _ = whole_log(plant.opened)
    assert lists[1].hashes == [hashlib.sha256(plant.archive.get(key)).digest()]
    plant.publish()
    assert {known.key: known.sha256 for known in plant.receipts()} == {
        key: digest for one in lists for key, digest in zip(one.keys, one.hashes, strict=True)
    }, "the catalog has the same"


def test_another_machine_that_was_faster_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant = LoggedPlant(tmp_path)
    plant.days(1)
    plant.add("cam01", 30)
    there, moment = plant.receipts(), FIRST.start + timedelta(days=3)
    put, races = plant.archive.put_if_absent, list[str]()

    def raced(key: str, data: bytes, **options: object):
        if key.endswith(".checkpoint") and not races:
            races.append(key)
            other = LoggedPlant(tmp_path)
            assert make_checkpoint(other.opened, other.signer, other.receipts(), moment).stored.number == 2
        return put(key, data, **options)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(plant.archive, "put_if_absent", raced)
    made = make_checkpoint(plant.opened, plant.signer, there, moment + timedelta(seconds=1))
    assert (made.stored.number, races) == (3, ["checkpoints/00000002.checkpoint"])
    assert whole_log(plant.opened)[2].size == made.stored.checkpoint.size


def test_nothing_is_added_to_a_log_that_was_changed(tmp_path: Path) -> None:
    plant = logged_plant(tmp_path, 2)
    (list_key,) = (info.key for info in plant.archive.list("checkpoints/00000002-"))
    plant.archive.put(list_key, b"")
    with pytest.raises(IntegrityError, match="not the list that checkpoint 2 names"):
        plant.day(2)
    plant.archive.delete("checkpoints/00000001.checkpoint")
    with pytest.raises(IntegrityError, match=r"00000001.checkpoint is missing, and later ones are there"):
        plant.checkpoint(FIRST.start + timedelta(days=9))


def test_no_receipt_or_a_clock_that_was_set_back_is_no_checkpoint(tmp_path: Path) -> None:
    plant = LoggedPlant(tmp_path)
    with pytest.raises(BadInputError, match="there is no receipt"):
        plant.checkpoint(FIRST.start)
    plant.day(0)
    with pytest.raises(BadInputError, match="the clock here is before"):
        plant.checkpoint(FIRST.start)
    with pytest.raises(IntegrityError):
        ReceiptList.parse(b"no list\n", "list")


def test_the_log_goes_on_under_its_name_after_a_change_of_keys(tmp_path: Path) -> None:
    plant = logged_plant(tmp_path, 1)
    origin, old = plant.signer.key_id, plant.signer
    (tmp_path / "keys" / "archiver").unlink()
    changed = LoggedPlant(tmp_path)
    changed.trusted = TrustedKeys.of(old, changed.signer)
    made = changed.day(1)
    assert made.stored.checkpoint.origin == f"yolo-assets/{origin}" and made.stored.signed.key_id != origin


def test_the_command_signs_what_the_catalog_has(tmp_path: Path) -> None:
    plant = LoggedPlant(tmp_path)
    plant.add()
    plant.publish()
    done = cli("archive", "checkpoint", "--json", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert '"checkpoint":1' in done.stdout and '"receipts":1,"added":1' in done.stdout
