"""Runs the real command line in a process of its own, in a clean environment. No test lives here."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path


def clean_env(home: Path, env: dict[str, str] | None = None) -> dict[str, str]:
    """The environment without anything of the developer's own plant or cloud."""
    strange = ("YOLO_ASSETS_", "AWS_", "DAGSTER_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
    return {
        **kept,
        "YOLO_ASSETS_HOME": str(home),
        "AWS_EC2_METADATA_DISABLED": "true",
        "HOME": str(home),
        **(env or {}),
    }


def cli(
    *argv: str | Path, home: Path, timeout: float = 60, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = [sys.executable, "-m", "yolo_assets.cli.main", *map(str, argv)]
    return subprocess.run(command, env=clean_env(home, env), cwd=cwd, capture_output=True, text=True, timeout=timeout)


def refused(done: subprocess.CompletedProcess[str], *words: str, code: int = 1) -> str:
    """Assert exactly one line on standard error, ``error: …``, with these words in it, and the exit code."""
    assert done.returncode == code, done
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and len(line) > len("error: "), line
    for word in words:
        assert word in line, line
    return line


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of every file under a folder by its path, hidden ones left out."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
