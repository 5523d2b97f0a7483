"""How the demo talks: numbered steps, indented lines, progress bars; plain lines when nobody watches."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

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
    def bar(self, what: str, total: float) -> Iterator[Bar]:
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
            yield Bar(progress, task)


class Bar:
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
