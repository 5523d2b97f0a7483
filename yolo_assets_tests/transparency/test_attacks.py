"""Who attacks what, and which layer finds it: the table of ``docs/attacks.md``, each cell carried out.

Each attacker does the strongest form that its means allow: one with the archiver's key also makes the log again. What
is known from outside is the archiver's public key, the device's, what the witness co-signed, and the certificate of the
time-stamp authority.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.archiving import archive_hour
from yolo_assets.archive.audit.verification import verify_archive
from yolo_assets.contracts.names import SEALED_LIST, SEALED_SIGNATURE, ArchiveName
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.spool.sealing import check_custody
from yolo_assets.spool.writer import SpoolWriter
from yolo_assets.storage import ObjectStore, open_store
from yolo_assets.transparency.checkpointing import make_checkpoint, stamp_checkpoint
from yolo_assets.transparency.log import read_receipts
from yolo_assets.transparency.timestamps import load_roots
from yolo_assets.transparency.verification import Others, verify_history
from yolo_assets.transparency.witness import Witness
from yolo_assets_tests.edge.rollout.test_pointer_freshness import EVERYTHING, Watched
from yolo_assets_tests.models.release_support import put_back, save
from yolo_assets_tests.support.records import frame_record
from yolo_assets_tests.transparency.test_timestamps import Authority

PAGE = Path(__file__).parents[2] / "docs" / "attacks.md"
RECORD = {"detections": [], "model_version": "line/1", "device_id": "box1"}
HOURS = tuple(Hour.from_key(f"202603{day:02d}_10") for day in (1, 2, 3))
ANOTHER = Hour.from_key("20260302_17")
CHANGED = {"changed frame": HOURS[1:2], "inserted hour": (ANOTHER,), "rewritten month": HOURS}
LAYERS = ("seal", "receipt", "checkpoint", "witness", "token", "pointer")
ATTACKERS = (
    "outsider with store access",
    "insider with the archiver's key",
    "root on a box",
    "store that withholds",
)
ATTACKS = ("changed frame", "dropped hour", "inserted hour", "rewritten month", "replayed release")
FORGED = {"seal", "witness", "token"}
TABLE: dict[tuple[str, str], set[str]] = {
    (ATTACKERS[0], "changed frame"): {"receipt", "checkpoint"},
    (ATTACKERS[0], "dropped hour"): {"checkpoint"},
    (ATTACKERS[0], "inserted hour"): {"receipt"},
    (ATTACKERS[0], "rewritten month"): {"receipt", "checkpoint"},
    (ATTACKERS[0], "replayed release"): {"pointer"},
    (ATTACKERS[1], "changed frame"): FORGED,
    (ATTACKERS[1], "dropped hour"): {"witness", "token"},
    (ATTACKERS[1], "inserted hour"): FORGED,
    (ATTACKERS[1], "rewritten month"): FORGED,
    (ATTACKERS[1], "replayed release"): {"pointer"},
    (ATTACKERS[2], "changed frame"): set(),
    (ATTACKERS[2], "dropped hour"): set(),
    (ATTACKERS[2], "inserted hour"): set(),
    (ATTACKERS[2], "rewritten month"): {"receipt", "checkpoint"},
    (ATTACKERS[2], "replayed release"): set(),
    (ATTACKERS[3], "changed frame"): {"receipt"},
    (ATTACKERS[3], "dropped hour"): {"checkpoint"},
    (ATTACKERS[3], "inserted hour"): {"receipt"},
    (ATTACKERS[3], "rewritten month"): {"witness"},
    (ATTACKERS[3], "replayed release"): {"pointer"},
}


def archived(root: Path, hour: Hour, device: Signer, archiver: Signer, picture: bytes = b"picture") -> ObjectStore:
    """An hour of two frames, sealed and archived into ``root/archive``."""
    with SpoolWriter(root / "spool", "cam1", "box1", signer=device) as writer:
        for second in (1, 2):
            writer.write(hour.start + timedelta(seconds=second), frame_record(RECORD), picture + b"%d" % second)
        writer.seal(hour)
    store = open_store((root / "archive").as_uri())
    archive_hour(SpoolHour.of(root / "spool", "cam1", hour), Archive(store, TrustedKeys.of(archiver)), archiver)
    return store


@dataclass(frozen=True)
class Guarded:
    """A plant with every layer: seals, receipts, checkpoints, a witness, time stamps."""

    root: Path
    begun: datetime

    @property
    def store(self) -> ObjectStore:
        return open_store((self.root / "archive").as_uri())

    @property
    def archiver(self) -> Signer:
        return Signer.load_or_create(self.root / "keys" / "archiver")

    @property
    def device(self) -> Signer:
        return Signer.load_or_create(self.root / "keys" / "device")

    @property
    def stranger(self) -> Signer:
        return Signer.load_or_create(self.root / "keys" / "stranger")

    @property
    def archive(self) -> Archive:
        return Archive(self.store, TrustedKeys.of(self.archiver))

    @property
    def witness(self) -> Witness:
        return Witness.open(self.root / "witness", "example.com/quality")

    def close_day(self, number: int, authority: str | None) -> None:
        """The checkpoint of a day; with a time stamp and the witness where it is the honest one."""
        moment = self.begun + timedelta(minutes=number)
        made = make_checkpoint(self.archive, self.archiver, read_receipts(self.archive), moment)
        if authority is not None:
            stamp_checkpoint(self.archive, made.stored, authority)
            self.witness.look(self.archive, moment)

    def over(self, hour: Hour, signer: Signer, device: Signer, picture: bytes = b"changed") -> None:
        """Put another archive of an hour, with index and receipt, in place of what is there."""
        other = archived(self.root / "other" / hour.key, hour, device, signer, picture)
        for info in list(other.list("")):
            self.store.put(info.key, other.get(info.key))

    def drop(self, hour: Hour) -> None:
        """Remove all of an hour."""
        name = ArchiveName("cam1", hour)
        for key in (name.archive_key, name.index_key, name.receipt_key):
            self.store.delete(key)

    def forge_log(self) -> None:
        """Who has the archiver's key makes the log again, as if it had always been so."""
        for info in list(self.store.list("checkpoints/")):
            self.store.delete(info.key)
        for number in range(len(HOURS)):
            self.close_day(number, None)

    def set_back(self) -> None:
        """Show the archive as it was after the first day."""
        for hour in HOURS[1:]:
            self.drop(hour)
        for info in list(self.store.list("checkpoints/")):
            if not info.key.startswith("checkpoints/00000001"):
                self.store.delete(info.key)

    def found_by(self) -> set[str]:
        """The layers that find something, each asked by itself."""
        archive, found = self.archive, set[str]()
        for name in archive.names():
            if verify_archive(archive, name, "full").problems:
                found.add("receipt")
            elif self._seal_problem(archive, name):
                found.add("seal")
        moment = self.begun + timedelta(hours=9)
        kept = [("co-signed", path.read_bytes()) for path in sorted((self.root / "witness" / "cosigned").iterdir())]
        asked = {
            "checkpoint": Others(),
            "witness": Others(kept[-1:], [self.witness.key]),
            "token": Others(roots=load_roots(self.root / "ca.pem")),
        }
        alone = {"rewritten", "dropped", "inserted", "log", "untrusted"}
        for layer, others in asked.items():
            kinds = {one.kind for one in verify_history(archive, read_receipts(archive), others, moment).findings}
            if kinds - {"untrusted"} if layer == "checkpoint" else kinds - alone:
                found.add(layer)
        return found

    def _seal_problem(self, archive: Archive, name: ArchiveName) -> bool:
        """Whether the device did not sign just these files; the device's key is known from outside."""
        part = archive.part(archive.receipt(name))
        rows = {row.name: row for row in part.index()}
        if SEALED_SIGNATURE not in rows:
            return True
        listed = part.read(rows[SEALED_LIST]) if SEALED_LIST in rows else None
        held = {row.name: (row.size, row.sha256.hex()) for row in rows.values()}
        custody = check_custody(part.read(rows[SEALED_SIGNATURE]), listed, held)
        return custody.problem is not None or custody.key_id != self.device.key_id


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    made = Authority(tmp_path_factory.mktemp("stamps") / "authority")
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Guarded:
    plant = Guarded(tmp_path_factory.mktemp("guarded"), utc_now())
    shutil.copy(authority.roots, plant.root / "ca.pem")
    for number, hour in enumerate(HOURS):
        archived(plant.root, hour, plant.device, plant.archiver)
        plant.close_day(number, authority.url)
    return plant


