"""Runs a job in a child process of its own, passes its events on, and never leaves the process behind."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import yolo_assets
from yolo_assets.contracts.base import Record
from yolo_assets.contracts.errors import UserError
from yolo_assets.runtime.files import write_atomic
from yolo_assets.runtime.processes import ChildProcess, last_line
from yolo_assets.training.jobs import TrainingEvent

OnEvent = Callable[[TrainingEvent], None]

GRACE_SECONDS = 10.0


def run_child(
    command: str,
    job: Record,
    folder: Path,
    *,
    on_event: OnEvent | None = None,
    nice: int = 5,
    timeout_seconds: float | None = None,
) -> None:
    """Run ``python -m yolo_assets.training <command>`` to its end.

    Args:
        command: ``train``, ``export`` or ``evaluate``.
        job: its job.
        folder: where the job file and the log go.
        on_event: called for each event, in this thread; what it raises ends the child and is raised to the caller.
        nice: how much the child yields to other processes.
        timeout_seconds: the child is ended after this.

    Raises:
        UserError: the child failed; the message is its own, or names its log.
    """
    folder.mkdir(parents=True, exist_ok=True)
    job_file, log_file = folder / f"{command}.job.json", folder / f"{command}.log"
    write_atomic(job_file, job.to_json())
    root = str(Path(yolo_assets.__file__).parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    options = ["--nice", str(nice), "--parent", str(os.getpid())]
    child = ChildProcess(
        command,
        [sys.executable, "-m", "yolo_assets.training", command, str(job_file), *options],
        environment={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"},
        output=ChildProcess.PIPE,
        errors=log_file,
    )
    timed_out = threading.Event()
    timer = threading.Timer(timeout_seconds or 0, lambda: (timed_out.set(), child.kill()))
    timer.daemon = True
    if timeout_seconds is not None:
        timer.start()
    try:
        assert child.stdout is not None
        for line in child.stdout:
            if on_event is not None and line.startswith(b"{"):
                on_event(TrainingEvent.from_json(line, f"an event of {command}"))
        child.wait()
    finally:
        timer.cancel()
        child.end(GRACE_SECONDS)
    if timed_out.is_set():
        raise UserError(f"{command} took longer than {timeout_seconds:g} s and was ended; see {log_file}")
    if child.exit_status:
        raise UserError(_failure(command, child.exit_status, log_file))


def _failure(command: str, status: int, log_file: Path) -> str:
    last = last_line(log_file)
    if status == 1 and last.startswith("error: "):
        return f"{command}: {last.removeprefix('error: ')}"
    ended = f"was killed by signal {-status}" if status < 0 else f"ended with code {status}"
    return f"{command} {ended}: {last[:300]} (log: {log_file}); run it again to resume"
