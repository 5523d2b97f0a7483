"""What is found of a history that was changed: by the log alone, by a kept checkpoint, by a witness."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from yolo_assets.contracts.checkpoint import VerifierKey
from yolo_assets.contracts.errors import BadInputError, IntegrityError
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.times import utc_now
from yolo_assets.storage import open_store
from yolo_assets.transparency.log import read_receipts
from yolo_assets.transparency.verification import History, Others, verify_history
from yolo_assets.transparency.witness import Witness, collect_cosignatures
from yolo_assets_tests.catalog.receipt_factory import FIRST, new_signer, receipt, signed
from yolo_assets_tests.cli.command_line import cli
from yolo_assets_tests.transparency.logged_plant import MORNING, LoggedPlant, logged_plant

DAY = timedelta(days=1)


@pytest.fixture
def plant(tmp_path: Path) -> LoggedPlant:
    """Three days, six receipts."""
    return logged_plant(tmp_path / "plant", 3)


def look(plant: LoggedPlant, now: datetime | None = None, others: Others | None = None) -> History:
    """The verdict some hours after the last checkpoint, from the receipts themselves; the catalog's hashes agree."""
    moment = now or FIRST.start + 3 * DAY + timedelta(hours=9)
    history = verify_history(plant.opened, read_receipts(plant.opened), others or Others(), moment)
    plant.publish()
    cataloged = verify_history(plant.opened, plant.receipts(), others or Others(), moment)
    assert [one.kind for one in cataloged.findings] == [one.kind for one in history.findings]
    return history


def kinds(history: History) -> list[str]:
    return [one.kind for one in history.findings]


def kept(plant: LoggedPlant, number: int = 3) -> Others:
    """A checkpoint that somebody put away."""
    return Others([("kept", plant.archive.get(f"checkpoints/{number:08d}.checkpoint"))])


def rewrite(plant: LoggedPlant, camera: str = "cam01", day: int = 0) -> str:
    """An insider with the archiver's key writes a receipt anew."""
    name = ArchiveName(camera, FIRST.next(24 * day))
    plant.archive.put(name.receipt_key, signed(receipt(name, frame_count=9), plant.signer))
    return name.receipt_key


def forge(plant: LoggedPlant) -> None:
    """The same insider makes the whole log again, with the times that it had."""
    plant.publish()
    for info in list(plant.archive.list("checkpoints/")):
        plant.archive.delete(info.key)
    whole = plant.receipts
    for number in range(3):
        end = (FIRST.start + (number + 1) * DAY).timestamp()
        plant.receipts = lambda end=end: [one for one in whole() if (one.verified_at or 0) < end]
        plant.checkpoint(FIRST.start + (number + 1) * DAY + MORNING)
    plant.receipts = whole


def test_an_untouched_history_has_no_finding(plant: LoggedPlant) -> None:
    plant.add("cam01", 73, verified_at=FIRST.start + 3 * DAY + timedelta(hours=2))
    history = look(plant, others=kept(plant, 2))
    assert (kinds(history), history.waiting, history.expired) == ([], 1, 0)
    assert [(one.stored.number, one.added) for one in history.checkpoints] == [(1, 2), (2, 2), (3, 2)]
    key = ArchiveName("cam02", FIRST.next(24)).receipt_key
    assert history.places[key] == (1, 3), "in the second checkpoint, the fourth of all"


def test_a_rewritten_receipt_is_found(plant: LoggedPlant) -> None:
    key = rewrite(plant)
    (finding,) = look(plant).findings
    assert (finding.kind, finding.receipts) == ("rewritten", (key,))


def test_a_receipt_of_another_key_is_found(plant: LoggedPlant) -> None:
    name = ArchiveName("cam01", FIRST)
    plant.archive.put(name.receipt_key, signed(receipt(name), new_signer()))
    history = verify_history(plant.opened, read_receipts(plant.opened), Others(), FIRST.start + 3 * DAY + MORNING)
    assert [(one.kind, one.receipts) for one in history.findings] == [("rewritten", (name.receipt_key,))]


