"""dagster-k8s' own launcher and Pipes client against a small API server whose pods are processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from yolo_assets.contracts.names import training_key
from yolo_assets_tests.kubernetes.charts import Helm, gpus, problems, unrestricted
from yolo_assets_tests.kubernetes.plant_in_cluster import ClusterPlant, cluster_plant

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def plant(helm: Helm, tmp_path: Path) -> Iterator[ClusterPlant]:
    """Whose trainings take a moment."""
    with cluster_plant(helm, tmp_path, quick=True) as made:
        yield made


def training_pods(plant: ClusterPlant) -> list[str]:
    return [name for name in plant.cluster.running() if "trained-weights" in name]


def test_a_training_goes_on_after_eviction_and_deletion(plant: ClusterPlant) -> None:
    run_id = plant.launch("trained_weights")
    (first,) = plant.wait_for(lambda: training_pods(plant), 90)
    plant.wait_for(lambda: "epoch 1/3" in plant.log_of(first))
    plant.cluster.evict(first)
    (second,) = plant.wait_for(lambda: [name for name in training_pods(plant) if name != first])
    plant.wait_for(lambda: "epoch 2/3" in plant.log_of(second))  # it began where the first one was ended
    plant.cluster.delete_pod(second)  # after which dagster-k8s itself would wait for a day
    run = plant.ended(run_id)
    assert run.status == dg.DagsterRunStatus.SUCCESS, plant.log_of("dagster-run")

    event = plant.instance.get_latest_materialization_event(dg.AssetKey("trained_weights"))
    assert event is not None and event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert metadata["epochs"].value == 3  # one in each pod
    assert plant.cluster.denied == []

    # Three pods trained, one after the other, each with the rights and the credentials of a training alone.
    run_pod, *trainings = plant.cluster.created
    assert run_pod["metadata"]["labels"]["dagster/run-id"] == run_id and len(trainings) == 3
    assert [gpus(pod) for pod in plant.cluster.created] == [0, 1, 1, 1]
    for pod in plant.cluster.created:
        assert problems({"apiVersion": "v1", "kind": "Pod", **pod}) == []
        assert unrestricted(pod) == []
    for pod in trainings:
        assert pod["spec"]["serviceAccountName"] == "yolo-assets-training"
        environment = plant.cluster.environments[pod["metadata"]["name"]]
        assert environment["AWS_ACCESS_KEY_ID"] == "training"
        assert not {name for name in environment if "PG_PASSWORD" in name or name == "KUBECONFIG"}
    fingerprint = str(metadata["fingerprint"].value)
    assert plant.world.store.head(training_key(fingerprint, "result.json")) is not None
    plant.wait_for(lambda: not training_pods(plant))


def test_a_run_without_its_rights_fails_and_says_which(plant: ClusterPlant) -> None:
    plant.cluster.roles["yolo-assets-runs"].discard(("pods", "create"))
    run = plant.ended(plant.launch("trained_weights"))
    assert run.status == dg.DagsterRunStatus.FAILURE
    assert set(plant.cluster.denied) == {"yolo-assets-runs may not create pods"}
    assert [gpus(pod) for pod in plant.cluster.created] == [0]


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_a_real_training_is_evicted_and_goes_on(helm: Helm, tmp_path: Path) -> None:
    with cluster_plant(helm, tmp_path, quick=False) as plant:
        run_id = plant.launch("trained_weights")
        (first,) = plant.wait_for(lambda: training_pods(plant), 600)
        plant.wait_for(lambda: "epoch 1/3" in plant.log_of(first), 900)
        plant.cluster.evict(first, grace=30)
        plant.ended(run_id, 1500)  # three epochs find too little for the check of the evaluation
        event = plant.instance.get_latest_materialization_event(dg.AssetKey("trained_weights"))
        assert event is not None and event.asset_materialization is not None, plant.log_of("dagster-run")
        assert event.asset_materialization.metadata["epochs"].value == 3
        (last,) = {name for name in plant.cluster.containers if "trained-weights" in name} - {first}
        assert "resumed 1/3" in plant.log_of(last)
        assert "epoch 2/3" in plant.log_of(last) and "epoch 1/3" not in plant.log_of(last)
