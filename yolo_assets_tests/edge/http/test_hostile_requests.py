"""Requests made at random from the agent's own description: none is a fault of the agent, and it goes on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from yolo_assets_tests.edge.page.conftest import camera, moving_blobs
from yolo_assets_tests.edge.plant import TOKEN, AgentProcess, Plant

EXAMPLES = int(os.environ.get("HOSTILE_EXAMPLES", "12"))
ENDLESS = "live"
"""Streams never end; their viewers have tests of their own."""


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    plant = Plant(tmp_path_factory.mktemp("plant"))
    for version in "12":
        plant.register(version)
    plant.promote("1")
    running = AgentProcess(plant.config_file([camera("cam1", moving_blobs(plant.root / "one"), fps=4)]))
    try:
        running.wait_for(lambda status: status["ready"])
        yield running
    finally:
        running.stop()


def operations(agent: AgentProcess) -> list[Any]:
    described = agent.request("/openapi.json")[1]
    schema: Any = schemathesis.openapi.from_dict(described)
    schema.config.update(base_url=agent.url.rstrip("/"))
    found = [operation.ok() for operation in schema.get_all_operations()]
    return [operation for operation in found if not operation.path.endswith(ENDLESS)]


def test_no_request_of_the_description_is_a_fault(agent: AgentProcess) -> None:
    asked = 0
    for operation in operations(agent):

        @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            nonlocal asked
            asked += 1
            checks = [not_a_server_error, content_type_conformance, response_schema_conformance]
            case.call_and_validate(headers={"Authorization": f"Bearer {TOKEN}"}, checks=checks, timeout=20)

        ask()
    assert asked > 5 * EXAMPLES
    status = agent.wait_for(lambda now: now["cameras"]["cam1"]["processed"] > 0)
    assert status["model"]["version"] is not None
