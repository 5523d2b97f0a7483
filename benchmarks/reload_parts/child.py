"""One contender in a process of its own: a whole agent with open-loop cameras, and a tap on its results.

The agent is the real one, composed and started by itself. Three of its parts are exchanged before that: the sources
(for cameras whose moments are known), the board (which also notes each result), and for the naive peers the manager.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import numpy as np
import orjson

from reload_parts.feed import CAMERAS, OpenLoopCamera, Rhythm
from reload_parts.models import NAME, STEP, Seen, line_camera
from reload_parts.naive import KinderNaiveManager, NaiveManager
from yolo_assets.contracts.model import ReleasedModel
from yolo_assets.edge import agent as agent_module
from yolo_assets.edge.agent import Agent
from yolo_assets.edge.cameras.open import ConfiguredSource
from yolo_assets.edge.config.agent import load_config
from yolo_assets.edge.pipeline.results import ResultBoard
from yolo_assets.edge.rollout import updates as updates_module
from yolo_assets.edge.rollout.history import Swap
from yolo_assets.edge.serving.loaded_model import LoadedModel
from yolo_assets.edge.serving.slot import Slot
from yolo_assets.edge.serving.slots import SlotManager
from yolo_assets.edge.types import Result
from yolo_assets.vision.model import Model

Kind = Literal["agent", "naive", "naive_kinder"]
PATIENCE = 60.0


@dataclass(frozen=True)
class Answer:
    """One frame's result. ``proven`` is the version that its detections show, None when no version fits."""

    camera: int
    sequence: int
    due: float
    finished: float
    claimed: str
    proven: str | None


@dataclass(frozen=True)
class Change:
    """One model change, on the monotonic clock that all processes share. ``released`` None: not before the end."""

    target: str
    result: str
    reason: str
    noticed: float
    ended: float
    released: float | None
    flip: float | None
    steps: dict[str, float]


@dataclass(frozen=True)
class Report:
    """What a contender did in all; frames that the queue refused at its door were never accepted."""

    answers: list[Answer]
    captured: int
    refused: int
    dropped: dict[str, int]
    open: int
    on_disk: int
    on_disk_once: int
    clean_stop: bool


