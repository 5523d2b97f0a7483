"""The images' recipe: linted, without root, without an index; every wheel of an edge device exists for arm64.

Building takes minutes and is not done here: ``deploy/images/build.sh --local-base --smoke base edge``.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "deploy" / "images"
DOCKERFILE = IMAGES / "Dockerfile"
TARGETS = ("base", "edge", "platform", "train")


def hadolint(path: Path) -> subprocess.CompletedProcess[str]:
    tool = Path(sys.executable).with_name("hadolint")
    if not tool.exists():
        pytest.skip("hadolint is not installed (the extra dev brings it)")
    command = [tool, "--no-color", "--failure-threshold", "info", path]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_hadolint_finds_nothing(tmp_path: Path) -> None:
    done = hadolint(DOCKERFILE)
    assert (done.returncode, done.stdout) == (0, "")
    bad = tmp_path / "Dockerfile"
    bad.write_text(DOCKERFILE.read_text().replace("USER 10001:10001", "USER root"))
    assert hadolint(bad).returncode != 0


def stages(text: str) -> Iterator[tuple[str, str]]:
    """Name and instructions of each stage."""
    for part in re.split(r"(?m)^FROM ", text)[1:]:
        head, _, body = part.partition("\n")
        yield head.split(" AS ")[1], re.sub(r"\\\n\s*", " ", body)


def faults(text: str) -> list[str]:
    """What an image must not have, or lacks."""
    found = [f"names {url}" for url in re.findall(r"https?://(?!127\.0\.0\.1)\S+|index-url|apt-get", text)]
    found += [f"secret {word}" for word in re.findall(r"(?i)\b\w*(?:password|secret|token)\w*\b", text)]
    for name, body in stages(text):
        if re.findall(r"(?m)^USER (.*)$", body)[-1:] != ["10001:10001"]:
            found.append(f"{name} runs as root")
        if not re.search(r"(?m)^HEALTHCHECK ", body):
            found.append(f"{name} has no health check")
        if not re.search(r'(?m)^CMD \["', body):
            found.append(f"{name} has no command, or one that a shell starts")
    return found


def test_every_image_is_unprivileged_and_checks_its_health() -> None:
    text = DOCKERFILE.read_text()
    assert tuple(name for name, _ in stages(text)) == TARGETS
    assert faults(text) == []
    last = text.rindex("USER 10001")
    assert faults(text[:last] + text[last + len("USER 10001:10001") :]) == ["train runs as root"]
    assert faults(text.replace("HEALTHCHECK NONE", "")) == ["train has no health check"]
    assert faults(text + "RUN pip install --index-url https://x.example\n")[:2] == [
        "names index-url",
        "names https://x.example",
    ]
    assert faults(text + "ENV DB_PASSWORD=x\n") == ["secret DB_PASSWORD"]


def test_only_wheels_and_the_installer_go_into_a_build() -> None:
    allowed = (IMAGES / "Dockerfile.dockerignore").read_text().splitlines()
    assert allowed[0] == "*"
    mounted = set(re.findall(r"type=bind,source=([\w./]+)", DOCKERFILE.read_text()))
    assert {line.removeprefix("!") for line in allowed[1:]} == mounted
    assert "--no-index" in (IMAGES / "install.sh").read_text()


@pytest.mark.parametrize("words", [[], ["bases"], ["--smok", "base"]])
def test_a_wrong_call_of_the_builder_is_one_line(words: list[str]) -> None:
    done = subprocess.run(["bash", IMAGES / "build.sh", *words], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def wheels_for(platform: str, extra: str) -> subprocess.CompletedProcess[str]:
    """Resolves the pins of an extra to wheels of a platform; nothing is downloaded but what describes them."""
    command = [Path(sys.executable).with_name("uv"), "pip", "compile", "--quiet", "--no-header", "--no-annotate"]
    command += ["--python-version", "3.11", "--python-platform", platform, "--only-binary", ":all:"]
    command += ["--constraint", "constraints.txt", "--override", "overrides.txt", "--extra", extra, "pyproject.toml"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.mark.skipif(shutil.which("uv", path=Path(sys.executable).parent) is None, reason="no uv here")
def test_every_pinned_wheel_of_an_edge_device_exists_for_arm64() -> None:
    """The images are Debian 12, glibc 2.36. Older systems have no OpenVINO: they take ``edge-onnxruntime``."""
    for platform, extra in (
        ("x86_64-manylinux_2_36", "edge"),
        ("aarch64-manylinux_2_36", "edge"),
        ("aarch64-manylinux_2_36", "archive"),
        ("aarch64-manylinux_2_28", "edge-onnxruntime"),
    ):
        done = wheels_for(platform, extra)
        assert done.returncode == 0, f"{platform} {extra}: {done.stderr}"
        assert "numpy==" in done.stdout
    lacking = wheels_for("aarch64-manylinux_2_28", "edge")
    assert lacking.returncode != 0 and "openvino" in lacking.stderr
