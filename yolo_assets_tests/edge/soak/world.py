"""The plant of the soak: an agent and an archiver on one small real disk, and everything that can happen to them."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.error
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

from yolo_assets.contracts.times import Hour
from yolo_assets_tests.edge.plant import AgentProcess, Plant
from yolo_assets_tests.support.videos import write_video

SIMULATED = ("lineA_cam01", "lineA_cam02")
SPEED = 600
"""An hour of the simulated line takes six seconds, so that hours are sealed, archived and reclaimed all the time."""
_CLI = [sys.executable, "-m", "yolo_assets.cli.main"]


class SoakWorld:
    """Starts everything; each public method from ``EVENTS`` is one thing that goes wrong and ends again."""

    def __init__(self, plant: Plant, disk: Path, seed: int, *, fps: float, small_disk: bool) -> None:
        self.plant = plant
        self.disk = disk
        self.chance = random.Random(seed)
        self.small_disk = small_disk
        self.story: list[str] = []
        self.stages: set[str] = set()
        self.memory: list[tuple[float, int]] = []
        self.lives = 0
        self.version = "1"
        self._stop = threading.Event()
        for version in "12":
            plant.register(version)
        plant.promote("1")
        plant.spool = disk / "spool"
        self.photos = plant.photos("photos", 6, blobs=3)
        self.video = plant.root / "line.mp4"
        write_video(self.video, 40)
        start = Hour.of(datetime.now(UTC) - timedelta(days=40)).start.isoformat()
        self._config = plant.config_file(
            [
                {
                    "kind": "simulated",
                    "camera_ids": list(SIMULATED),
                    "fps": fps,
                    "clock": {"start": start, "speed": SPEED},
                },
                self._file("folder", "photos", self.photos),
                self._file("video", "video", self.video),
            ],
            spool=str(plant.spool),
            state=str(plant.root / "state"),
            sampling={"normal_every": 2},
            disk={
                "low": "10%",
                "high": "12%",
                "records_only": "25%",
                "no_images": "40%",
                "reserve": "5%",
                "fsync_seconds": 1,
            },
        )
        self.archive = plant.root / "archive"
        self.agent = self._start_agent()
        self.archiver = self._start_archiver()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    @staticmethod
    def _file(kind: str, name: str, path: Path) -> dict[str, Any]:
        camera = {"kind": kind, "camera_id": name, "path": str(path), "start": "2026-01-02T03:10:00Z"}
        return camera | {"loop": True, "pace": "realtime", "fps": 2, "policy": "latest"}

    # --- what goes wrong

    def camera_dies(self) -> None:
        """The pictures' folder goes away and comes back."""
        self._away(self.photos)

    def file_dies(self) -> None:
        """The video goes away and comes back."""
        self._away(self.video)

    def store_goes_away(self) -> None:
        """The store's folder is renamed, as a share that is not mounted."""
        self._away(self.plant.store_folder)

    def model_changes(self) -> None:
        """Another version is released."""
        self.version = "2" if self.version == "1" else "1"
        self.plant.promote(self.version)
        wanted = f"line/{self.version}"
        self.agent.wait_for(lambda s: s["model"]["version"] == wanted, 60)

    def archiver_pauses(self) -> None:
        """Ended at once or killed; the spool grows, and shrinks again after."""
        how = self.chance.choice((signal.SIGTERM, signal.SIGKILL))
        self.archiver.send_signal(how)
        self.archiver.wait(30)
        self._pause(8, 14)
        self.archiver = self._start_archiver()

    def disk_fills(self) -> None:
        """Somebody else takes all that is or becomes free; inference goes on; then it is free again."""
        filler = self.disk / "somebody-else.bin"
        told = metered = False
        try:
            with filler.open("wb") as file:
                _fill(file)
                before = _inferred(self.agent.wait_for(lambda s: s["spool"]["stage"] == "no_images", 15))
                for _ in range(self.chance.randint(4, 10)):
                    self._pause(0.5, 0.5)
                    _fill(file)
                    told |= bool(self.agent.status()["spool"]["trouble"])
                    metered |= b"\nyolo_edge_disk_stage 3.0\n" in self.agent.request("/metrics")[1]
            assert _inferred(self.agent.status()) > before, "inference stood still on a full disk"
            assert told and metered, "a full disk must be told"
            assert "NO PICTURES ARE KEPT" in self.agent.log.read_text()
        finally:
            filler.unlink()
        self.agent.wait_for(lambda s: s["spool"]["stage"] != "no_images", 90)

    def agent_is_killed(self) -> None:
        """A power switch, as far as a process can feel it."""
        self._new_life(signal.SIGKILL)

    def agent_is_restarted(self) -> None:
        """As an operator does it."""
        self._new_life(signal.SIGTERM)

    @property
    def events(self) -> list[Callable[[], None]]:
        """What may happen at any time."""
        found = [self.camera_dies, self.file_dies, self.store_goes_away, self.model_changes, self.archiver_pauses]
        return [*found, self.disk_fills] if self.small_disk else found

    @property
    def restarts(self) -> list[Callable[[], None]]:
        """What ends the agent's life: only before the memory is watched."""
        return [self.agent_is_killed, self.agent_is_restarted, self.agent_is_killed]

    def happen(self, event: Callable[[], None]) -> None:
        """One event, then a moment of peace."""
        self.story.append(f"{event.__name__} at {time.monotonic():.1f}")
        event()
        self._pause(0.5, 2)

    # --- the end

    def finish(self) -> dict[str, Any]:
        """Let everything settle, stop the agent and archive the rest; the last status."""
        self.agent.wait_for(lambda s: s["ready"], 60)
        last = self.agent.status()
        self._stop.set()
        self._watcher.join(10)
        assert self.agent.stop() == 0, self.agent.log.read_text()[-3000:]
        self.archiver.terminate()
        self.archiver.wait(30)
        done = subprocess.run(
            [*_CLI, *self._archive_arguments("0")], env=self._env(), capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return last

    def kill(self) -> None:
        """End what still runs, whatever happened."""
        self._stop.set()
        for process in (self.agent.process, self.archiver):
            if process.poll() is None:
                process.kill()
                process.wait(10)

    # --- helpers

    def _start_agent(self) -> AgentProcess:
        self.lives += 1
        self.memory.clear()
        return AgentProcess(self._config)

    def _new_life(self, how: int) -> None:
        code = self.agent.stop(how)
        assert code == (0 if how == signal.SIGTERM else -how), self.agent.log.read_text()[-3000:]
        self.agent = self._start_agent()
        self.agent.wait_for(lambda s: s["totals"]["processed"] > 0, 60)

    def _start_archiver(self) -> subprocess.Popen[bytes]:
        # A minute of quiet closes what a killed agent left open: longer than it takes to start again.
        with (self.plant.root / "archiver.log").open("ab") as log:
            command = [*_CLI, *self._archive_arguments("60"), "--every", "1"]
            return subprocess.Popen(command, env=self._env(), stdout=log, stderr=log)

    def _archive_arguments(self, grace: str) -> list[str]:
        return [
            *("archive", "run", "--spool", str(self.plant.spool), "--archive", self.archive.as_uri()),
            *("--grace", grace, "--json"),
        ]

    def _env(self) -> dict[str, str]:
        return {**os.environ, "YOLO_ASSETS_HOME": str(self.plant.root / "home")}

    def _away(self, path: Path) -> None:
        hidden = path.with_name(f"{path.name}.away")
        path.rename(hidden)
        self._pause(1, 5)
        hidden.rename(path)

    def _pause(self, least: float, most: float) -> None:
        time.sleep(self.chance.uniform(least, most))

    def _watch(self) -> None:
        while not self._stop.wait(0.5):
            agent = self.agent
            try:
                status = agent.status()
                rollup = Path(f"/proc/{agent.process.pid}/smaps_rollup").read_text()
            except (urllib.error.URLError, OSError, json.JSONDecodeError):
                continue
            assert status["totals"]["balanced"], status["totals"]
            self.stages.add(status["spool"]["stage"])
            pss = next(int(line.split()[1]) << 10 for line in rollup.splitlines() if line.startswith("Pss:"))
            if agent is self.agent:
                self.memory.append((time.monotonic(), pss))


def _fill(file: BinaryIO) -> None:
    """Until not a byte more goes in."""
    for block in (1 << 18, 1 << 12):
        try:
            while True:
                os.write(file.fileno(), bytes(block))
        except OSError:
            continue


def _inferred(status: dict[str, Any]) -> int:
    """Frames that a model has seen, whether the disk then took their record or not."""
    return status["totals"]["processed"] + status["totals"]["dropped"].get("disk_full", 0)