class Contender:
    """Runs in the child; its methods are the parent's commands."""

    def __init__(
        self, kind: Kind, config: Path, shown: list[list[bytes]], answers: dict[str, list[list[Seen]]]
    ) -> None:
        self.rhythm = Rhythm()
        self._expected = answers
        self._pictures = len(shown[0])
        self._cameras = [OpenLoopCamera(number, self.rhythm, shown[number]) for number in range(CAMERAS)]
        self._results: list[tuple[int, int, float, str, Seen]] = []
        self._ended: deque[tuple[float, Swap]] = deque()
        self._released: list[float] = []
        numbers = {line_camera(number): number for number in range(CAMERAS)}
        contender = self

        class Tapped(ResultBoard):
            def report(self, result: Result) -> None:
                super().report(result)
                found = [(tuple(d["bbox"]), d["confidence"]) for d in result.detections]
                number = numbers[result.camera_id]
                contender._cameras[number].answered += 1
                entry = (number, result.sequence, result.finished, result.model_version, Seen.of(found))
                contender._results.append(entry)

        exchanged: dict[str, Any] = {
            "open_sources": lambda config, clock: [ConfiguredSource(c, "every", "simulated") for c in self._cameras],
            "ResultBoard": Tapped,
        }
        manager = {"agent": SlotManager, "naive": NaiveManager, "naive_kinder": KinderNaiveManager}[kind]
        with patch.multiple(agent_module, **exchanged), patch.object(updates_module, "SlotManager", manager):
            self.agent = Agent(load_config(config))
        self._manager = self.agent.control.slots if kind != "agent" else None
        if isinstance(self._manager, NaiveManager):
            self._manager.on_released = self._released.append
        told = self.agent.swaps.on_end

        def on_end(swap: Swap) -> None:
            told(swap)
            self._ended.append((time.monotonic(), swap))

        self.agent.swaps.on_end = on_end

    def start(self) -> None:
        """Start the agent; the release that lies in the store is loaded."""
        self.agent.start()
        self._until(lambda: self.agent.control.serving is not None and self._ended)
        self._ended.clear()

    def await_change(self, version: str) -> Change:
        """Wait until the agent has dealt with a release that was placed, and the model that it displaced is freed."""
        self._until(lambda: self._ended)
        ended, swap = self._ended.popleft()
        noticed = ended - swap.event.seconds
        slots = self.agent.control.slots
        released = None
        if swap.event.result == "committed":
            self._until(lambda: not any(role == "retiring" for role, _ in slots.loaded()))
            self._until(lambda: self._swap_of(swap).lost is not None or not self.rhythm.running.is_set())
            released = time.monotonic()
        event = swap.event
        return Change(
            event.target, event.result, event.reason, noticed, ended, released, swap.switch_seconds, dict(swap.steps)
        )

    def naive_swap(self, version: str) -> Change:
        """Have the naive manager change the model."""
        assert isinstance(self._manager, NaiveManager)
        noticed = time.monotonic()
        flip = self._manager.swap(lambda: self._load_cold(version))
        return Change(f"{NAME}/{version}", "committed", "", noticed, time.monotonic(), None, flip, {})

    def roll_back(self) -> tuple[float, float]:
        """To the warm previous model; then the pin is lifted, and the channel leads forward again.

        Returns:
            Seconds until the old model answered for new frames, and of the whole call with its writes to disk.
        """
        source = self.serving()
        begin = time.perf_counter()
        done = self.agent.control.roll_back("the benchmark")
        whole = time.perf_counter() - begin
        self.agent.control.unpin("the benchmark")
        self.agent.updates.poller.poll_now()
        self._until(lambda: self.serving() == source and len(self._ended) >= 2)
        self._ended.clear()
        return done.seconds, whole

    def begin(self, frames_per_second: float | None) -> float:
        """Let the cameras shoot; the moment."""
        self.rhythm.begin(frames_per_second)
        return time.monotonic()

    def pause(self) -> float:
        """Stop the cameras and wait until every frame has its end; the moment."""
        moment = time.monotonic()
        self.rhythm.pause()
        time.sleep(0.2)
        self._until(lambda: not self.agent.recorder.journal.in_flight())
        return moment

    def answered(self) -> int:
        """Results so far."""
        return len(self._results)

    def releases(self) -> list[float]:
        """Moments at which the naive manager freed models."""
        return list(self._released)

    def serving(self) -> str | None:
        """The label of the model that answers."""
        slot = self.agent.control.slots.current
        return slot.label if slot else None

    def memory(self) -> tuple[int, int]:
        """Resident and proportional set size in bytes, as the kernel says."""
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
        kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
        return kilobytes["Rss"] * 1024, kilobytes["Pss"] * 1024

    def finish(self) -> Report:
        """Stop the agent and prove every answer."""
        clean = self.agent.stop()
        counts = self.agent.recorder.journal.counts().values()
        dropped: dict[str, int] = {}
        for count in counts:
            for reason, number in count.dropped.items():
                dropped[reason] = dropped.get(reason, 0) + number
        lines = [
            orjson.loads(line)
            for path in self.agent.config.spool.glob("*/*/*.ndjson")
            for line in path.read_bytes().splitlines()
        ]
        written = [(line["camera_id"], line["sequence"], line["model_version"]) for line in lines if "sequence" in line]
        return Report(
            answers=[self._proved(*result) for result in self._results],
            captured=sum(count.captured for count in counts),
            refused=dropped.pop("queue_full", 0),
            dropped=dropped,
            open=sum(count.in_flight for count in counts),
            on_disk=len(written),
            on_disk_once=len({(camera, sequence) for camera, sequence, _ in written}),
            clean_stop=clean,
        )

    def _proved(self, camera: int, sequence: int, finished: float, claimed: str, seen: Seen) -> Answer:
        fits = [
            version
            for version, table in self._expected.items()
            if not seen.boxes_far_from(expected := table[camera][sequence % self._pictures])
            and float(np.abs(seen.confidence - expected.confidence).max(initial=0.0)) < STEP / 2.5
        ]
        proven = fits[0] if len(fits) == 1 else None
        return Answer(camera, sequence, self._cameras[camera].due[sequence], finished, claimed, proven)

    def _load_cold(self, version: str) -> Slot[LoadedModel]:
        parts = self.agent.stager.preparer
        bundle = parts.cache.registry.read_bundle(NAME, version)
        ref = ReleasedModel(name=NAME, version=version, manifest_sha256=bundle.manifest_sha256)
        attempt = self.agent.swaps.begin("push")
        with (
            patch.object(Model, "warm_up", lambda *_, **__: 0.0),
            patch.object(Model, "check_golden", lambda *_, **__: []),
        ):
            loaded = parts.loader.load(bundle, ref, attempt)
        self.agent.swaps.cancel(attempt)
        return Slot(loaded, loaded.identity.model_version)

    def _swap_of(self, swap: Swap) -> Swap:
        return next(s for s in reversed(self.agent.swaps.swaps()) if s.ended_at == swap.ended_at)

    def _until(self, true: Any) -> None:
        end = time.monotonic() + PATIENCE
        while not true():
            if time.monotonic() > end:
                raise TimeoutError(f"nothing within {PATIENCE:.0f} s; serving {self.serving()}")
            time.sleep(0.004)


def run(
    connection: Connection, kind: Kind, config: Path, shown: list[list[bytes]], answers: dict[str, list[list[Seen]]]
) -> None:
    """The child's main: obey until ``finish``, hand errors to the parent in words."""
    logging.basicConfig(level=logging.ERROR)
    contender = Contender(kind, config, shown, answers)
    with connection:
        while True:
            try:
                name, arguments = connection.recv()
            except EOFError:  # the parent gave up
                return
            try:
                connection.send((True, getattr(contender, name)(*arguments)))
            except Exception as error:
                connection.send((False, f"{kind}.{name}: {type(error).__name__}: {error}"))
            if name == "finish":
                return