def test_a_dropped_hour_is_found_until_its_retention_ends(tmp_path: Path) -> None:
    plant = LoggedPlant(tmp_path)
    plant.day(0, retention_until=FIRST.start + 20 * DAY, retention_mode="compliance")
    plant.day(1)
    gone = [ArchiveName("cam01", FIRST.next(24 * day)).receipt_key for day in (0, 1)]
    for key in gone:
        plant.archive.delete(key)
    (finding,) = look(plant, FIRST.start + 2 * DAY + MORNING).findings
    assert (finding.kind, finding.receipts) == ("dropped", tuple(gone))
    later = look(plant, FIRST.start + 40 * DAY)
    assert [(one.kind, one.receipts) for one in later.findings] == [("dropped", (gone[1],)), ("withheld", ())]
    assert later.expired == 1


def test_an_inserted_hour_is_found_before_and_after_its_checkpoint(tmp_path: Path) -> None:
    plant = logged_plant(tmp_path, 1)
    plant.checkpoint(FIRST.start + 12 * DAY)
    inserted = plant.add("cam03", 5)
    for day in (13, 14):
        (finding,) = look(plant, FIRST.start + (day - 1) * DAY + MORNING).findings
        assert (finding.kind, finding.receipts) == ("inserted", (inserted,))
        plant.checkpoint(FIRST.start + day * DAY)


def test_a_log_that_was_made_again_is_found_by_a_kept_checkpoint(plant: LoggedPlant) -> None:
    others = kept(plant)
    rewrite(plant)
    rewrite(plant, "cam02")
    forge(plant)
    assert kinds(look(plant)) == [], "the log alone cannot show it"
    (finding,) = look(plant, others=others).findings
    assert finding.kind == "forked" and "the history was rewritten" in finding.text


def test_a_store_that_withholds_is_found(plant: LoggedPlant) -> None:
    others = kept(plant)
    copy = LoggedPlant(plant.folder.parent / "copy")
    shutil.rmtree(copy.folder)
    shutil.copytree(plant.folder, copy.folder)
    behind = LoggedPlant(copy.folder)
    for info in list(behind.archive.list("checkpoints/00000003")):
        behind.archive.delete(info.key)
    assert kinds(look(behind, others=others)) == ["withheld"]
    (finding,) = look(behind, FIRST.start + 5 * DAY).findings
    assert finding.kind == "withheld" and "the last checkpoint is of 2026-03-03T04:15" in finding.text


@pytest.mark.parametrize("number", [1, 2])
def test_a_checkpoint_that_was_removed_or_changed_is_found(plant: LoggedPlant, number: int) -> None:
    path = plant.folder / "archive" / "checkpoints" / f"{number:08d}.checkpoint"
    data = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(data.replace(b"\n2\n" if number == 1 else b"\n4\n", b"\n3\n"))
    assert kinds(look(plant))[0] == "log"
    path.unlink()
    assert kinds(look(plant))[0] == "log"


def test_a_checkpoint_of_another_plant_is_told(plant: LoggedPlant, tmp_path: Path) -> None:
    other = logged_plant(tmp_path / "other", 1)
    assert kinds(look(plant, others=kept(other, 1))) == ["forked"]
    assert kinds(look(plant, others=Others([("kept", b"no note")]))) == ["forked"]


