"""Fixtures of the agent's tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from yolo_assets_tests.edge.plant import AgentProcess, Plant


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    """A plant with an empty store."""
    return Plant(tmp_path)


@pytest.fixture
def agents() -> Iterator[list[AgentProcess]]:
    """Agents that a test starts; killed after it."""
    running: list[AgentProcess] = []
    yield running
    for agent in running:
        agent.process.kill()
        agent.stop(signal.SIGKILL)
