"""Headroom on disk and in memory, read from files as the kernel writes them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from yolo_assets.edge.config.rollout import Headroom
from yolo_assets.edge.rollout import headroom
from yolo_assets.edge.rollout.headroom import MIB, NoHeadroomError, available_memory, check_disk, check_memory
from yolo_assets_tests.support.tiny_model import tiny_bundle_files


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 4096 kB\n")
    (tmp_path / "proc" / "self" / "cgroup").write_text("0::/system.slice/agent.service\n")
    (tmp_path / "groups" / "system.slice" / "agent.service").mkdir(parents=True)
    return tmp_path


def limit(folder: Path, most: str, used: int, inactive: int) -> None:
    (folder / "memory.max").write_text(f"{most}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\ninactive_file {inactive}\n")


def test_the_tightest_limit_counts(machine: Path) -> None:
    proc, groups = machine / "proc", machine / "groups"
    assert available_memory(proc, groups) == 4 * MIB
    limit(groups / "system.slice" / "agent.service", "max", 100, 0)
    assert available_memory(proc, groups) == 4 * MIB
    limit(groups / "system.slice", str(3 * MIB), 2 * MIB, MIB)  # pages of files give way
    assert available_memory(proc, groups) == 2 * MIB
    limit(groups / "system.slice" / "agent.service", str(MIB), 2 * MIB, 0)
    assert available_memory(proc, groups) == 0


def test_unknown_memory_is_no_reason_to_refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert available_memory(tmp_path, tmp_path) is None
    monkeypatch.setattr(headroom, "available_memory", lambda: None)
    check_memory(Headroom(memory_mib=10**9), tiny_bundle_files()[0])


def test_too_little_headroom_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, _ = tiny_bundle_files()
    check_disk(Headroom(disk_mib=0), tmp_path, 1)
    with pytest.raises(
        NoHeadroomError, match=r"takes 1 MiB on the disk of .* and 1000000000 MiB must stay free, but only"
    ):
        check_disk(Headroom(disk_mib=10**9), tmp_path, MIB)
    with pytest.raises(NoHeadroomError, match=r"loading weld/1 takes about 0 MiB of memory .* lower room.memory_mib"):
        check_memory(Headroom(memory_mib=10**9), manifest)
    monkeypatch.setattr(headroom, "free_gpu_memory", lambda: 5 * MIB)
    with pytest.raises(NoHeadroomError, match=r"of the GPU's memory and 64 MiB must stay free, but only 5 MiB are"):
        check_memory(Headroom(memory_mib=0, gpu_mib=64), manifest)


class CardError(Exception):
    """As the driver raises it."""


class Driver:
    """As much of ``pynvml`` as is asked, for a machine with one card."""

    NVMLError = CardError
    closed = 0

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if index:
            raise CardError
        return index

    def nvmlDeviceGetMemoryInfo(self, card: int) -> SimpleNamespace:
        return SimpleNamespace(free=7 * MIB, used=MIB, total=8 * MIB)

    def nvmlShutdown(self) -> None:
        self.closed += 1


def test_free_memory_of_a_card_or_none_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver()
    monkeypatch.setattr(headroom, "open_nvml", lambda: driver)
    assert headroom.free_gpu_memory() == 7 * MIB
    assert headroom.free_gpu_memory(1) is None
    assert driver.closed == 2
    monkeypatch.setattr(headroom, "open_nvml", lambda: None)
    assert headroom.free_gpu_memory() is None


def test_the_memory_of_a_real_gpu_is_read() -> None:
    free = headroom.free_gpu_memory()
    if free is None:
        pytest.skip("no GPU with its driver on this machine")
    assert free > 0
