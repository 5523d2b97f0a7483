"""The demo's output: numbered steps, indented lines, progress bars; without a terminal plain lines."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from yolo_assets.contracts.errors import UserError
from yolo_assets.local.services import AgentService

STEPS = 8


class Screen:
    """Output of one demo run, on standard output, or on standard error when that is kept for a document."""

    def __init__(self, *, stderr: bool = False) -> None:
        stream = sys.stderr if stderr else sys.stdout
        # While a step runs Dagster sends descriptors 1 and 2 into its logs: a bar needs one of its own to go on.
        own = os.fdopen(os.dup(stream.fileno()), "w", encoding=stream.encoding) if stream.isatty() else None
        self.console = Console(highlight=False, soft_wrap=True, stderr=stderr, file=own)
        self._started = time.monotonic()
        self._number = 0

    @property
    def seconds(self) -> float:
        """Since the demo began."""
        return time.monotonic() - self._started

    def step(self, title: str) -> None:
        """Begin a numbered step."""
        self._number += 1
        self.console.print(f"\n[bold cyan]{self._number}/{STEPS}[/] [bold]{title}[/] [dim]({self.seconds:.0f} s)[/]")

    def say(self, text: str) -> None:
        """One line under the current step."""
        self.console.print(f"    {text}", markup=False)

    @contextmanager
    def bar(self, what: str, total: float) -> Iterator[ProgressBar]:
        """A progress bar that disappears when done; without a terminal nothing is shown."""
        progress = Progress(
            TextColumn("    {task.description}"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        with progress:
            task = progress.add_task(what, total=total, note="")
            yield ProgressBar(progress, task)


class ProgressBar:
    """One progress bar."""

    def __init__(self, progress: Progress, task: object) -> None:
        self._progress = progress
        self._task = task

    def to(self, done: float, note: str = "") -> None:
        """Show ``done`` of the total, with a short note."""
        self._progress.update(self._task, completed=done, note=note)  # type: ignore[arg-type]

    def advance(self, steps: float = 1) -> None:
        """Show ``steps`` more."""
        self._progress.advance(self._task, steps)  # type: ignore[arg-type]


PROGRESS = "progress.ndjson"


@contextmanager
def training_shown(screen: Screen, home: Path, agent: AgentService | None = None) -> Iterator[None]:
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


def _follow(
    bar: ProgressBar, home: Path, before: dict[Path, int], agent: AgentService | None, stop: threading.Event
) -> None:
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
