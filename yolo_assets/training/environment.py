"""The environment of a child process: no network, no telemetry, limited threads; and which code runs in it.

The environment is to be set before torch or ultralytics is imported, because both read it at import.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from yolo_assets import __version__

_PACKAGE = Path(__file__).parents[1]


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
    _bring_fonts()


def _bring_fonts() -> None:
    """Ultralytics asks the internet for its fonts, one for plain and one for other class names, unless they are there.

    It takes a font of the machine, so that on one with Arial nobody notices.
    """
    import matplotlib
    from ultralytics.utils import USER_CONFIG_DIR

    shipped = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    for name in ("Arial.ttf", "Arial.Unicode.ttf"):
        place = Path(USER_CONFIG_DIR) / name
        if not place.exists():
            shutil.copyfile(shipped, place)


@cache
def code_identity() -> dict[str, str]:
    """Which code this is: ``version``; ``sources``, a SHA-256 over all its modules; ``git_commit`` where it is known.

    The commit is that of the checkout that the package lies in, with ``-dirty`` behind it where files of it were
    changed, or the one that pip installed the package from.
    """
    digest = hashlib.sha256()
    for file in sorted(_PACKAGE.rglob("*.py")):
        digest.update(f"{file.relative_to(_PACKAGE).as_posix()} ".encode() + file.read_bytes())
    found = {"version": __version__, "sources": digest.hexdigest()}
    commit = _commit_of_checkout() or _commit_of_installation()
    return {**found, "git_commit": commit} if commit else found


def _commit_of_checkout() -> str | None:
    if not (_PACKAGE.parent / ".git").exists():
        return None
    asked = ["git", "-C", str(_PACKAGE.parent), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(asked, check=True, capture_output=True, text=True, timeout=30).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None


def _commit_of_installation() -> str | None:
    """What pip writes down of a package that it installed from a repository (PEP 610)."""
    try:
        written = distribution("yolo-assets").read_text("direct_url.json")
    except PackageNotFoundError:
        return None
    commit = json.loads(written).get("vcs_info", {}).get("commit_id") if written else None
    return str(commit) if commit else None
