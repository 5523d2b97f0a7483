"""GitHub's workflows: the schema allows them, and every script that they start is there and can be parsed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from yolo_assets.local.dagster_home import prepare_dagster_home
from yolo_assets.local.services import LocalService, free_port, wait_for_http

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
RETRAIN = ROOT / "deploy" / "kubernetes" / "retrain.sh"


def checked(path: Path) -> subprocess.CompletedProcess[str]:
    """GitHub's schema, as check-jsonschema brings it."""
    pytest.importorskip("check_jsonschema")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def steps(path: Path) -> Iterator[dict[str, Any]]:
    for job in yaml.safe_load(path.read_text())["jobs"].values():
        yield from job["steps"]


def unknown_jobs(document: dict[str, Any]) -> set[str]:
    """Jobs that another waits for and that do not exist: the schema cannot know."""
    needed = {name for job in document["jobs"].values() for name in [job.get("needs", [])] if isinstance(name, str)}
    return needed - document["jobs"].keys()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_github_takes_the_workflow(path: Path, tmp_path: Path) -> None:
    assert checked(path).returncode == 0, checked(path).stdout
    bad = tmp_path / path.name
    bad.write_text(path.read_text().replace("runs-on:", "run-on:"))
    assert checked(bad).returncode != 0
    assert unknown_jobs(yaml.safe_load(path.read_text())) == set()


def test_a_job_that_waits_for_nobody_is_found() -> None:
    release = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())
    release["jobs"]["renamed"] = release["jobs"].pop("names")
    assert unknown_jobs(release) == {"names"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_scripts_of_the_workflow_exist_and_are_sound(path: Path) -> None:
    scripts = [step["run"] for step in steps(path) if "run" in step]
    assert scripts
    for script in scripts:
        for file in re.findall(r"(?:bash|--values) ([\w./-]+)", script):
            assert (ROOT / file).exists(), file
        plain = re.sub(r"\$\{\{.*?\}\}", "x", script)
        assert subprocess.run(["bash", "-n"], input=plain, text=True, timeout=20).returncode == 0, script
    for file in (RETRAIN, *(ROOT / "deploy").glob("*/*.sh")):
        assert subprocess.run(["bash", "-n", file], timeout=20).returncode == 0, file


def test_no_secret_and_no_untrusted_text_stands_in_a_script() -> None:
    for path in WORKFLOWS:
        for step in steps(path):
            inside = re.findall(r"\$\{\{(.*?)\}\}", step.get("run", ""))
            assert all(expr.strip().startswith("matrix.") for expr in inside), f"{path.name}: {inside}"


@pytest.mark.soak
def test_retrain_asks_a_webserver_for_a_training(tmp_path: Path) -> None:
    home, port = prepare_dagster_home(tmp_path), free_port(0)
    env = {"YOLO_ASSETS_HOME": str(tmp_path), "DAGSTER_HOME": str(home), "LOCATION": "yolo_assets.definitions"}
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(port), "-m", env["LOCATION"]]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with LocalService("the webserver", command, tmp_path / "log", env=env) as webserver:
        wait_for_http(webserver, f"{url}/server_info", 90)
        for location, code in (("yolo_assets.definitions", 0), ("nowhere", 1)):
            done = subprocess.run(
                ["bash", RETRAIN, url],
                env={**os.environ, **env, "PATH": path, "LOCATION": location},
                capture_output=True,
                text=True,
                timeout=90,
            )
            assert done.returncode == code, done.stderr
    with dg.DagsterInstance.from_config(str(home)) as instance:
        (run,) = instance.get_runs()
        assert run.status is dg.DagsterRunStatus.QUEUED
        assert run.asset_selection == {dg.AssetKey("trained_weights")}
