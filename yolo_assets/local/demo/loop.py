"""What the demo's steps share: its numbers, the graph, the stores, the frames seen in the spool, the figures.

The numbers are small on purpose, and simulated time runs faster than real time, so that hours close within minutes.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import orjson

from yolo_assets.archive.archive import Archive
from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.names import LABELS_INBOX, annotation_key, is_frame
from yolo_assets.contracts.settings import PLANT_FILE, Settings
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.local.dagster_home import prepare_dagster_home
from yolo_assets.local.demo.figures import Figures
from yolo_assets.local.demo.screen import Screen
from yolo_assets.local.driver import Graph
from yolo_assets.models.registry import Registry
from yolo_assets.simulator.appearance import CLASS_NAMES
from yolo_assets.simulator.labeller import label_batch
from yolo_assets.spool.hours import list_hours
from yolo_assets.storage import open_store

GRACE_SECONDS = 3
"""The agent writes to its open hour all the time; an hour that is quiet for so long is closed."""

_SMALL = {
    "imgsz": 160,
    "batch": 8,
    "lrf": 0.05,
    "warmup_epochs": 1,
    "val_every": 100,
    "thresholds": {"confidence": 0.15},
    "augmentation": {"mosaic": 0, "close_mosaic": 0, "flipud": 0.3, "scale": 0.15, "hsv_s": 0.3},
}
RECIPE = {
    "starter": {**_SMALL, "epochs": 8, "lr0": 0.002},
    "fine_tune": {**_SMALL, "epochs": 4, "lr0": 0.002, "threads": 1},
}
"""Small pictures and few epochs: minutes on two cores. A plant's recipe is larger.

The fine-tune runs beside the line, which takes more than half a core: two threads would wait for each other.
"""


PLANT = {"training": {"new_labels": 1, "quiet_minutes": 0}}
"""Nobody waits for more labels than those that the annotator gives at once."""


@dataclass(frozen=True)
class DemoPlan:
    """All numbers of one run.

    Attributes:
        cameras: of the line.
        seed: of the line; the same seed shows the same plates.
        first: the hour that is recorded before there is a model.
        starter_frames: of each camera in that hour.
        fps: of each camera, frames a second of real time; at this speed a camera's frames are more than half a minute
            of simulated time apart, so that no two show the same object.
        speed: simulated seconds per second.
        starter_labels: frames labelled for the starter model.
        changed_labels: frames labelled after the change.
    """

    first: Hour
    cameras: int = 3
    seed: int = 7
    starter_frames: int = 200
    fps: float = 6.0
    speed: float = 240.0
    starter_labels: int = 340
    changed_labels: int = 200

    @classmethod
    def now(cls) -> DemoPlan:
        """Starts 26 hours ago: enough simulated time for a machine that takes two and a half times as long.

        Simulated time that caught up with the present would go on at its speed: the parts would all but stand still.
        """
        return cls(first=Hour.of(utc_now()).next(-26))

    @property
    def agent_start(self) -> datetime:
        """Simulated time at which the agent begins: the hour after the recorded one."""
        return self.first.next().start

    @property
    def change_at(self) -> datetime:
        """The line changes one hour later."""
        return self.first.next(2).start

    @property
    def hour_seconds(self) -> float:
        """Real seconds that a simulated hour takes."""
        return timedelta(hours=1).total_seconds() / self.speed


@dataclass
class SpooledFrames:
    """SHA-256 of each frame by its path in the spool."""

    seen: dict[str, str] = field(default_factory=dict)

    def remember(self, spool: Path) -> None:
        """Hash the frames that are new in the spool. Call before anything may delete them."""
        for hour in list_hours(spool):
            for member in hour.frames():
                key = f"{hour.camera_id}/{hour.hour}/{member.name}"
                if key not in self.seen:
                    self.seen[key] = hashlib.sha256((hour.path / member.name).read_bytes()).hexdigest()

    def identical(self, restored: Path) -> tuple[int, int]:
        """Frames found under a restored folder, and how many of them are byte for byte what the camera left."""
        found = same = 0
        for path in sorted(restored.rglob("*")):
            if path.is_file() and is_frame(path.name):
                found += 1
                key = path.relative_to(restored).as_posix()
                same += self.seen.get(key) == hashlib.sha256(path.read_bytes()).hexdigest()
        return found, same


@dataclass
class Loop:
    """One run of the demo."""

    settings: Settings
    plan: DemoPlan
    screen: Screen
    graph: Graph
    registry: Registry
    archive: Archive
    figures: Figures = field(default_factory=Figures)
    frames: SpooledFrames = field(default_factory=SpooledFrames)

    @classmethod
    def open(cls, settings: Settings, plan: DemoPlan, screen: Screen) -> Loop:
        """Set the environment of the graph and open everything."""
        home = settings.home
        for name, value in (("recipe.json", RECIPE), (PLANT_FILE, PLANT)):
            (home / name).write_text(json.dumps(value, indent=1))
        os.environ |= {
            "YOLO_ASSETS_HOME": str(home),
            "YOLO_ASSETS_GRACE_SECONDS": str(GRACE_SECONDS),
            "YOLO_ASSETS_CLASSES": ",".join(CLASS_NAMES),
            "YOLO_ASSETS_RECIPE": str(home / "recipe.json"),
            "DAGSTER_HOME": str(prepare_dagster_home(home)),
        }
        archiver = Signer.load_or_create(settings.archiver_key)
        promoter = Signer.load_or_create(settings.promotion_key)
        frames = SpooledFrames()

        def on_run(line: str) -> None:
            frames.remember(settings.spool)  # it may archive and delete what came since the last one
            screen.say(f"Dagster run: {line}")

        return cls(
            settings=settings,
            plan=plan,
            screen=screen,
            graph=Graph(on_run=on_run),
            frames=frames,
            registry=Registry(open_store(settings.store_url), TrustedKeys.of(promoter)),
            archive=Archive(open_store(settings.archive_url), TrustedKeys.of(archiver)),
        )

    def carry(self) -> list[str]:
        """Tick the sensors, and let the conditions carry what they found."""
        self.graph.look()
        return self.graph.carry()

    def ask_and_label(self, budget: int, since: str, until: str) -> int:
        """Sample a batch, let the simulated annotator answer it, put the answer where people put theirs.

        Returns:
            Frames labelled.

        Raises:
            UserError: the time holds no frames.
        """
        config = {"ops": {"annotation_batch": {"config": {"budget": budget, "since": since, "until": until}}}}
        made = self.graph.run(["annotation_batch"], config=config)["annotation_batch"]
        if "batch" not in made:
            raise UserError(
                f"no frame was processed between {since} and {until}, so there is nothing to label: this machine was "
                "too busy for the agent; run the demo again when less else runs"
            )
        batch = str(made["batch"])
        manifest = orjson.loads(self.registry.store.get(annotation_key(batch, "manifest.json")))
        labels = label_batch(manifest, self.settings.home / "truth")
        self.registry.store.put(f"{LABELS_INBOX}{batch}.coco.json", orjson.dumps(labels))
        boxes = len(labels["annotations"])
        self.screen.say(
            f"{len(manifest['items'])} frames labelled with {boxes} boxes by a SIMULATED annotator "
            "(the simulator's truth), as a COCO file in labels/inbox/"
        )
        return len(manifest["items"])
