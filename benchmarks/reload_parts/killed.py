"""kill -9 of a real agent process while it stages a release: the old model answers first, and nothing is torn."""

from __future__ import annotations

import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import orjson

from reload_parts.models import NAME
from reload_parts.releases import Publisher, Release
from reload_parts.session import Setting, write_config
from yolo_assets.edge.config.agent import load_config
from yolo_assets.edge.rollout.state import EdgeState, read_state
from yolo_assets_tests.edge.plant import AgentProcess, until

PATIENCE = 120.0


@dataclass(frozen=True)
class Killed:
    """One kill. ``first_result`` seconds after the new start, by the model ``answered``; ``serves`` in the end."""

    before: str
    released: str
    staging: bool
    answered: str
    first_result: float
    serves: str


def kill_while_staging(
    root: Path, publisher: Publisher, setting: Setting, first: Release, releases: list[Release]
) -> tuple[list[Killed], int]:
    """Each release is killed once on its way in, at a random moment, and must serve after the restart.

    Returns:
        The kills; frames whose record is on disk twice.
    """
    folder = root / "killed"
    (folder / "store").mkdir(parents=True)
    publisher.place(first, folder / "store")
    path = write_config(folder, publisher.key, setting)
    config = load_config(path)
    path_of_state = config.state_dir / "state.json"

    def state() -> EdgeState:
        return read_state(path_of_state.read_bytes(), str(path_of_state))

    chance, kills = random.Random(4), []
    agent = AgentProcess(path)
    try:
        agent.wait_for(lambda status: _results(config.spool) > 4, PATIENCE)
        for before, release in zip([first, *releases], releases, strict=False):
            publisher.place(release, folder / "store")
            until(lambda: state().prepared is not None, PATIENCE)
            time.sleep(chance.uniform(0, 0.25))
            agent.stop(signal.SIGKILL)
            staging = state().prepared is not None
            seen, begin = _results(config.spool), time.monotonic()
            agent = AgentProcess(path)
            agent.wait_for(lambda status, seen=seen: _results(config.spool) > seen, PATIENCE)
            first_result = time.monotonic() - begin
            answered = _newest(config.spool, seen)
            until(
                lambda release=release: (
                    (model := state().primary.model) is not None and model.version == release.version
                ),
                PATIENCE,
            )
            seen = _results(config.spool)
            agent.wait_for(lambda status, seen=seen: _results(config.spool) > seen + 8, PATIENCE)
            serves = _newest(config.spool, seen + 8)
            kills.append(
                Killed(f"{NAME}/{before.version}", f"{NAME}/{release.version}", staging, answered, first_result, serves)
            )
    finally:
        agent.stop()
    paths = [line["image_path"] for line in _lines(config.spool) if "image_path" in line]
    return kills, len(paths) - len(set(paths))


def _lines(spool: Path) -> list[dict]:
    lines = []
    for path in sorted(spool.glob("*/*/*.ndjson")):
        for line in path.read_bytes().splitlines():
            try:
                lines.append(orjson.loads(line))
            except orjson.JSONDecodeError:
                continue  # the line that the kill tore; the agent's next write mends the file
    return [line for line in lines if "model_version" in line]


def _results(spool: Path) -> int:
    return len(_lines(spool))


def _newest(spool: Path, after: int) -> str:
    """The model of the first result after the first ``after``, by capture time."""
    return sorted(_lines(spool), key=lambda line: line["captured_at"])[after]["model_version"]
