"""Fixtures of the fault tests: a plant of its own for each, and stores that retry without pauses."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import dagster as dg
import pytest

from yolo_assets.local.dagster_home import prepare_dagster_home
from yolo_assets.storage.retrying import RetryingStore
from yolo_assets_tests.support.plant_loop import PlantLoop
from yolo_assets_tests.support.quick_training import train_quickly

CLASSES = "crack,porosity,spatter,undercut,burn_through"
MakeLoop = Callable[[Path], PlantLoop]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores try again at once."""
    defaults = RetryingStore.__init__.__kwdefaults__
    assert defaults is not None and "sleep" in defaults
    monkeypatch.setitem(defaults, "sleep", lambda _: None)


@pytest.fixture
def make_loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeLoop]:
    """Makes a plant in a folder and points the environment at it."""
    train_quickly(monkeypatch)
    with ExitStack() as stack:

        def make(home: Path) -> PlantLoop:
            for name in list(os.environ):
                if name.startswith("YOLO_ASSETS_"):
                    monkeypatch.delenv(name)
            home.mkdir(parents=True, exist_ok=True)
            monkeypatch.setenv("YOLO_ASSETS_HOME", str(home))
            monkeypatch.setenv("YOLO_ASSETS_GRACE_SECONDS", "0")
            monkeypatch.setenv("YOLO_ASSETS_CLASSES", CLASSES)
            monkeypatch.setenv("DAGSTER_HOME", str(prepare_dagster_home(home)))
            return PlantLoop(home, stack.enter_context(dg.DagsterInstance.get()))

        yield make
