import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from yolo_assets.local.dagster_home import prepare_dagster_home
from yolo_assets.local.driver import Graph


@pytest.fixture(autouse=True)
def no_pauses_between_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step is retried at once instead of after seconds."""
    monkeypatch.setattr("dagster._core.definitions.policy.calculate_delay", lambda **_: 0)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation of its own: folders, keys, and a Dagster instance on disk."""
    for name in list(os.environ):
        if name.startswith("YOLO_ASSETS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("YOLO_ASSETS_HOME", str(tmp_path))
    monkeypatch.setenv("YOLO_ASSETS_GRACE_SECONDS", "0")
    monkeypatch.setenv("YOLO_ASSETS_CLASSES", "crack,porosity,spatter,undercut")
    monkeypatch.setenv("DAGSTER_HOME", str(prepare_dagster_home(tmp_path)))
    return tmp_path


@pytest.fixture
def graph(home: Path) -> Iterator[Graph]:
    with Graph() as opened:
        yield opened
