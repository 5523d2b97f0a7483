"""The values for the official Dagster chart: the keys that it knows, the instance that we ship, a pod for each run."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from dagster._cli.api import grpc_command
from dagster._core.test_utils import instance_for_test

from yolo_assets import shipped
from yolo_assets.definitions import defs
from yolo_assets_tests.kubernetes.charts import (
    DEPLOY,
    EXAMPLE,
    Helm,
    dagster_values,
    dagster_values_problems,
    gpus,
    problems,
    unrestricted,
)
from yolo_assets_tests.kubernetes.run_pods import launcher_config, run_job

SHIPPED = Path(shipped.__file__).with_name("dagster.yaml")


def test_the_values_follow_the_schema_of_the_chart() -> None:
    assert dagster_values_problems(dagster_values()) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda values: values["dagsterDaemon"].update(resource={}),
        lambda values: values.update(dagsterWebServer={}),
        lambda values: values["postgresql"].update(enabled=True),
        lambda values: values["computeLogManager"]["config"]["s3ComputeLogManager"].update(bukket="b"),
        lambda values: launcher_config(values)["run_k8s_config"].pop("job_spec_config"),
        lambda values: values["dagster-user-deployments"]["deployments"][0].pop("resources"),
        lambda values: values["dagsterWebserver"]["securityContext"].update(allowPrivilegeEscalation=True),
        lambda values: values["dagsterWebserver"].pop("readinessProbe"),
        lambda values: values["dagsterDaemon"]["runCoordinator"].update(enabled=False),
        lambda values: values["dagsterDaemon"]["runCoordinator"]["config"].update(customRunCoordinator={}),
        lambda values: values.pop("busybox"),
    ],
)
def test_spoiled_values_are_refused(spoil: Callable[[dict[str, Any]], Any]) -> None:
    values = copy.deepcopy(dagster_values())
    spoil(values)
    assert dagster_values_problems(values) != []


def test_the_instance_in_a_cluster_is_the_shipped_one() -> None:
    values = dagster_values()
    here = {"telemetry": values["telemetry"], **values["additionalInstanceConfig"]}
    coordinator = dict(values["dagsterDaemon"]["runCoordinator"]["config"]["customRunCoordinator"])
    assert coordinator.pop("config") == {}
    here["run_coordinator"] = coordinator  # which the chart writes itself
    shipped_settings = yaml.safe_load(SHIPPED.read_text())
    del shipped_settings["run_launcher"]  # of processes; here runs are pods, and the chart names the launcher
    del shipped_settings["instance_class"]  # of SQLite; the chart names PostgreSQL
    assert here == shipped_settings


def test_the_daemon_waits_for_events_as_in_every_plant_on_postgres() -> None:
    """Each way to run a plant has the setting, with the same value."""
    (line,) = [
        line
        for line in shipped.shipped_file("plant/dagster.env.example").read_text().splitlines()
        if line.startswith("DAGSTER_AUTOMATION_TICK_SETTLE_SECONDS=")
    ]
    name, _, value = line.partition("=")
    assert {"name": name, "value": value} in dagster_values()["dagsterDaemon"]["env"]
    compose = yaml.safe_load((DEPLOY.parent / "compose" / "compose.yaml").read_text())
    assert compose["services"]["daemon"]["environment"][name] == value


def test_dagster_accepts_the_instance(tmp_path: Path) -> None:
    with instance_for_test(overrides=dagster_values()["additionalInstanceConfig"], temp_dir=str(tmp_path)) as instance:
        assert instance.run_monitoring_enabled


def test_the_code_server_starts_with_the_words_of_the_values() -> None:
    (deployment,) = dagster_values()["dagster-user-deployments"]["deployments"]
    words = ["-h", "0.0.0.0", "-p", str(deployment["port"]), *deployment["dagsterApiGrpcArgs"]]
    parsed = grpc_command.make_context("dagster api grpc", words).params
    assert parsed["module_name"] == "yolo_assets.definitions"
    with pytest.raises(click.NoSuchOption):
        grpc_command.make_context("dagster api grpc", ["--python-module", "yolo_assets.definitions"])


def test_a_run_is_a_restricted_pod_with_limits_and_an_end(tmp_path: Path) -> None:
    job = run_job(dagster_values(), tmp_path)
    assert problems(job) == []
    assert job["spec"]["ttlSecondsAfterFinished"] == 3600 and job["spec"]["backoffLimit"] == 0
    pod = job["spec"]["template"]
    assert unrestricted(pod) == [] and gpus(pod) == 0
    (container,) = pod["spec"]["containers"]
    assert container["resources"]["limits"] == {"cpu": "1", "memory": "2Gi"}
    assert pod["spec"]["serviceAccountName"] == "yolo-assets-runs"
    assert {"secretRef": {"name": "yolo-assets-platform-s3"}} in container["envFrom"]


def test_a_run_has_the_limits_of_its_hungriest_asset(tmp_path: Path) -> None:
    values = dagster_values()

    def limits(*assets: str, **tags: str) -> dict[str, str]:
        (container,) = run_job(values, tmp_path, *assets, tags=tags)["spec"]["template"]["spec"]["containers"]
        return container["resources"]["limits"]

    assert limits("hourly_archives") == {"cpu": "2", "memory": "2Gi"}
    assert limits("hourly_archives", "archive_catalog") == {"cpu": "2", "memory": "4Gi"}
    assert limits("deployed_model") == {"cpu": "1", "memory": "2Gi"}
    own = {"container_config": {"resources": {"limits": {"cpu": "7", "memory": "9Gi"}}}}
    assert limits("hourly_archives", **{"dagster-k8s/config": json.dumps(own)}) == {"cpu": "7", "memory": "9Gi"}


def test_limits_are_named_for_assets_that_exist() -> None:
    known = {key.to_user_string() for key in defs().resolve_all_asset_keys()}
    assert set(launcher_config(dagster_values())["asset_limits"]) <= known


def test_what_the_values_name_is_made_by_our_chart(helm: Helm, tmp_path: Path) -> None:
    made = {(one["kind"], one["metadata"]["name"]) for one in helm.render(EXAMPLE, folder=tmp_path)}
    values = dagster_values()
    runs = values["dagster-user-deployments"]
    assert ("ServiceAccount", values["serviceAccount"]["name"]) in made
    assert ("ServiceAccount", runs["serviceAccount"]["name"]) in made
    volumes = yaml.safe_dump(runs["deployments"][0]["volumes"])
    for name in ("yolo-assets-training-pod", "yolo-assets-archiver-keys"):
        assert ("ConfigMap", name) in made and name in volumes
    (variable,) = [one["value"] for one in runs["deployments"][0]["env"] if one["name"] == "YOLO_ASSETS_TRAINING_POD"]
    (mount,) = [one for one in runs["deployments"][0]["volumeMounts"] if one["name"] == "training"]
    assert variable == f"{mount['mountPath']}/pod.yaml"


def test_the_pages_name_every_file_of_the_folder() -> None:
    readme = (DEPLOY / "README.md").read_text()
    assert [path.name for path in DEPLOY.iterdir() if f"`{path.name}" not in readme and path.name != "README.md"] == []
