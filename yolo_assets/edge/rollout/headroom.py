"""Whether disk and memory have headroom for a candidate: checked before it is fetched and before it is loaded.

A model that does not fit is not broken: it waits and is tried again. What a model needs is estimated from its file:
weights are held about three times while an engine compiles them. Does not belong here: freeing anything.
"""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.model import ONNX, ModelManifest
from yolo_assets.edge.config.rollout import Headroom
from yolo_assets.runtime.nvml import open_nvml

MIB = 1 << 20
_COMPILING = 3
_MEMORY = ("out of memory", "bad allocation", "bad_alloc", "failed to allocate", "cuda_error_out_of_memory")
_FULL = {errno.ENOMEM, errno.EAGAIN, errno.ENOSPC, errno.EDQUOT}


class NoHeadroomError(UserError):
    """Too little disk or memory at present."""


def check_disk(limits: Headroom, folder: Path, needed: int) -> None:
    """Refuse to fetch ``needed`` bytes when less than the reserve would stay free.

    Raises:
        NoHeadroomError: in words.
    """
    free = shutil.disk_usage(folder).free
    if free < needed + limits.disk_mib * MIB:
        raise NoHeadroomError(
            f"the model takes {_mib(needed)} on the disk of {folder} and {limits.disk_mib} MiB must stay free, "
            f"but only {_mib(free)} are free; archive and reclaim hours, or lower room.disk_mib"
        )


def check_memory(limits: Headroom, manifest: ModelManifest) -> None:
    """Refuse to load a model beside those that are loaded when memory would run short.

    Raises:
        NoHeadroomError: in words.
    """
    needed = _COMPILING * manifest.files[ONNX].size
    free = available_memory()
    if free is not None and free < needed + limits.memory_mib * MIB:
        raise NoHeadroomError(
            f"loading {manifest.model_version} takes about {_mib(needed)} of memory and {limits.memory_mib} MiB must "
            f"stay free, but only {_mib(free)} are available; end other programs, or lower room.memory_mib"
        )
    gpu = free_gpu_memory() if limits.gpu_mib else None
    if gpu is not None and gpu < needed + limits.gpu_mib * MIB:
        raise NoHeadroomError(
            f"loading {manifest.model_version} takes about {_mib(needed)} of the GPU's memory and {limits.gpu_mib} MiB "
            f"must stay free, but only {_mib(gpu)} are; end other programs on the GPU, or lower room.gpu_mib"
        )


def out_of_memory(error: BaseException) -> bool:
    """Whether an engine reports that memory ran out; each has its own message."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in _MEMORY)


def lacked_resources(error: BaseException) -> bool:
    """Whether a load failed because the device lacked memory or disk, which is not the model's fault."""
    return out_of_memory(error) or (isinstance(error, OSError) and error.errno in _FULL)


def available_memory(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes that this process can still take: the machine's, or less where its control group has a limit."""
    remaining: list[int] = []
    try:
        for line in (proc / "meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                remaining.append(int(line.split()[1]) * 1024)
        for line in (proc / "self" / "cgroup").read_text().splitlines():
            if line.startswith("0::"):
                remaining += _group_limits(cgroups, cgroups / line[3:].lstrip("/"))
    except (OSError, ValueError, IndexError):
        pass  # another kind of machine: what was read counts
    return min(remaining, default=None)


def _group_limits(top: Path, group: Path) -> list[int]:
    """What remains below the limit of this group and of each one around it."""
    remaining: list[int] = []
    while group == top or top in group.parents:
        try:
            limit = (group / "memory.max").read_text().strip()
            if limit != "max":
                figures = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
                used = int((group / "memory.current").read_text()) - int(figures.get("inactive_file", 0))
                remaining.append(max(0, int(limit) - used))  # unused file pages are given up first
        except (OSError, ValueError):
            pass
        group = group.parent
    return remaining


def free_gpu_memory(index: int = 0) -> int | None:
    """Free bytes of a GPU, from the driver's own management library; None where there is none."""
    nvml = open_nvml()
    if nvml is None:
        return None
    try:
        return int(nvml.nvmlDeviceGetMemoryInfo(nvml.nvmlDeviceGetHandleByIndex(index)).free)
    except nvml.NVMLError:
        return None
    finally:
        nvml.nvmlShutdown()


def _mib(size: int) -> str:
    return f"{size / MIB:.0f} MiB"