def test_a_witness_co_signs_what_continues_and_nothing_else(plant: LoggedPlant, tmp_path: Path) -> None:
    holder, now = Witness.open(tmp_path / "witness", "example.com/quality"), FIRST.start + 3 * DAY + MORNING
    done = holder.look(plant.opened, now)
    assert (done.number, done.size, done.seen, done.again) == (3, 6, 3, False)
    assert holder.look(plant.opened, now).again
    signed_days = open_store((tmp_path / "witness" / "cosigned").as_uri())
    assert collect_cosignatures(plant.opened, signed_days) == 1 and collect_cosignatures(plant.opened, signed_days) == 0
    key = VerifierKey.parse((tmp_path / "witness" / "witness.vkey").read_text(), "key")
    history = look(plant, others=Others(witnesses=[key]))
    assert kinds(history) == [] and [who.at for who in history.checkpoints[2].cosigned] == [now.replace(microsecond=0)]
    rewrite(plant)
    forge(plant)
    for line in plant.archive.list("checkpoints/00000003."):
        if line.key.endswith(".cosignature"):
            plant.archive.delete(line.key)
    assert kinds(look(plant, others=Others(witnesses=[key]))) == ["unwitnessed"]
    with pytest.raises(IntegrityError, match="the history was rewritten"):
        holder.look(plant.opened, now)
    with pytest.raises(IntegrityError, match="is another checkpoint than"):
        collect_cosignatures(plant.opened, signed_days)
    assert [path.name[:8] for path in (tmp_path / "witness" / "refused").iterdir()] == ["00000003"]
    assert kinds(look(plant, others=Others([("witness", done.cosigned.read_bytes())]))) == ["forked"]


def test_a_witness_refuses_a_log_that_was_set_back(plant: LoggedPlant, tmp_path: Path) -> None:
    holder, now = Witness.open(tmp_path / "witness", None), FIRST.start + 3 * DAY + MORNING
    holder.look(plant.opened, now)
    plant.archive.delete("checkpoints/00000003.checkpoint")
    with pytest.raises(IntegrityError, match="ends with checkpoint 2, and this witness saw 3"):
        holder.look(plant.opened, now)
    plant.day(3)  # another third day
    with pytest.raises(IntegrityError, match="is not what this witness saw"):
        holder.look(plant.opened, now)
    assert len(list((tmp_path / "witness" / "cosigned").iterdir())) == 1
    with pytest.raises(BadInputError, match="there is no checkpoint"):
        Witness.open(tmp_path / "new", None).look(LoggedPlant(tmp_path / "empty").opened, now)
    with pytest.raises(BadInputError, match="is called"):
        Witness.open(tmp_path / "witness", "example.com/other")


def test_a_witness_goes_on_with_new_days(plant: LoggedPlant, tmp_path: Path) -> None:
    holder = Witness.open(tmp_path / "witness", None)
    for day in range(3, 6):
        holder = Witness.open(tmp_path / "witness", None)
        done = holder.look(plant.opened, plant.day(day).stored.signed.at)
        assert (done.number, done.size, done.again) == (day + 1, 2 * day + 2, False)


def test_the_commands_show_the_history(tmp_path: Path) -> None:
    plant, home = LoggedPlant(tmp_path), tmp_path
    key = ArchiveName.parse(plant.add(verified_at=utc_now()))
    plant.publish()
    assert cli("archive", "verify", "--history", home=home).stderr.startswith(
        "error: the history is not what was signed"
    )
    assert cli("archive", "checkpoint", home=home).returncode == 0
    public = str(tmp_path / "keys" / "archiver.pub")
    done = cli("archive", "witness", str(tmp_path / "witness"), "--key", public, "--json", home=home)
    assert done.returncode == 0, done.stderr
    outside = ("--checkpoint", json.loads(done.stdout)["file"], "--witness-key", str(tmp_path / "witness/witness.vkey"))
    told = json.loads(cli("archive", "verify", "--history", *outside, "--json", home=home).stdout)
    assert told["ok"] and told["checkpoints"][0]["receipts"] == 1 and len(told["checkpoints"][0]["cosigned"]) == 1
    plant.archive.put(key.receipt_key, signed(receipt(key, frame_count=1), plant.signer))
    bad = cli("archive", "verify", "--history", key.stem, *outside, home=home)
    assert bad.returncode == 1 and "REWRITTEN" in bad.stdout and bad.stderr.count("\n") == 1, bad.stderr
    assert "checkpoint 1  since 20" in bad.stdout and "co-signed by" in bad.stdout