@pytest.fixture
def plant(untouched: Guarded, tmp_path: Path) -> Guarded:
    shutil.copytree(untouched.root, tmp_path / "plant")
    return Guarded(tmp_path / "plant", untouched.begun)


def outsider(plant: Guarded, attack: str) -> None:
    if attack == "dropped hour":
        plant.drop(HOURS[1])
    else:
        for hour in CHANGED[attack]:
            plant.over(hour, plant.stranger, plant.stranger)


def insider(plant: Guarded, attack: str) -> None:
    if attack == "dropped hour":
        plant.drop(HOURS[1])
    else:
        for hour in CHANGED[attack]:
            plant.over(hour, plant.archiver, plant.stranger)
    plant.forge_log()


def root_on_a_box(plant: Guarded, attack: str) -> None:
    """Before anything is archived it has the device's key and the folder; later only what the store lets it write."""
    if attack == "rewritten month":
        for hour in HOURS:
            plant.over(hour, plant.device, plant.device)
    elif attack in ("changed frame", "inserted hour"):
        archived(plant.root, ANOTHER, plant.device, plant.archiver, b"made up")
    # A dropped hour is one that never reached the archiver.


def store(plant: Guarded, attack: str) -> None:
    key = ArchiveName("cam1", HOURS[1]).archive_key
    if attack == "changed frame":
        plant.store.put(key, plant.store.get(key).replace(b"picture2", b"picture3"))
    elif attack == "dropped hour":
        plant.drop(HOURS[1])
    elif attack == "inserted hour":
        plant.over(ANOTHER, plant.stranger, plant.stranger)
    else:
        plant.set_back()


