"""Starts a child process for a job, passes its events on, and never leaves it behind."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import yolo_assets
from yolo_assets.contracts.base import Record
from yolo_assets.contracts.errors import UserError
from yolo_assets.training.child import write_atomic
from yolo_assets.training.jobs import Event

OnEvent = Callable[[Event], None]

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
        on_event: called for each event, in this thread; what it raises ends the child and is raised on.
        nice: how much the child yields to the line's own work.
        timeout_seconds: the child is ended after this.

    Raises:
        UserError: the child failed; the message is its own, or names its log.
    """
    folder.mkdir(parents=True, exist_ok=True)
    job_file, log_file = folder / f"{command}.job.json", folder / f"{command}.log"
    write_atomic(job_file, job.to_json())
    root = str(Path(yolo_assets.__file__).parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    with log_file.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "yolo_assets.training", command, str(job_file), "--nice", str(nice)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"},
        )
        timed_out = threading.Event()
        timer = threading.Timer(timeout_seconds or 0, lambda: (timed_out.set(), process.kill()))
        timer.daemon = True
        if timeout_seconds is not None:
            timer.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if on_event is not None and line.startswith(b"{"):
                    on_event(Event.from_json(line, f"an event of {command}"))
            code = process.wait()
        finally:
            timer.cancel()
            _end(process)
    if timed_out.is_set():
        raise UserError(f"{command} took longer than {timeout_seconds:g} s and was ended; see {log_file}")
    if code:
        raise UserError(_reason(command, code, log_file))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Stop the child if it still runs: the caller was interrupted, or its callback raised."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _reason(command: str, code: int, log_file: Path) -> str:
    lines = log_file.read_text(errors="replace").splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    if code == 1 and errors and lines[-1] == errors[-1]:
        return f"{command}: {errors[-1].removeprefix('error: ')}"
    ended = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    last = next((line.strip() for line in reversed(lines) if line.strip()), "nothing in its log")
    return f"{command} {ended}: {last[:300]} (log: {log_file}); run it again to go on"
