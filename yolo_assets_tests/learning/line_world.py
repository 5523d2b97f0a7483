"""A small simulated line, archived for real: what learning and training tests start from."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.archiving import archive_hour
from yolo_assets.contracts.names import LABELS_INBOX, frame_name
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour
from yolo_assets.learning.batch import write_batch
from yolo_assets.learning.formats import coco
from yolo_assets.learning.formats.base import RawBox, RawImage
from yolo_assets.learning.labels import ImportReport, import_inbox
from yolo_assets.learning.records import BatchManifest, Sampled
from yolo_assets.simulator.appearance import CLASS_NAMES
from yolo_assets.simulator.weld_line import LineConfig, TruthBox, WeldLine
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.spool.writer import SpoolWriter
from yolo_assets.storage import ObjectStore, open_store
from yolo_assets_tests.support.records import frame_record

START = datetime(2026, 3, 1, 10, 0, 0, tzinfo=UTC)


@dataclass
class World:
    """Roots, keys and what is known of the frames that were archived."""

    folder: Path
    store: ObjectStore
    archive: ObjectStore
    trusted: TrustedKeys
    signer: Signer
    truth: dict[str, tuple[TruthBox, ...]] = field(default_factory=dict)
    images: dict[str, bytes] = field(default_factory=dict)
    size: tuple[int, int] = (320, 256)

    @classmethod
    def make(cls, folder: Path) -> World:
        signer = Signer.load_or_create(folder / "keys" / "archiver")
        store, archive = (open_store((folder / name).as_uri()) for name in ("store", "archive"))
        return cls(folder, store, archive, TrustedKeys.of(signer), signer)

    def archive_frames(self, count: int, *, step: float = 20.0, start: datetime = START, camera: str = "lineA_cam01"):
        """Draw frames, write them as the agent does, archive their hours. Returns the image paths."""
        line = WeldLine(LineConfig(seed=3, cameras=2, width=self.size[0], height=self.size[1]))
        paths: list[str] = []
        hours: set[Hour] = set()
        with SpoolWriter(self.folder / "spool", camera, "simulated") as writer:
            for index in range(count):
                at = start + timedelta(seconds=index * step)
                scene = line.draw(camera, at)
                jpeg = cv2.imencode(".jpg", scene.image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
                record = {"detections": [], "model_version": "none/0", "device_id": "simulated"}
                writer.write(at, frame_record(record), jpeg)
                path = f"{camera}/{Hour.of(at).key}/{frame_name(at)}"
                paths.append(path)
                self.truth[path], self.images[path] = scene.truth, jpeg
                hours.add(Hour.of(at))
            for hour in sorted(hours):
                writer.seal(hour)
        for hour in sorted(hours):
            archive_hour(
                SpoolHour.of(self.folder / "spool", camera, hour), Archive(self.archive, self.trusted), self.signer
            )
        return paths

    def batch(self, paths: list[str]) -> BatchManifest:
        """An annotation batch of these frames."""
        sampled = [Sampled(image_path=path, reason="random") for path in paths]
        return write_batch(self.store, Archive(self.archive, self.trusted), sampled, class_names=CLASS_NAMES)

    def answers(self, batch: BatchManifest) -> list[RawImage]:
        """What an annotator who knows the truth says."""
        return [
            RawImage(
                name=item.file,
                image_path=item.image_path,
                width=item.width,
                height=item.height,
                boxes=[RawBox(box.bbox, box.class_name) for box in self.truth[item.image_path]],
                annotator="tester",
                reviewed=True,
            )
            for item in batch.items
        ]

    def label(self, paths: list[str], name: str = "labels.json") -> ImportReport:
        """Batch, answer, import."""
        self.store.put(f"{LABELS_INBOX}{name}", coco.write(self.answers(self.batch(paths)), CLASS_NAMES))
        return import_inbox(self.store)