BY: dict[str, Callable[[Guarded, str], None]] = dict(
    zip(ATTACKERS, (outsider, insider, root_on_a_box, store), strict=True)
)


def test_an_untouched_plant_is_found_by_no_layer(plant: Guarded) -> None:
    assert plant.found_by() == set()
    assert all(one.ok for one in (verify_archive(plant.archive, name, "full") for name in plant.archive.names()))


@pytest.mark.parametrize("attack", ATTACKS[:-1])
@pytest.mark.parametrize("attacker", ATTACKERS)
def test_an_attack_is_found_by_just_these_layers(plant: Guarded, attacker: str, attack: str) -> None:
    BY[attacker](plant, attack)
    assert plant.found_by() == TABLE[attacker, attack]


@pytest.mark.parametrize("attacker", ATTACKERS)
def test_a_release_that_is_shown_again_is_found_by_its_pointer(tmp_path: Path, attacker: str) -> None:
    """Nobody here has the promotion key: what can be shown is what was signed before."""
    watched = Watched(open_store((tmp_path / "store").as_uri()), tmp_path)
    old = save(watched.store, *EVERYTHING)
    watched.release("v2")
    assert watched.look() is None
    put_back(watched.store, old)
    if attacker == "root on a box":  # it rules what its own agent remembers
        watched.file.unlink()
        watched.restart()
    told = watched.look()
    found = {"pointer"} if told is not None and "release 2 was out" in told else set[str]()
    assert found == TABLE[attacker, "replayed release"]


def test_the_page_has_this_table() -> None:
    rows = [re.findall(r"[^|]+", line) for line in PAGE.read_text().splitlines() if line.startswith("|")]
    head, body = [cell.strip() for cell in rows[0]], rows[2:]
    assert head[1:] == [attack.capitalize() for attack in ATTACKS]
    shown = {
        (attacker.strip().lower(), attack): set() if cell.strip() == "**not found**" else set(cell.strip().split(", "))
        for attacker, *cells in body
        for attack, cell in zip(ATTACKS, cells, strict=True)
    }
    assert shown == TABLE
    assert set().union(*TABLE.values()) == set(LAYERS)
