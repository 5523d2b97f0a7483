"""The parent's side: contenders in child processes, and what happens in a round. No figures here."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from reload_parts.child import Change, Kind, Report, run
from reload_parts.figures import Segment
from reload_parts.models import NAME, Seen, line_camera
from reload_parts.releases import Publisher, Release

STEADY = 3.0
"""Seconds of frames without a change at the beginning of each round."""
PAUSE = 0.5
"""Seconds between the end of a change and the next."""


@dataclass(frozen=True)
class Setting:
    """What all contenders have in common."""

    engine: str
    threads: int
    workers: int


@dataclass
class Contender:
    """One child process and what it has done so far."""

    kind: Kind
    store: Path
    call: Any
    capacity: float = 0.0
    changes: list[Change] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    rollbacks: list[tuple[float, float]] = field(default_factory=list)
    faults: list[tuple[str, Change, bool]] = field(default_factory=list)
    """What was wrong, what the agent said, and whether the old model went on answering."""
    memory: dict[int, tuple[int, int]] = field(default_factory=dict)
    """RSS and PSS in bytes after so many swaps."""
    report: Report | None = None


@contextmanager
def contender(
    kind: Kind, root: Path, publisher: Publisher, setting: Setting, first: Release, shown: list[list[bytes]]
) -> Iterator[Contender]:
    """Start a contender on a store and a spool of its own; its process ends with the block."""
    folder = root / kind
    store = folder / "store"
    store.mkdir(parents=True)
    publisher.place(first, store)
    for label in publisher.answers:
        publisher.place_bundle(label.removeprefix(f"{NAME}/"), store)
    config = write_config(folder, publisher.key, setting)
    here, there = multiprocessing.get_context("spawn").Pipe()
    answers: dict[str, list[list[Seen]]] = publisher.answers
    process = multiprocessing.get_context("spawn").Process(target=run, args=(there, kind, config, shown, answers))
    process.start()
    there.close()

    def call(name: str, *arguments: Any) -> Any:
        here.send((name, arguments))
        good, answer = here.recv()
        if not good:
            raise SystemExit(f"error: {answer}")
        return answer

    try:
        call("start")
        yield Contender(kind, store, call)
    finally:
        here.close()
        process.join(5)
        if process.is_alive():
            process.kill()


def write_config(folder: Path, key: Path, setting: Setting, **more: Any) -> Path:
    """An agent's configuration beside its store."""
    document = {
        "device_id": "bench",
        "spool": "spool",
        "store": "store",
        "model": NAME,
        "trusted_keys": [os.path.relpath(key, folder)],
        "listen": {"port": 0},
        "engine": {"kind": setting.engine, "threads": setting.threads, "workers": setting.workers},
        "sampling": {"normal_every": 10, "detections_every": 10},
        "watch": {"seconds": 0},  # a change is over when the old model is drained, not when it has been watched
        "poll_seconds": 0.5,
        "cameras": [{"kind": "simulated", "camera_ids": [line_camera(n) for n in range(4)], "fps": 4, "width": 640}],
    }
    path = folder / "edge.yaml"
    path.write_text(yaml.safe_dump(document | more))
    return path


def measure_capacity(peers: list[Contender], seconds: float, times: int = 2) -> None:
    """Frames a second that each can answer, taken in turns; the mean."""
    found: dict[str, list[float]] = {peer.kind: [] for peer in peers}
    for _ in range(times):
        for peer in peers:
            peer.call("begin", None)
            time.sleep(1.0)
            before, begin = peer.call("answered"), time.monotonic()
            time.sleep(seconds)
            found[peer.kind].append((peer.call("answered") - before) / (time.monotonic() - begin))
            peer.call("pause")
    for peer in peers:
        peer.capacity = sum(found[peer.kind]) / times


def agent_round(peer: Contender, publisher: Publisher, share: float, releases: list[Release]) -> None:
    """Frames at a share of the capacity, and these releases one after another; then a rollback."""
    begin = peer.call("begin", share * peer.capacity)
    time.sleep(STEADY)
    for release in releases:
        if not release.fault:
            publisher.place(release, peer.store)
            peer.changes.append(peer.call("await_change", release.version))
            count = sum(change.result == "committed" for change in peer.changes)
            if peer.changes[-1].target != f"{NAME}/{release.version}" or peer.changes[-1].result != "committed":
                raise SystemExit(f"error: {release.version} did not come to serve: {peer.changes[-1]}")
            peer.memory[count] = peer.call("memory")
        else:
            serving, answered = peer.call("serving"), peer.call("answered")
            publisher.place(release, peer.store)
            change = peer.call("await_change", release.version)
            time.sleep(PAUSE)
            kept = peer.call("serving") == serving and peer.call("answered") > answered
            peer.faults.append((release.fault, change, kept and change.result in ("refused", "failed")))
        time.sleep(PAUSE)
    peer.rollbacks.append(peer.call("roll_back"))
    time.sleep(PAUSE)
    peer.segments.append(Segment(share, begin, peer.call("pause")))


def naive_round(peer: Contender, share: float, versions: list[str]) -> None:
    """The same frames and the same changes at the naive manager."""
    begin = peer.call("begin", share * peer.capacity)
    time.sleep(STEADY)
    for version in versions:
        peer.changes.append(peer.call("naive_swap", version))
        peer.memory[len(peer.changes)] = peer.call("memory")
        time.sleep(PAUSE)
    time.sleep(PAUSE)
    peer.segments.append(Segment(share, begin, peer.call("pause")))
