"""What every child process does before it works: silence, limits, one owner of the folder, no life without a parent.

Must be called before torch or ultralytics is imported, because both read the environment at import.
"""

from __future__ import annotations

import fcntl
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from yolo_assets.contracts.errors import UserError


def quiet_environment(config: Path, threads: int) -> None:
    """No network, no telemetry, no code from checkpoints, and no more threads than allowed.

    Args:
        config: writable folder for what the libraries insist on writing.
        threads: for every maths library.
    """
    config.mkdir(parents=True, exist_ok=True)
    # Waiting threads keep OpenMP's short spin: OMP_WAIT_POLICY=PASSIVE made a step on two shared cores 2 to 20 times
    # slower, because a step is thousands of small parallel regions. Yielding to the line is what ``nice`` is for.
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        os.environ.pop(name, None)
    os.environ.update(
        YOLO_OFFLINE="true",
        YOLO_AUTOINSTALL="false",
        YOLO_VERBOSE="false",
        YOLO_CONFIG_DIR=str(config),
        MPLCONFIGDIR=str(config),
        MPLBACKEND="Agg",
        ULTRALYTICS_SAFE_LOAD="1",
        ORT_DISABLE_TELEMETRY="1",
        OMP_NUM_THREADS=str(threads),
        OPENBLAS_NUM_THREADS=str(threads),
        MKL_NUM_THREADS=str(threads),
    )


def load_ultralytics() -> None:
    """Import ultralytics with every integration switched off. The environment must be quiet by now."""
    from ultralytics import settings

    wanted = dict.fromkeys(("sync", "clearml", "comet", "dvc", "hub", "mlflow", "neptune", "raytune", "wandb"), False)
    settings.update({key: value for key, value in wanted.items() if key in settings})


def events_on_stdout() -> int:
    """Keep standard output for events alone: everything that libraries print goes to standard error.

    Returns:
        A file descriptor that leads to the real standard output.
    """
    sys.stdout.flush()
    events = os.dup(1)
    os.dup2(2, 1)
    return events


def die_with_parent(poll_seconds: float = 1.0) -> None:
    """End this process when its parent is gone: a training nobody waits for would fight with its successor."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(poll_seconds)
        os._exit(137)

    threading.Thread(target=watch, daemon=True, name="parent-watch").start()


@contextmanager
def sole_owner(folder: Path) -> Iterator[None]:
    """Hold a lock on a folder, which the system releases even after a kill.

    Raises:
        UserError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process works in {folder}; wait for it, or stop it") from None
        yield


def write_atomic(path: Path, data: bytes) -> None:
    """Readers see the old bytes or the new ones, also after a crash."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
