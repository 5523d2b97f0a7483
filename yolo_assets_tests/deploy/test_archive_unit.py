"""The systemd unit of the archiver: systemd accepts it, it is locked down, and its settings are ones that we read."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from yolo_assets.archive.bandwidth.rates import Timetable
from yolo_assets.contracts.settings import Settings

EDGE = Path(__file__).parents[2] / "deploy" / "edge"
UNIT = EDGE / "yolo-assets-archive.service"
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *map(str, arguments)], capture_output=True, text=True, timeout=60)


@needs_systemd
def test_systemd_accepts_the_unit_without_a_warning(tmp_path: Path) -> None:
    text, count = re.subn(r"(?m)^ExecStart=/opt/yolo-assets/bin/yolo-assets ", "ExecStart=/bin/true ", UNIT.read_text())
    assert count == 1
    unit = tmp_path / UNIT.name
    unit.write_text(text)  # the command is not installed where this test runs
    done = analyze("verify", "--man=no", unit)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    unit.write_text(text + "\n[Service]\nNoSuchSetting=1\n")
    assert analyze("verify", "--man=no", unit).stderr, "a wrong unit would be told"


@needs_systemd
def test_the_unit_is_locked_down() -> None:
    done = analyze("security", "--offline=true", "--threshold=20", "--no-pager", UNIT)
    assert done.returncode == 0, done.stdout[-400:]
    assert analyze("security", "--offline=true", "--threshold=5", "--no-pager", UNIT).returncode != 0


def test_the_example_environment_is_one_that_we_read() -> None:
    lines = [line for line in (EDGE / "archive.env.example").read_text().splitlines() if line and line[0] != "#"]
    env = dict(shlex.split(line)[0].split("=", 1) for line in lines)
    settings = Settings.from_env(env)
    assert Timetable.parse(settings.bandwidth).windows
    assert (str(settings.spool), settings.archive_url) == ("/var/lib/yolo-assets/spool", "s3://plant-archive/root")
    known = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    for name in env:
        assert name.startswith("AWS_") or f"`{name}`" in known, f"{name} is not in docs/operations.md"
