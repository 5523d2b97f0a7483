"""An archive with a few hours in it, and a second place: what the tests of replication share."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.options import ArchiveOptions
from yolo_assets.contracts.copies import CopyStatement, copy_id_of
from yolo_assets.contracts.names import COPIES
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour
from yolo_assets.replication.copying import Copier
from yolo_assets.replication.replicate import CopyReport, Replication
from yolo_assets.spool.writer import SpoolWriter
from yolo_assets.storage import ObjectStore, open_store
from yolo_assets_tests.support.one_round import run_archiver
from yolo_assets_tests.support.records import frame_record


class TwoPlaces:
    """An installation with an archive and the place of its copy."""

    def __init__(self, root: Path, first: str | None = None, second: str | None = None) -> None:
        """Nothing is archived yet; the places are folders unless URLs are given."""
        self.root = root
        self.first = first or (root / "archive").as_uri()
        self.second = second or (root / "second").as_uri()
        self.spool = root / "spool"
        self.signer = Signer.load_or_create(root / "home" / "keys" / "archiver")
        self.trusted = TrustedKeys.of(self.signer)
        self.env = {
            "YOLO_ASSETS_HOME": str(root / "home"),
            "YOLO_ASSETS_SPOOL": str(self.spool),
            "YOLO_ASSETS_ARCHIVE": self.first,
            "YOLO_ASSETS_STORE": (root / "store").as_uri(),
        }

    def record(self, hour: str, *, camera: str = "cam1", frames: int = 3, size: int = 2000, seed: int = 0) -> None:
        """Write frames of random bytes into the spool."""
        chance = random.Random(f"{hour}{camera}{seed}")
        begin = Hour.from_key(hour).start + timedelta(minutes=seed)
        with SpoolWriter(self.spool, camera, "box1") as writer:
            for number in range(frames):
                record = {"detections": [], "model_version": "line/1", "device_id": "box1"}
                writer.write(begin + timedelta(seconds=number), frame_record(record), chance.randbytes(size))
            if not seed:
                writer.seal(Hour.from_key(hour))

    def archive(self, options: ArchiveOptions | None = None, url: str | None = None) -> None:
        """Archive what lies in the spool."""
        archive = Archive(open_store(url or self.first), self.trusted)
        results = run_archiver(self.spool, archive, self.signer, options=options, grace_seconds=0)
        assert all(result.status != "failed" for result in results), results

    def copier(self, first: ObjectStore | None = None, second: ObjectStore | None = None) -> Copier:
        """The two places; other stores may stand before them."""
        folder = self.root / "home" / "copying" / copy_id_of(self.first, self.second)
        folder.mkdir(parents=True, exist_ok=True)
        return Copier(
            Archive(first or open_store(self.first), self.trusted),
            Archive(second or open_store(self.second), self.trusted),
            folder,
        )

    def replicate(self, first: ObjectStore | None = None, second: ObjectStore | None = None) -> CopyReport:
        """One run."""
        (self.root / "store").mkdir(exist_ok=True)
        root = open_store((self.root / "store").as_uri())
        return Replication(self.copier(first, second), root, self.signer).run()

    def objects(self, url: str) -> dict[str, bytes]:
        """Everything in a place by its key."""
        store = open_store(url)
        return {info.key: store.get(info.key) for info in store.list("")}

    def statements(self, url: str) -> list[CopyStatement]:
        """The verified statements of a place."""
        store = open_store(url)
        return [
            self.trusted.open_document(store.get(info.key), "archive-copy", info.key).record(CopyStatement, info.key)
            for info in store.list(f"{COPIES}date=")
        ]
