"""The demo's loop in a folder, with a clock of ours: simulated hours, the daemon's ticks, a simulated annotator.

loop = PlantLoop(home)          # the environment names the home, see the fixtures of the tests
loop.record_hour(NIGHT)
loop.daemon.tick()              # archived, tabled, catalogued
loop.label()                    # asks for a batch and answers it
loop.daemon.settle()            # dataset, training, release
assert loop.everything_comes_back() == []
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import orjson

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.restore.writing import restore
from yolo_assets.catalog.read import query
from yolo_assets.contracts.names import LABELS_INBOX, TRAIL, annotation_key
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour, format_time
from yolo_assets.definitions import defs
from yolo_assets.local.demo.loop import SpooledFrames
from yolo_assets.simulator.labeller import label_batch
from yolo_assets.simulator.simulation import simulate
from yolo_assets.storage import ObjectStore
from yolo_assets.storage.open import open_backend
from yolo_assets_tests.support.automation_daemon import AutomationDaemon

_RANDOM = re.compile(r"[0-9a-f]{8,}")
_DIGITS = re.compile(r"\d+")


@dataclass
class PlantLoop:
    """One plant; its stores are the folders ``archive`` and ``store`` of the home.

    Attributes:
        frames: hashes of every frame that was recorded.
        labelled: batches that were answered.
    """

    home: Path
    instance: dg.DagsterInstance
    cameras: int = 2
    frames: SpooledFrames = field(default_factory=SpooledFrames)
    labelled: int = 0

    def __post_init__(self) -> None:
        (self.home / "plant.yaml").write_text("training: {new_labels: 1, quiet_minutes: 0}\n")  # labels train at once
        self.daemon = AutomationDaemon(defs(), self.instance)

    def record_hour(self, hour: Hour, *, fps: float = 0.01) -> None:
        """A closed hour of pictures in the spool, with their truth beside it."""
        simulate(self.home / "spool", cameras=self.cameras, hours=1, fps=fps, start=hour, truth=self.home / "truth")
        self.frames.remember(self.home / "spool")

    def ask(self, hour: Hour) -> bool:
        """Request an annotation batch of an hour. Returns whether the run succeeded."""
        config = {"budget": 40, "since": format_time(hour.start), "until": format_time(hour.end)}
        return self.daemon.run("annotation_batch", config={"ops": {"annotation_batch": {"config": config}}})

    def label(self) -> None:
        """People answer every batch that has no answer, and put their files into the inbox."""
        store = open_backend((self.home / "store").as_uri())
        manifests = [info.key for info in store.list("annotation/") if info.key.endswith("manifest.json")]
        for key in manifests:
            batch = key.split("/")[1]
            answer = f"{LABELS_INBOX}{batch}.coco.json"
            if store.head(answer) is None:
                labels = label_batch(orjson.loads(store.get(annotation_key(batch, "manifest.json"))), self._truth())
                store.put(answer, orjson.dumps(labels))
                self.labelled += 1

    def _truth(self) -> Path:
        return self.home / "truth"

    def archive(self) -> Archive:
        """The archive root, without faults."""
        key = Signer.load_or_create(self.home / "keys" / "archiver")
        return Archive(open_backend((self.home / "archive").as_uri()), TrustedKeys.of(key))

    def everything_comes_back(self) -> list[str]:
        """What is wrong with what the archive gives back: nothing, when each frame is there once and unchanged."""
        archive, out = self.archive(), self.home / "restored"
        receipts = [archive.receipt(name) for name in archive.names()]
        problems: list[str] = []
        archived = sum(receipt.frame_count for receipt in receipts)
        if archived != len(self.frames.seen):
            problems.append(f"{archived} frames are archived, {len(self.frames.seen)} were recorded")
        if receipts:
            start, end = min(r.start_time for r in receipts), max(r.end_time for r in receipts)
            for camera in sorted({receipt.camera_id for receipt in receipts}):
                restore(archive, camera, start, end, out, frames_only=True)
        found, same = self.frames.identical(out)
        if (found, same) != (len(self.frames.seen), len(self.frames.seen)):
            problems.append(f"{found} frames came back, {same} as recorded, of {len(self.frames.seen)}")
        return problems

    def made(self, asset: str) -> int:
        """How often an asset was materialized."""
        return len(self.instance.fetch_materializations(dg.AssetKey(asset), limit=99).records)

    def shape(self, *, every_try: bool = True) -> list[str]:
        """Every key of both roots, hashes and times masked, and the rows of the newest catalog.

        Two loops that did the same have the same list.

        Args:
            every_try: count versions of the catalog and entries of the audit trail, too. An outage makes one
                publication of those that fall due together; a release that is tried again has an entry for each try.
        """
        keys = [(root, info.key) for root in ("archive", "store") for info in self._root(root).list("")]
        counted = [_masked(root, key) for root, key in keys if every_try or not _is_of_a_try(key)]
        return sorted(counted + self._catalogued())

    def _catalogued(self) -> list[str]:
        # Not which hours have tables: tables that came after an hour's publication are seen by the next hour's.
        rows = query(self._root("store"), "SELECT archive_key, frame_count FROM archives").rows()
        return [f"catalog: {key}, {frames} frames" for key, frames in rows]

    def _root(self, name: str) -> ObjectStore:
        return open_backend((self.home / name).as_uri())


def _is_of_a_try(key: str) -> bool:
    return key.endswith(".duckdb") or key.startswith(TRAIL)


def _masked(root: str, key: str) -> str:
    hours = key.startswith(("archives/", "index/", "receipts/", "detections/", "frames/"))
    return f"{root}/{key if hours else _DIGITS.sub('0', _RANDOM.sub('#', key))}"
