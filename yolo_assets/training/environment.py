"""The environment of a child process: no network, no telemetry, limited threads.

To be set before torch or ultralytics is imported, because both read the environment at import.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def quiet_environment(config: Path, threads: int) -> None:
    """No network, no telemetry, no code from checkpoints, and no more threads than allowed.

    Args:
        config: writable folder for what the libraries insist on writing.
        threads: for every maths library.
    """
    config.mkdir(parents=True, exist_ok=True)
    # Waiting threads keep OpenMP's short spin: OMP_WAIT_POLICY=PASSIVE made a step on two shared cores 2 to 20 times
    # slower, because a step is thousands of small parallel regions. Yielding to the line is the job of ``nice``.
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

    integrations = ("sync", "clearml", "comet", "dvc", "hub", "mlflow", "neptune", "raytune", "wandb")
    settings.update({key: False for key in integrations if key in settings})
    _bring_font()


def _bring_font() -> None:
    """Class names in other scripts make ultralytics fetch a font from the internet, unless one is there."""
    import matplotlib
    from ultralytics.utils import USER_CONFIG_DIR

    place = Path(USER_CONFIG_DIR) / "Arial.Unicode.ttf"
    if not place.exists():
        shutil.copyfile(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", place)
