"""The command line called in this process: as fast as its imports allow, for the many ways to call it wrongly."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from yolo_assets.cli.main import main
from yolo_assets_tests.cli.command_line import clean_env

Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """As ``command_line.cli``, without a process: anything but an orderly exit fails the test."""

    def run(
        *argv: str | Path, home: Path, cwd: Path, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        wanted = clean_env(home, env)
        for name in set(os.environ) - set(wanted):
            monkeypatch.delenv(name)
        for name, value in wanted.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["yolo-assets", *map(str, argv)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        return subprocess.CompletedProcess(list(argv), int(ended.value.code or 0), out, err)

    return run
