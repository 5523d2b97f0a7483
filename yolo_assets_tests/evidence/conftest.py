"""A plant with one archived hour, and one pack of it that several tests copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets_tests.evidence.evidence_world import Plant


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    """An empty plant."""
    return Plant(tmp_path)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plant, Path]:
    """A plant and a pack of two frames out of its six. Read it, do not change it."""
    plant = Plant(tmp_path_factory.mktemp("plant"))
    plant.hour()
    plant.make(plant.folder / "pack", class_name="crack")
    return plant, plant.folder / "pack"


@pytest.fixture
def pack(sound: tuple[Plant, Path], tmp_path: Path) -> Path:
    """A copy of it to be tampered with."""
    return Path(shutil.copytree(sound[1], tmp_path / "copy"))


@pytest.fixture
def keys(sound: tuple[Plant, Path]) -> TrustedKeys:
    """What an auditor was given: the office's key and the archiver's."""
    return TrustedKeys.of(sound[0].office, sound[0].signer)
