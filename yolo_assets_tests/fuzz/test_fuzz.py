"""Each parser fuzzed: the examples, seconds in every run, ten minutes in ``make soak``."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TARGETS = (
    *("codes", "configuration", "foreign_models", "labels", "member_index", "names", "onnx_file", "pictures"),
    *("receipts", "records", "seals", "tables", "tar_framing"),
)
SOAK_SECONDS = int(os.environ.get("FUZZ_SECONDS", "600"))


def fuzz(target: str, seconds: int, folder: Path, *options: str) -> None:
    if importlib.util.find_spec("atheris") is None:
        here = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
        pytest.skip(f"atheris is not installed: pip install 'yolo-assets[dev]', where it has a wheel ({here})")
    command = [sys.executable, "-m", "yolo_assets_tests.fuzz.runner", target, str(seconds), str(folder), *options]
    log = folder / "log"
    with log.open("wb") as output:
        code = subprocess.run(command, stdout=output, stderr=output, timeout=seconds + 120, check=False).returncode
    found = [path for path in folder.iterdir() if path.is_file() and path != log]
    inputs = "\n".join(f"{path.name}: {path.read_bytes()[:2000]!r}" for path in found)
    assert code == 0 and not found, f"{inputs}\n{log.read_bytes()[-6000:].decode(errors='replace')}"


@pytest.mark.parametrize("target", TARGETS)
def test_the_law_holds_for_every_example(target: str) -> None:
    module: Any = importlib.import_module(f"yolo_assets_tests.fuzz.{target}")
    examples = [*module.seeds()]
    assert examples
    for data in (*examples, b"", b"\0", b"\xff" * 40):
        module.check(data)


@pytest.mark.parametrize("target", TARGETS)
def test_the_law_holds_for_a_few_seconds(target: str, tmp_path: Path) -> None:
    fuzz(target, 3, tmp_path, "-seed=1")  # the same every time; what is new is found in make soak


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("target", TARGETS)
def test_the_law_holds_for_ten_minutes(target: str, tmp_path: Path) -> None:
    fuzz(target, SOAK_SECONDS, tmp_path)


def test_a_planted_fault_is_found(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"crash-\w+: b'(.|\n)*(KeyError|TypeError|ZeroDivisionError)"):
        fuzz("planted", 30, tmp_path)
