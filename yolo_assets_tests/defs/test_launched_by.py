"""The person whom the login in front of Dagster's UI names is on the run that they launch."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.run_coordinator import SubmitRunContext
from dagster._core.workspace.context import WorkspaceProcessContext
from starlette.requests import Request

from yolo_assets.defs.launched_by import HEADER, LAUNCHED_BY_TAG, NamingRunCoordinator, acting_for
from yolo_assets.local.dagster_home import prepare_dagster_home
from yolo_assets.shipped import shipped_file


@dg.job
def nothing() -> None:
    """A job without ops."""


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """With the shipped configuration."""
    with dg.DagsterInstance.from_config(str(prepare_dagster_home(tmp_path))) as instance:
        yield instance


def launched(instance: dg.DagsterInstance, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dg.DagsterRun:
    """A run that a request with these headers launched, up to where it would be put into the queue."""
    monkeypatch.setattr(dg.QueuedRunCoordinator, "submit_run", lambda self, context: context.dagster_run)
    coordinator, run = instance.run_coordinator, instance.create_run_for_job(nothing)
    assert isinstance(coordinator, NamingRunCoordinator)
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    request = Request({"type": "http", "method": "POST", "path": "/graphql", "headers": raw})
    with WorkspaceProcessContext(instance, None) as process:  # type: ignore[arg-type]
        context: Any = SubmitRunContext(run, process.create_request_context(source=request))
        coordinator.submit_run(context)
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found


def test_the_name_behind_the_login_is_a_tag_of_the_run(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = launched(instance, {HEADER: "anna"}, monkeypatch)
    assert run.tags[LAUNCHED_BY_TAG] == "anna"
    assert acting_for(run, "promoted_model") == "anna (dagster:promoted_model)"
    unnamed = launched(instance, {}, monkeypatch)
    assert LAUNCHED_BY_TAG not in unnamed.tags and acting_for(unnamed, "x") == "dagster:x"
    assert LAUNCHED_BY_TAG not in launched(instance, {HEADER: "\x1b[31m"}, monkeypatch).tags


def test_the_shipped_login_names_whoever_signed_in() -> None:
    login = shipped_file("plant/ui.nginx.conf").read_text()
    assert f"proxy_set_header {HEADER} $remote_user;" in login, "and so a browser's own header never comes through"
