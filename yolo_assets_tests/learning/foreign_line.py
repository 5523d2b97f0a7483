"""A line whose camera software is somebody else's: its spool, archived and tabled by the product."""

from __future__ import annotations

import io
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from PIL import Image

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.archiving import archive_hour
from yolo_assets.contracts.names import annotation_key
from yolo_assets.contracts.times import Hour
from yolo_assets.learning.batch import MadeBatch, make_batch
from yolo_assets.learning.candidates import gather_candidates
from yolo_assets.learning.records import BatchManifest
from yolo_assets.spool.hours import list_hours
from yolo_assets.tables.build import build_hour
from yolo_assets_tests.learning.line_world import World

FOREIGN = Path(__file__).parents[1] / "foreign" / "spool"
HOUR = Hour.from_key("20241015_14")
CAMERA = "cam01"
PATCH = (0, 0, 12, 16)
"""Where ``scene`` is red, in stored pixels."""


@dataclass
class ForeignLine:
    """A spool of somebody else, archived and tabled by the product."""

    world: World
    names: dict[str, str] = field(default_factory=dict)
    """Case to the frame's image path."""

    @property
    def folder(self) -> Path:
        return self.world.folder / "spool" / CAMERA / HOUR.key

    @property
    def archive(self) -> Archive:
        return Archive(self.world.archive, self.world.trusted)

    def add(self, case: str, ending: str, data: bytes, **record: object) -> None:
        """A frame, and its record with one box over the red patch as it lies in the file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        stem = f"20241015_14{len(self.names):02d}00_000"  # a minute apart: each shows another object
        (self.folder / f"{stem}.{ending}").write_bytes(data)
        found = {"bbox": PATCH, "class": "crack", "confidence": 0.5, "timestamp": "2024-10-15T14:00:00Z"}
        document = {"image_path": f"{stem}.{ending}", "detections": [found], "model_version": "x", "device_id": "y"}
        (self.folder / f"{stem}.json").write_bytes(orjson.dumps(document | record))
        self.names[case] = f"{CAMERA}/{HOUR.key}/{stem}.{ending}"

    def take(self, case: str) -> None:
        """A case of the folder of foreign inputs."""
        shutil.copytree(FOREIGN / case, self.world.folder / "spool", dirs_exist_ok=True)
        self.names |= {path.name: f"{CAMERA}/{HOUR.key}/{path.name}" for path in self.folder.iterdir()}

    def process(self) -> None:
        for hour in list_hours(self.world.folder / "spool"):
            archive_hour(hour, self.archive, self.world.signer)
            build_hour(hour.camera_id, hour.hour, self.world.folder / "spool", self.archive, self.world.store)

    def batch(self, budget: int = 500) -> MadeBatch:
        pool = gather_candidates(self.world.store, self.archive, HOUR.start, HOUR.end)
        made = make_batch(self.world.store, self.archive, pool, budget, class_names=("crack",))
        return MadeBatch(made.manifest, pool.left_out | made.left_out, made.boxes_left_out)

    def picture(self, batch: BatchManifest, file: str) -> Image.Image:
        """The copy for labelling, as a tool opens it that ignores EXIF."""
        data = self.world.store.get(annotation_key(batch.batch, f"images/{file}"))
        return Image.open(io.BytesIO(data)).convert("RGB")
