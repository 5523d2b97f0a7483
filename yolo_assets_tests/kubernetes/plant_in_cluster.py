"""A plant in the small cluster: our chart's rights and training pod, the values' run pods, a store, a dataset."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from dagster._core.test_utils import instance_for_test

from yolo_assets.archive.archive import Archive
from yolo_assets.contracts.signing import Signer
from yolo_assets.definitions import defs
from yolo_assets.learning.dataset import Dataset, build_dataset
from yolo_assets_tests.kubernetes.api_server import Cluster, api_server
from yolo_assets_tests.kubernetes.charts import EXAMPLE, Helm, Manifest, dagster_values
from yolo_assets_tests.kubernetes.run_pods import image_of, kubeconfig, launcher_config, run_origin
from yolo_assets_tests.learning.line_world import World

ROOT = Path(__file__).parents[2]
QUICK = Path(__file__).parent / "quick_image"


@dataclass
class ClusterPlant:
    """What a test of the cluster has in its hands."""

    cluster: Cluster
    world: World
    dataset: Dataset
    instance: dg.DagsterInstance
    values: dict[str, Any]

    def launch(self, *assets: str) -> str:
        """A run of these assets, launched as the daemon does it; its id."""
        job = defs().resolve_implicit_global_asset_job_def()
        run = self.instance.create_run_for_job(
            job,
            asset_selection={dg.AssetKey(name) for name in assets},
            job_code_origin=run_origin(self.values),
        )
        self.instance.launch_run(run.run_id, None)  # pyright: ignore[reportArgumentType]
        return run.run_id

    def wait_for(self, what: Callable[[], Any], seconds: float = 60.0) -> Any:
        """What a callable returns, once that is true."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := what():
                return found
            time.sleep(0.05)
        logs = [f"{name}: {container.log[-15:]}" for name, container in self.cluster.containers.items()]
        raise AssertionError(f"not within {seconds} s; denied: {self.cluster.denied}; logs: {logs}")

    def ended(self, run_id: str, seconds: float = 120.0) -> dg.DagsterRun:
        """A run, once it has ended."""

        def finished() -> dg.DagsterRun | None:
            run = self.instance.get_run_by_id(run_id)
            return run if run is not None and run.is_finished else None

        return self.wait_for(finished, seconds)

    def log_of(self, prefix: str) -> str:
        """What the pods whose names begin so have printed."""
        found = [one for name, one in self.cluster.containers.items() if name.startswith(prefix)]
        return "\n".join(line for container in found for _, line in container.log)


def roles_of(manifests: list[Manifest]) -> dict[str, set[tuple[str, str]]]:
    """What each service account may do, by our chart."""
    return {
        one["metadata"]["name"]: {
            (resource, verb) for rule in one["rules"] for resource in rule["resources"] for verb in rule["verbs"]
        }
        for one in manifests
        if one["kind"] == "Role"
    }


@contextmanager
def cluster_plant(helm: Helm, folder: Path, *, quick: bool) -> Iterator[ClusterPlant]:
    """A plant with a labelled dataset, and nothing trained yet.

    Args:
        helm: renders our chart.
        folder: for everything.
        quick: trainings take a moment, and the first attempt waits to be evicted.
    """
    world = World.make(folder)
    world.label(world.archive_frames(40))
    dataset = build_dataset(world.store, Archive(world.archive, world.trusted))
    store, archive = (folder / "store").as_uri(), (folder / "archive").as_uri()
    recipe = {"epochs": 3, "imgsz": 64, "batch": 8, "val_every": 1, "warmup_epochs": 0}
    small = {"training": {"recipe": {"starter": recipe}, "resources": {"limits": {"cpu": "2"}}}}
    manifests = helm.render(EXAMPLE, {"store": store, "archive": archive, **small}, folder=folder)
    values = dagster_values()
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    for variable in deployment["env"]:
        given = {"YOLO_ASSETS_STORE": store, "YOLO_ASSETS_ARCHIVE": archive}
        variable["value"] = given.get(variable["name"], variable["value"])

    with ExitStack() as stack:
        cluster, address = stack.enter_context(api_server(folder / "pods"))
        cluster.roles = roles_of(manifests)
        _fill(cluster, manifests, folder)
        code = [str(QUICK)] if quick else []
        image = {"PATH": f"{Path(sys.executable).parent}:{os.defpath}", "PYTHONPATH": ":".join([*code, str(ROOT)])}
        runs = {**image, "KUBECONFIG": str(_kubeconfig(folder, "runs", address, "yolo-assets-runs"))}
        cluster.objects.images = {image_of(values): runs, "registry.plant.example/yolo-assets-train:0.1.0": image}
        configuration = {
            **launcher_config(values),
            "load_incluster_config": False,
            "kubeconfig_file": str(_kubeconfig(folder, "daemon", address, "yolo-assets-dagster")),
        }
        named = values["runLauncher"]["config"]["customRunLauncher"]
        launcher = {"module": named["module"], "class": named["class"], "config": configuration}
        home = folder / "dagster"
        home.mkdir()
        instance = stack.enter_context(instance_for_test(overrides={"run_launcher": launcher}, temp_dir=str(home)))
        yield ClusterPlant(cluster, world, dataset, instance, values)


def _kubeconfig(folder: Path, name: str, address: str, account: str) -> Path:
    own = folder / name
    own.mkdir()
    return kubeconfig(own, address, account)


def _fill(cluster: Cluster, manifests: list[Manifest], folder: Path) -> None:
    """The ConfigMaps of our chart, and the Secrets that the how-to page lists."""
    for one in manifests:
        if one["kind"] == "ConfigMap":
            cluster.objects.config_maps[one["metadata"]["name"]] = one["data"] or {}
    pod = yaml.safe_load(cluster.objects.config_maps["yolo-assets-training-pod"]["pod.yaml"])
    patient = {**pod, "poll_seconds": 0.1}
    cluster.objects.config_maps["yolo-assets-training-pod"]["pod.yaml"] = yaml.safe_dump(patient)
    cluster.objects.config_maps["dagster-instance"] = {"dagster.yaml": ""}
    cluster.objects.config_maps["yolo-assets-archiver-keys"] = {}
    keys = folder / "centre"
    for name in ("archiver", "promotion"):
        Signer.load_or_create(keys / name)
    credentials = {"AWS_ACCESS_KEY_ID": "role", "AWS_SECRET_ACCESS_KEY": "secret"}
    cluster.objects.secrets = {
        "yolo-assets-platform-s3": {**credentials, "AWS_ACCESS_KEY_ID": "platform"},
        "yolo-assets-training-s3": {**credentials, "AWS_ACCESS_KEY_ID": "training"},
        "yolo-assets-postgres": {"postgresql-password": "secret"},
        "yolo-assets-platform-keys": {path.name: path.read_text() for path in sorted(keys.iterdir())},
    }
