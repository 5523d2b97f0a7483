"""Fixtures of the agent's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from yolo_assets_tests.edge.plant import Plant


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    """A plant with an empty store."""
    return Plant(tmp_path)
