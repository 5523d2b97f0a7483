"""The pod of a run, built by dagster-k8s from our values as the official chart hands them to it.

The chart writes the launcher's part into ``dagster.yaml`` as it stands, and the code location's part into the container
context of its server; ``container_context`` does the same (``_helpers.tpl`` of dagster-io/dagster, read for 1.13).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kubernetes
import yaml
from dagster import AssetKey, DagsterRun
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster_k8s.job import construct_dagster_k8s_job

from yolo_assets.cluster.run_launcher import AssetRunLauncher

NAMESPACE = "yolo-assets"


def launcher_config(values: Mapping[str, Any]) -> dict[str, Any]:
    """``run_launcher.config`` of ``dagster.yaml``."""
    return dict(values["runLauncher"]["config"]["customRunLauncher"]["config"])


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


def run_job(
    values: Mapping[str, Any], folder: Path, *assets: str, tags: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The Job that the launcher posts for a run of some assets, as JSON."""
    outside = {"load_incluster_config": False, "kubeconfig_file": str(kubeconfig(folder))}
    launcher = AssetRunLauncher(**{**launcher_config(values), **outside})
    chosen = frozenset(AssetKey(name) for name in assets) or None
    origin = run_origin(values)
    run = DagsterRun(job_name="__ASSET_JOB", job_code_origin=origin, asset_selection=chosen, tags=tags)
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
