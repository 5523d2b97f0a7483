"""A plant's morning in Dagster's UI, by real daemons on PostgreSQL: hours, a failed camera, labels, a new model.

Everything that happens is done by a clock or by one of two persons: who asks for a batch of frames in the UI, and who
puts the labels into the inbox. The cameras are simulated, and so is the person who labels; runs, archives, training and
gate are real. ``test_plant_in_the_ui.py`` says what has to be seen.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import orjson
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from yolo_assets.archive.archive import Archive
from yolo_assets.catalog.read import query
from yolo_assets.catalog.versions import read_pointer
from yolo_assets.contracts.names import LABELS_INBOX, ArchiveName, annotation_key
from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour, format_time, utc_now
from yolo_assets.defs.partitions import SETTING as FIRST_HOUR
from yolo_assets.local.demo.loop import RECIPE
from yolo_assets.local.services import AgentService, SimulatedLine
from yolo_assets.models.registry import Registry
from yolo_assets.simulator.appearance import CLASS_NAMES
from yolo_assets.simulator.labeller import label_batch
from yolo_assets.simulator.simulation import simulate
from yolo_assets.storage import open_store
from yolo_assets_tests.support.plant_instance import plant_environment
from yolo_assets_tests.support.plant_services import PlantServices
from yolo_assets_tests.support.postgres_server import Database

HOURS = 5
CAMERAS = ("lineA_cam01", "lineA_cam02", "lineA_cam03", "lineA_cam04")
BAD = "lineA_cam04"
"""From its third hour on, something stands where its archives must go."""
HOLE = "lineA_cam02"
"""Its third hour is not there."""
NEVER = "lineA_cam05"
"""Listed, and never seen."""
LABELLED = 60
WIDTH = 1440
MOST_BYTES = 150_000
_WITHOUT_OUR_PATHS = """home => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    node.nodeValue = node.nodeValue.replaceAll(home, "/var/lib/yolo-assets").replace(/Stack Trace:[^]*/, "");
  }
}"""
_LAUNCH = "mutation($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename } }"


def wait_for(what: Callable[[], Any], seconds: float, name: str) -> Any:
    """Until it says something that is true.

    Raises:
        AssertionError: not within these seconds.
    """
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, f"{name}: not within {seconds:.0f} s"
        time.sleep(1)
    return found


@dataclass
class PlantToLookAt:
    """A running plant.

    Attributes:
        settings: of the centre.
        services: code server, daemon, UI and pages.
        agent: on the line, with the cameras that work.
        first: the oldest hour.
    """

    settings: Settings
    services: PlantServices
    agent: AgentService
    first: Hour

    @property
    def registry(self) -> Registry:
        """The models."""
        keys = TrustedKeys.load([self.settings.promotion_key.with_name("promotion.pub")])
        return Registry(open_store(self.settings.store_url), keys)

    def archived(self) -> set[tuple[str, Hour]]:
        """Camera-hours with an archive."""
        keys = TrustedKeys.of(Signer.load(self.settings.archiver_key))
        return {(name.camera_id, name.hour) for name in Archive(open_store(self.settings.archive_url), keys).names()}

    def catalogued(self) -> set[tuple[str, Hour]]:
        """Camera-hours in the newest catalog."""
        store = open_store(self.settings.store_url)
        if read_pointer(store) is None:
            return set()
        return {(camera, Hour(hour)) for camera, hour in query(store, "SELECT camera_id, hour FROM archives").rows()}

    def should_be_archived(self) -> set[tuple[str, Hour]]:
        """Every hour of a good camera, and the bad one's before it was bad."""
        found = {(camera, self.first.next(number)) for camera in CAMERAS for number in range(HOURS)}
        found -= {(BAD, self.first.next(number)) for number in range(2, HOURS)}
        return found - {(HOLE, self.first.next(2))}

    def ask_for_a_batch(self) -> None:
        """A person asks for frames to label."""
        until = self.first.next(HOURS)
        config = {"budget": LABELLED, "since": format_time(self.first.start), "until": format_time(until.start)}
        self.materialize("annotation_batch", {"ops": {"annotation_batch": {"config": config}}})

    def materialize(self, asset: str, config: dict[str, Any] | None = None) -> None:
        """A person starts an asset in the UI; this is the request that the dialog sends."""
        params = {
            "mode": "default",
            "runConfigData": config or {},
            "selector": {
                "repositoryLocationName": "yolo_assets",
                "repositoryName": "__repository__",
                "pipelineName": "__ASSET_JOB",
                "assetSelection": [{"path": [asset]}],
            },
        }
        answer = httpx.post(
            f"{self.services.ui}/graphql", json={"query": _LAUNCH, "variables": {"params": params}}, timeout=60
        ).json()
        assert answer["data"]["launchRun"]["__typename"] == "LaunchRunSuccess", answer

    def label(self) -> None:
        """A person puts the labels of the batch into the inbox, once it is there."""
        store = open_store(self.settings.store_url)

        def manifest() -> str | None:
            keys = (info.key for info in store.list("annotation/"))
            return next((key for key in keys if key.endswith("manifest.json")), None)

        key = wait_for(manifest, 300, "a batch to label")
        batch = key.split("/")[1]
        labels = label_batch(
            orjson.loads(store.get(annotation_key(batch, "manifest.json"))), self.settings.home / "truth"
        )
        store.put(f"{LABELS_INBOX}{batch}.coco.json", orjson.dumps(labels))

    def released(self) -> str | None:
        """The version that the channel points to."""
        pointer = self.registry.channel(self.settings.model_name, "stable").pointer()
        return pointer.version if pointer is not None else None

    def on_the_line(self) -> str | None:
        """The version that the agent uses."""
        return self.agent.status()["model"]["version"]


