"""Options of ``archive run`` that cannot be: one line, exit 2, before anything begins."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from yolo_assets_tests.cli.command_line import refused

Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("--bwlimit", "fast"), ("--bwlimit", "write it like 20MB/s")),
        (("--bwlimit", "22:00-06:00 unlimited"), ("--bwlimit", "else 20MB/s")),
        (("--every", "0"), ("--every",)),
        (("--every", "nan"), ("--every",)),
        (("--metrics-port", "9877"), ("needs --every",)),
        (("--metrics-file", "x.txt"), ("ends in .prom",)),
        (("--metrics-file", "/nowhere/x.prom"), ("in a folder that exists",)),
        (("--every", "1", "--metrics-port", "0", "--metrics-host", "no.such.host.invalid"), ("cannot serve metrics",)),
    ],
)
def test_what_cannot_be_is_refused_before_anything_begins(
    argv: tuple[str, ...], words: tuple[str, ...], call: Call, tmp_path: Path
) -> None:
    (tmp_path / "spool").mkdir()
    done = call("archive", "run", "--spool", tmp_path / "spool", *argv, home=tmp_path / "home", cwd=tmp_path)
    refused(done, *words, code=2)
    assert not (tmp_path / "home" / "archive").exists()


def test_a_limit_in_the_environment_that_cannot_be_read_names_its_variable(call: Call, tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    env = {"YOLO_ASSETS_BWLIMIT": "20 parsecs"}
    done = call("archive", "run", "--spool", tmp_path / "spool", home=tmp_path / "home", cwd=tmp_path, env=env)
    refused(done, "YOLO_ASSETS_BWLIMIT", "not a rate", code=2)
