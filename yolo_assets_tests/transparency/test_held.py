"""What counts of a revoked key: what a witness or an authority saw before it was revoked, and nothing else."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta
from pathlib import Path

from yolo_assets.archive.archive import Archive
from yolo_assets.contracts.errors import SignatureError
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.signing import Signer
from yolo_assets.contracts.times import format_time, utc_now
from yolo_assets.storage import open_store
from yolo_assets.transparency.checkpointing import stamp_checkpoint
from yolo_assets.transparency.held import trusted_archive
from yolo_assets.transparency.witness import Witness, collect_cosignatures
from yolo_assets_tests.catalog.receipt_factory import FIRST
from yolo_assets_tests.cli.command_line import cli
from yolo_assets_tests.transparency.authority import Authority
from yolo_assets_tests.transparency.logged_plant import MORNING, LoggedPlant, logged_plant

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


def revoked(plant: LoggedPlant, home: Path, at: datetime) -> Settings:
    """A home that trusts the plant's key until it was revoked."""
    keys = home / "keys"
    (keys / "archivers").mkdir(parents=True, exist_ok=True)
    head = f"revoked-at: {format_time(at)}\n".encode()
    (keys / "archivers" / "lost.pub").write_bytes(head + plant.signer.public_pem())
    return Settings(home=home)


def counting(plant: LoggedPlant, settings: Settings, days: int = 3) -> list[bool]:
    """Whether the receipt of ``cam01`` counts, day by day."""
    opened = trusted_archive(plant.archive, settings.archiver_public_keys(), settings)
    return [counts(opened, ArchiveName("cam01", FIRST.next(24 * day))) for day in range(days)]


def counts(archive: Archive, name: ArchiveName) -> bool:
    try:
        archive.receipt(name)
    except SignatureError as error:
        assert "is revoked from" in str(error)
        return False
    return True


def co_signed(plant: LoggedPlant, folder: Path, at: datetime) -> Path:
    """Have a witness co-sign the newest checkpoint; returns the file of its public key."""
    Witness.open(folder, "example.com/quality").look(plant.opened, at)
    collect_cosignatures(plant.opened, open_store((folder / "cosigned").as_uri()))
    return folder / "witness.vkey"


def test_a_receipt_that_a_witness_saw_in_time_counts(tmp_path: Path) -> None:
    plant, home = logged_plant(tmp_path / "plant", 2), tmp_path / "home"
    second = FIRST.start + 2 * DAY + MORNING
    key = co_signed(plant, tmp_path / "witness", second)
    plant.day(2)
    settings = revoked(plant, home, second + HOUR)
    assert counting(plant, settings) == [False, False, False], "nobody's word is trusted yet"
    (home / "keys" / "witnesses").mkdir()
    shutil.copy(key, home / "keys" / "witnesses" / "quality.vkey")
    # The witness saw the second checkpoint, and with it what the first has.
    assert counting(plant, settings) == [True, True, False]
    assert counting(plant, revoked(plant, home, second)) == [False, False, False]
    # The third day's checkpoint was there before the end, as the key itself says; the witness saw it after.
    co_signed(plant, tmp_path / "witness", second + 3 * DAY)
    assert counting(plant, revoked(plant, home, second + 2 * DAY)) == [True, True, False]


def test_a_receipt_that_was_stamped_in_time_counts(authority: Authority, tmp_path: Path) -> None:
    plant, home, now = LoggedPlant(tmp_path / "plant"), tmp_path / "home", utc_now()
    name = ArchiveName.parse(plant.add(verified_at=now))
    stamp_checkpoint(plant.opened, plant.checkpoint(now).stored, authority.url)
    for moment, roots, expected in (
        (now + HOUR, authority.roots, True),
        (now + HOUR, None, False),
        (now - HOUR, authority.roots, False),
    ):
        settings = revoked(plant, home, moment).model_copy(update={"timestamp_roots": roots})
        assert counts(trusted_archive(plant.archive, settings.archiver_public_keys(), settings), name) is expected


def test_a_log_that_was_written_anew_with_the_key_shows_nothing(tmp_path: Path) -> None:
    """Who has the key dates everything before its end; the old co-signature does not fit the new checkpoint."""
    plant, home = logged_plant(tmp_path / "plant", 2), tmp_path / "home"
    second = FIRST.start + 2 * DAY + MORNING
    key = co_signed(plant, tmp_path / "witness", second)
    settings = revoked(plant, home, second + HOUR)
    (home / "keys" / "witnesses").mkdir()
    shutil.copy(key, home / "keys" / "witnesses" / "quality.vkey")
    assert counting(plant, settings, 2) == [True, True]
    for info in list(plant.archive.list("checkpoints/")):
        if "cosignature" not in info.key:
            plant.archive.delete(info.key)
    plant.add("cam03", 0)
    plant.checkpoint(FIRST.start + DAY + MORNING)
    plant.checkpoint(second)
    assert counting(plant, settings, 2) == [False, False]


def test_the_commands_read_what_still_counts(tmp_path: Path) -> None:
    """After the archiver's key was lost: a new one, the old one revoked, the witness's in its folder."""
    plant, home = LoggedPlant(tmp_path), tmp_path
    plant.add(verified_at=utc_now())
    plant.checkpoint(utc_now())
    witness = co_signed(plant, tmp_path / "witness", utc_now())
    revoked(plant, home, utc_now() + HOUR)
    for lost in (home / "keys" / "archiver", home / "keys" / "archiver.pub"):
        lost.unlink()
    Signer.load_or_create(home / "keys" / "archiver")
    assert "revoked" in cli("archive", "verify", "--verify", "head", home=home).stdout
    (home / "keys" / "witnesses").mkdir()
    shutil.copy(witness, home / "keys" / "witnesses" / "quality.vkey")
    assert "revoked" not in cli("archive", "verify", "--verify", "head", home=home).stdout
    assert cli("archive", "checkpoint", home=home).returncode == 0
    done = cli("archive", "verify", "--history", home=home)
    assert done.returncode == 0 and "co-signed by example.com/quality" in done.stdout, done.stderr