@contextlib.contextmanager
def plant_to_look_at(home: Path, database: Database, weights: Path | None = None) -> Iterator[PlantToLookAt]:
    """Hours of a few cameras in a spool, an agent on the line, and every service of the centre.

    Args:
        home: a new folder.
        database: an empty one.
        weights: a checkpoint from which the training starts, for a report that is worth looking at; by default it
            starts from nothing, and an epoch teaches it nothing either.
    """
    settings = Settings(home=home)
    home.mkdir(parents=True, exist_ok=True)
    starter = {**RECIPE["starter"], "epochs": 1, "lr0": 0.0005} | (
        {"weights": str(weights)} if weights is not None else {}
    )
    (home / "recipe.json").write_text(json.dumps({"starter": starter}))
    (home / "gate.json").write_text(
        json.dumps(
            {
                "min_frames": 1,
                "min_boxes_per_class": 1,
                "min_recall": 0,
                "min_precision": 0,
                "min_map50": 0,
                "require_all_classes": False,
            }
        )
    )
    (home / "plant.yaml").write_text(f"cameras: [{', '.join((*CAMERAS, NEVER))}]\n")
    for key in (settings.archiver_key, settings.promotion_key):
        Signer.load_or_create(key)
    first = Hour.of(utc_now()).next(-HOURS)
    simulate(
        settings.spool,
        cameras=len(CAMERAS),
        hours=HOURS,
        fps=0.01,
        start=first,
        truth=home / "truth",
        truth_records=True,
    )
    shutil.rmtree(settings.spool / HOLE / first.next(2).key)
    for number in range(2, HOURS):
        blocked = home / "archive" / ArchiveName(BAD, first.next(number)).archive_key
        blocked.mkdir(parents=True)
        (blocked / "moved here by hand").touch()
    environment = plant_environment(home, database) | {
        "YOLO_ASSETS_HOME": str(home),
        "YOLO_ASSETS_GRACE_SECONDS": "1",
        FIRST_HOUR: f"{first.next(-24).date}-00:00",
        "YOLO_ASSETS_CLASSES": ",".join(CLASS_NAMES),
        "YOLO_ASSETS_RECIPE": str(home / "recipe.json"),
        "YOLO_ASSETS_GATE": str(home / "gate.json"),
    }
    seen = tuple(camera for camera in CAMERAS if camera != HOLE)
    line = SimulatedLine(seen, seed=3, start=first.next(HOURS).start, speed=60, fps=1, change_at=None)
    with (
        PlantServices(home, environment, ("code", "daemon", "ui", "pages")) as services,
        AgentService(settings, line) as agent,
    ):
        yield PlantToLookAt(settings, services, agent, first)


