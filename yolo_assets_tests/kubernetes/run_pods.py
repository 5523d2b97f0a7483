"""The pod of a run, built by dagster-k8s from our values as the official chart hands them to it.

The chart writes the launcher's part into ``dagster.yaml`` and the code location's part into the container context of
its server; ``launcher_config`` and ``container_context`` do the same (``_run-launcher.tpl`` and ``_helpers.tpl`` of
dagster-io/dagster, read for 1.13).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kubernetes
import yaml
from dagster import DagsterRun
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster_k8s import K8sRunLauncher
from dagster_k8s.job import construct_dagster_k8s_job

NAMESPACE = "yolo-assets"


def launcher_config(values: Mapping[str, Any]) -> dict[str, Any]:
    """``run_launcher.config`` of ``dagster.yaml``."""
    ours = values["runLauncher"]["config"]["k8sRunLauncher"]
    run = ours["runK8sConfig"]
    return {
        "load_incluster_config": ours["loadInclusterConfig"],
        "job_namespace": NAMESPACE,
        "image_pull_policy": ours["imagePullPolicy"],
        "service_account_name": values["serviceAccount"]["name"],
        "dagster_home": "/opt/dagster/dagster_home",
        "instance_config_map": "dagster-instance",
        "postgres_password_secret": values["global"]["postgresqlSecretName"],
        "fail_pod_on_run_failure": ours["failPodOnRunFailure"],
        "run_k8s_config": {
            "container_config": run["containerConfig"],
            "pod_spec_config": run["podSpecConfig"],
            "job_spec_config": run["jobSpecConfig"],
        },
    }


def container_context(values: Mapping[str, Any]) -> dict[str, Any]:
    """What the code server's section adds to the pods of its runs."""
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    return {
        "k8s": {
            "image_pull_policy": deployment["image"]["pullPolicy"],
            "env_secrets": [one["name"] for one in deployment["envSecrets"]],
            "volume_mounts": deployment["volumeMounts"],
            "volumes": deployment["volumes"],
            "labels": deployment["labels"],
            "resources": deployment["resources"],
            "namespace": NAMESPACE,
            "service_account_name": values["dagster-user-deployments"]["serviceAccount"]["name"],
            "env": deployment["env"],
            "run_k8s_config": {"pod_spec_config": {"automount_service_account_token": True}},
        }
    }


def image_of(values: Mapping[str, Any]) -> str:
    """The image of the code location."""
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    return f"{deployment['image']['repository']}:{deployment['image']['tag']}"


def run_origin(values: Mapping[str, Any]) -> JobPythonOrigin:
    """Where a run's code lies: in the image of the code location, with the context that its server adds."""
    pointer = ModuleCodePointer("yolo_assets.definitions", "defs")
    repository = RepositoryPythonOrigin(
        executable_path=sys.executable,
        code_pointer=pointer,
        container_image=image_of(values),
        container_context=container_context(values),
    )
    return JobPythonOrigin(job_name="__ASSET_JOB", repository_origin=repository)


def kubeconfig(folder: Path, server: str = "http://127.0.0.1:9", account: str = "nobody") -> Path:
    """How a client finds the API, and as which service account."""
    path = folder / "kubeconfig.yaml"
    configuration = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "plant",
        "clusters": [{"name": "plant", "cluster": {"server": server}}],
        "users": [{"name": "plant", "user": {"token": account}}],
        "contexts": [{"name": "plant", "context": {"cluster": "plant", "user": "plant"}}],
    }
    path.write_text(yaml.safe_dump(configuration))
    return path


def run_job(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The Job that the launcher posts for a run, as JSON."""
    outside = {"load_incluster_config": False, "kubeconfig_file": str(kubeconfig(folder))}
    launcher = K8sRunLauncher(**{**launcher_config(values), **outside})
    run = DagsterRun(job_name="__ASSET_JOB", job_code_origin=run_origin(values))
    context = launcher.get_container_context_for_run(run)
    job = construct_dagster_k8s_job(
        job_config=context.get_k8s_job_config(job_image=image_of(values), run_launcher=launcher),
        args=["dagster", "api", "execute_run"],
        job_name="dagster-run-0",
        pod_name="dagster-run-0",
        component="run_worker",
        user_defined_k8s_config=context.run_k8s_config,
    )
    data = kubernetes.client.ApiClient().sanitize_for_serialization(job)
    assert isinstance(data, dict)
    return data
