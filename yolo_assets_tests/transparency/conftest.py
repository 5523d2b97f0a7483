"""A time-stamp authority that runs while a test does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from yolo_assets_tests.transparency.authority import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Authority]:
    made = Authority(tmp_path / "authority")
    yield made
    made.server.shutdown()
    made.server.server_close()
