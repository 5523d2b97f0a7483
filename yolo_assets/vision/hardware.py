"""What speeds and engine caches depend on besides the model: processor, graphics cards, library versions.

Belongs here: facts that hold until the next start. Does not belong here: load and temperature (``edge.telemetry``).
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from functools import cache
from importlib import metadata
from pathlib import Path

_LIBRARIES = (
    *("openvino", "onnxruntime", "onnxruntime-gpu", "onnxruntime-ep-nv-tensorrt-rtx-cu13", "tensorrt", "onnx", "numpy"),
    "yolo-assets",
)


def cpu_flags() -> frozenset[str]:
    """The processor's features as Linux names them; empty where it does not say."""
    return frozenset(_cpu_fields().get("flags", "").split())


def cpu_model() -> str:
    """The processor's name."""
    return _cpu_fields().get("model name") or platform.processor() or platform.machine()


def usable_cpus() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def graphics_cards() -> tuple[str, ...]:
    """Model and firmware lines of NVIDIA's driver, one text a card. Read from the driver: needs no library."""
    cards = []
    for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        try:
            lines = file.read_text(errors="replace").splitlines()
        except OSError:
            continue
        cards.append("; ".join(line.strip() for line in lines if line.startswith(("Model", "Video BIOS"))))
    return tuple(cards)


def versions() -> dict[str, str]:
    """Installed versions of everything that takes part in an inference."""
    installed = {}
    for name in _LIBRARIES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed


@cache
def fingerprint() -> str:
    """SHA-256, hexadecimal, of all of the above: where it differs, nothing measured or built before counts."""
    driver = Path("/proc/driver/nvidia/version")
    facts = {
        "machine": platform.machine(),
        "cpu": cpu_model(),
        "flags": sorted(cpu_flags()),
        "cpus": usable_cpus(),
        "cards": graphics_cards(),
        "driver": driver.read_text(errors="replace") if driver.is_file() else "",
        "versions": versions(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@cache
def _cpu_fields() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").split("\n\n")[0].splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines)
    return {key.strip(): value.strip() for key, _, value in pairs}
