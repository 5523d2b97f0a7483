"""One spool hour on its way into an archive, and what must be true of it at every moment.

The invariant: each file that was ever in the hour is readable, byte for byte, from the spool or from the archive. Files
are looked for locally first, because an archiver may be at work: it deletes only what the archive already gives.

Belongs here: filling, checking, the end of the work. Does not belong here: what goes wrong on the way.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.audit.verification import verify_archive
from yolo_assets.archive.part import ArchivedPart
from yolo_assets.contracts.names import PLAN, SEALED, ArchiveName
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.spool import ArchivePlan
from yolo_assets.contracts.times import Hour
from yolo_assets.spool.files import native_name
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.spool.writer import SpoolWriter
from yolo_assets.storage import ObjectStore, open_store
from yolo_assets_tests.support.archiver import Archiver, Ran
from yolo_assets_tests.support.records import frame_record

HOUR = Hour.from_key("20260102_03")
CAMERA = "cam1"


class ArchiveCase:
    """One hour, its archive root, and every file that was ever in it."""

    def __init__(self, root: Path, url: str, archiver: Archiver, env: Callable[[], dict[str, str]] = dict) -> None:
        """An empty spool in ``root``.

        Args:
            root: an empty folder.
            url: of the archive root.
            archiver: runs the command.
            env: the environment of the next run: the endpoint.
        """
        root.mkdir(exist_ok=True)
        self.root = root
        self.url = url
        self.archiver = archiver
        self.env = env
        self.spool = root / "spool"
        self.home = root / "home"
        self.hour = SpoolHour.of(self.spool, CAMERA, HOUR)
        self.must: dict[str, bytes] = {}
        self.signer = Signer.load_or_create(self.home / "keys" / "archiver")
        self.trusted = TrustedKeys.of(self.signer)
        self._store: ObjectStore | None = None

    def fill(self, frames: int, size: int, *, seed: int = 0, late: bool = False) -> None:
        """Write frames of random bytes as the agent does; late ones come after the seal."""
        chance = random.Random(seed)
        first = timedelta(minutes=30, seconds=len(self.must)) if late else timedelta()
        device = Signer.load_or_create(self.home / "keys" / "device")
        with SpoolWriter(self.spool, CAMERA, "box1", signer=device) as writer:
            for number in range(frames):
                record = {"detections": [], "model_version": "line/1", "device_id": "box1"}
                writer.write(
                    HOUR.start + first + timedelta(seconds=number), frame_record(record), chance.randbytes(size)
                )
            if not late:
                writer.seal(HOUR)
        for member in self.hour.members():
            self.must[member.name] = (self.hour.path / member.name).read_bytes()

    def run(self, **how: float | int | bool | None) -> Ran:
        """One run of the command over the spool."""
        return self.archiver.run(self.spool, self.url, self.home, env=self.env(), **how)  # type: ignore[arg-type]

    def store(self) -> ObjectStore:
        """The archive root, past every proxy."""
        if self._store is None:
            self._store = open_store(self.url)
        return self._store

    def receipts(self) -> list[Receipt]:
        """Of every part."""
        return Archive(self.store(), self.trusted).receipts(CAMERA, HOUR)

    def archived(self) -> dict[str, bytes]:
        """Every file of every part, hashes verified."""
        store = self.store()
        return {
            native_name(row.name): ArchivedPart(store, receipt).read(row)
            for receipt in Archive(store, self.trusted).receipts(CAMERA, HOUR)
            for row in ArchivedPart(store, receipt).index()
        }

    def plan(self) -> ArchivePlan | None:
        """What the archiver has under way."""
        try:
            return ArchivePlan.from_json((self.hour.path / PLAN).read_bytes(), PLAN)
        except FileNotFoundError:
            return None

    def check(self, what: str) -> None:
        """The invariant, also while an archiver is at work."""
        elsewhere = {name: data for name, data in self.must.items() if self._local(name) != data}
        remote = self.archived() if elsewhere else {}
        for name, data in elsewhere.items():
            assert remote.get(name) == data, f"{what}: {name} is lost"

    def _local(self, name: str) -> bytes | None:
        try:
            return (self.hour.path / name).read_bytes()
        except FileNotFoundError:
            return None

    def finish(self, what: str) -> Ran:
        """One clean run ends the work: all archived, nothing twice, nothing left locally, every byte verified."""
        ran = self.run()
        assert ran.code == 0, f"{what}: {ran.error}"
        assert self.archived() == self.must, what
        assert self.hour.members() == [], f"{what}: left in the spool"
        assert self.plan() is None, what
        receipts = self.receipts()
        assert sum(receipt.file_count for receipt in receipts) == len(self.must), f"{what}: archived twice"
        store = self.store()
        sealed = [receipt.custody for receipt in receipts if receipt.custody is not None]
        assert [custody.problem for custody in sealed] == [None] * (SEALED in self.must), what
        for receipt in receipts:
            name = ArchiveName.parse(receipt.archive_key)
            assert verify_archive(Archive(store, self.trusted), name, "full").problems == [], what
        return ran
