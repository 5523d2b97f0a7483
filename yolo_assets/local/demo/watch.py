"""Shows that something happens while the graph trains: the epoch, and that the line goes on meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson

from yolo_assets.contracts.errors import UserError
from yolo_assets.local.agent import Agent
from yolo_assets.local.demo.screen import Bar, Screen

PROGRESS = "progress.ndjson"


@contextmanager
def training_shown(screen: Screen, home: Path, agent: Agent | None = None) -> Iterator[None]:
    """A bar over the epochs of whatever training writes its progress now, until the block ends."""
    before = {path: path.stat().st_mtime_ns for path in _files(home)}
    stop = threading.Event()
    with screen.bar("training", 1.0) as bar:
        thread = threading.Thread(target=_follow, args=(bar, home, before, agent, stop), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def _follow(bar: Bar, home: Path, before: dict[Path, int], agent: Agent | None, stop: threading.Event) -> None:
    while not stop.wait(0.5):
        new = [path for path in _files(home) if before.get(path) != path.stat().st_mtime_ns]
        epoch = _last_epoch(max(new, key=lambda path: path.stat().st_mtime_ns)) if new else None
        note = "" if epoch is None else f"epoch {epoch[0]}/{epoch[1]}"
        if agent is not None:
            try:
                status = agent.status()
                note += f"   line: {status['fps']:.1f} frames/s on {status['model']['version']}"
            except UserError:
                pass  # the step itself looks at the agent; a bar does not decide
        bar.to(epoch[0] / epoch[1] if epoch else 0.0, note)


def _files(home: Path) -> list[Path]:
    return list((home / "training").glob(f"*/{PROGRESS}"))


def _last_epoch(path: Path) -> tuple[int, int] | None:
    for line in reversed(path.read_bytes().splitlines()):
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue  # the line that is just being written
        if event.get("epochs"):
            return int(event["epoch"]), int(event["epochs"])
    return None