def carry(plant: PlantToLookAt) -> None:
    """Wait for what daemon and agent do by themselves, and be the two persons."""
    wait_for(lambda: plant.catalogued() >= plant.should_be_archived(), 900, "the catalog")
    plant.ask_for_a_batch()
    plant.label()
    version = wait_for(plant.released, 1200, "a release")
    wait_for(lambda: str(plant.on_the_line() or "").endswith(version), 180, "the model on the line")


@dataclass(frozen=True)
class Look:
    """What a person sees in a browser, page by page; each picture is kept.

    Attributes:
        page: the browser's.
        ui: address of Dagster's UI.
        home: of the plant; pictures show a plant's usual one.
        folder: for the pictures.
    """

    page: Page
    ui: str
    home: Path
    folder: Path

    def today(self) -> str:
        """What came, what lacks, what failed and why."""
        self._go(f"{self.ui}/assets/today", 1400)
        self.page.get_by_text(NEVER).first.wait_for()
        return self._keep("ui-today")

    def lineage(self) -> str:
        """All assets, group by group; one is red."""
        self._go(f"{self.ui}/asset-groups", 640)
        self.page.locator("svg").get_by_text("intake", exact=True).first.wait_for()
        self.page.get_by_text("Hide navigation").click()
        self.page.mouse.click(800, 600)
        self.page.keyboard.press("Alt+e")  # expand all groups
        self.page.locator("svg").get_by_text("trained_weights", exact=True).first.wait_for()
        self.page.get_by_role("img", name="panel_show_right").first.click()
        self.page.wait_for_timeout(1500)
        self.page.mouse.dblclick(800, 600)  # fit it into the window
        return self._keep("ui-lineage")

    def hour(self, hour: Hour) -> str:
        """One hour of frames, with pictures."""
        self._go(f"{self.ui}/assets/frames?view=partitions&partition={hour.partition_key}", 760)
        self.page.get_by_text("detections").first.wait_for()
        loaded = "[...document.images].some(one => one.src.includes('samples.webp') && one.naturalWidth > 0)"
        self.page.wait_for_function(loaded)
        return self._keep("ui-hour")

    def failed_camera(self) -> str:
        """The run that names camera, hour and cause."""
        ask = "{runsOrError(filter: {statuses: [FAILURE]}) {... on Runs {results {runId}}}}"
        answer = httpx.post(f"{self.ui}/graphql", json={"query": ask}, timeout=60).json()
        self._go(f"{self.ui}/runs/{answer['data']['runsOrError']['results'][-1]['runId']}", 900)
        self.page.get_by_text("is in the way").first.wait_for()
        return self._keep("ui-failed-camera")

    def gate(self, address: str) -> str:
        """The gate report of a version."""
        self._go(address, 1000)
        self.page.get_by_text("Gate:").wait_for()
        return self._keep("ui-gate")

    def catalog(self) -> str:
        """The newest catalog."""
        self._go(f"{self.ui}/assets/archive_catalog", 1000)
        self.page.get_by_text("receipt_etag").wait_for()
        self.page.get_by_text("Columns", exact=True).click()  # they come before the figures
        self.page.get_by_text("summary", exact=True).first.wait_for()
        return self._keep("ui-catalog")

    def _go(self, address: str, height: int) -> None:
        self.page.set_viewport_size({"width": WIDTH, "height": height})
        self.page.goto(address, wait_until="load")

    def _keep(self, name: str) -> str:
        """Keep the picture; returns the text that is seen."""
        self.page.wait_for_timeout(4000)  # until lists that load late are there
        text = self.page.locator("body").inner_text()
        self.page.evaluate(_WITHOUT_OUR_PATHS, str(self.home))
        path = self.folder / f"{name}.webp"
        with Image.open(BytesIO(self.page.screenshot())) as picture:
            for quality in range(80, 30, -5):
                picture.save(path, quality=quality, method=6)
                if path.stat().st_size < MOST_BYTES:
                    break
        return text


@contextlib.contextmanager
def looking(ui: str, home: Path, folder: Path) -> Iterator[Look]:
    """A browser in front of the UI."""
    with sync_playwright() as play:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        page = browser.new_page()
        page.set_default_timeout(120_000)
        yield Look(page, ui, home, folder)
        browser.close()
