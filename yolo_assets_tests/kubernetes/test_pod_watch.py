"""The wait for the training pod ends whatever becomes of it; with the real client against the small API server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes
import pytest

from yolo_assets.cluster.pod_watch import (
    PodFailedError,
    PodLostError,
    PodNotStartedError,
    PodPatience,
    PodWatch,
    remove_pods,
)
from yolo_assets.cluster.training_pod import TrainingPod
from yolo_assets.contracts.errors import BadInputError
from yolo_assets_tests.kubernetes.api_server import Cluster, api_server
from yolo_assets_tests.kubernetes.run_pods import kubeconfig

PATIENCE = PodPatience(poll_seconds=0.05, start_seconds=1.0, longest_seconds=20.0)
ALL = {("pods", verb) for verb in ("create", "get", "list", "delete", "watch")} | {("pods/log", "get")}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    with api_server(tmp_path / "pods") as (made, address):
        made.roles["tester"] = ALL
        made.objects.images["image"] = {"PATH": "/usr/bin:/bin"}
        kubernetes.config.load_kube_config(str(kubeconfig(tmp_path, address, "tester")))
        yield made


def start(command: str, **spec: Any) -> kubernetes.client.CoreV1Api:
    api = kubernetes.client.CoreV1Api()
    container = {"name": "training", "image": "image", "command": ["sh", "-c", command], **spec.pop("container", {})}
    metadata = {"name": "pod", "labels": {"of": "this"}}
    api.create_namespaced_pod("plant", {"metadata": metadata, "spec": {"containers": [container], **spec}})
    return api


def watch(api: kubernetes.client.CoreV1Api, patience: PodPatience = PATIENCE) -> PodWatch:
    return PodWatch(api, "plant", "pod", patience)


def test_a_pod_that_succeeds_is_waited_for(cluster: Cluster) -> None:
    pod = watch(start("exec sleep 0.3"))
    pod.until_started()
    pod.until_ended()
    assert cluster.pods["pod"]["status"]["phase"] == "Succeeded"


def test_an_evicted_and_a_deleted_pod_are_lost(cluster: Cluster) -> None:
    api = start("exec sleep 30")
    pod = watch(api)
    pod.until_started()
    cluster.evict("pod", grace=0.2)
    with pytest.raises(PodLostError, match="was evicted: Evicted"):
        pod.until_ended()
    remove_pods(api, "plant", "of=this", PATIENCE)
    with pytest.raises(PodLostError, match="was deleted"):
        pod.until_ended()


def test_a_pod_whose_secret_is_missing_does_not_start(cluster: Cluster) -> None:
    api = start("true", container={"envFrom": [{"secretRef": {"name": "nothing"}}]})
    with pytest.raises(PodFailedError, match="cannot start: CreateContainerConfigError"):
        watch(api).until_started()


def test_a_pod_that_no_node_takes_is_given_up(cluster: Cluster) -> None:
    api = start("exec sleep 30")
    condition = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes: 3 Insufficient nvidia.com/gpu."}
    cluster.pods["pod"]["status"] = {"phase": "Pending", "conditions": [condition]}
    with pytest.raises(PodNotStartedError, match=r"3 Insufficient nvidia\.com/gpu"):
        watch(api).until_started()


def test_a_pod_at_its_limits_says_which(cluster: Cluster) -> None:
    with pytest.raises(PodFailedError, match="reached its limit of time"):
        watch(start("exec sleep 30", activeDeadlineSeconds=1)).until_ended()
    terminated = {"exitCode": 137, "reason": "OOMKilled"}
    cluster.pods["pod"]["status"] = {"phase": "Failed", "containerStatuses": [_status({"terminated": terminated})]}
    with pytest.raises(PodFailedError, match="needed more memory than its limit"):
        watch(kubernetes.client.CoreV1Api()).until_ended()


def test_a_pod_that_hangs_or_fails_ends_the_wait(cluster: Cluster) -> None:
    api = start("exec sleep 30")
    short = PodPatience(poll_seconds=0.05, start_seconds=1.0, longest_seconds=0.3)
    with pytest.raises(PodFailedError, match="took longer than 0 s"):
        watch(api, short).until_ended()
    remove_pods(api, "plant", "of=this", PATIENCE)
    with pytest.raises(PodFailedError, match="exit code 3"):
        watch(start("exit 3")).until_ended()


def test_a_pod_that_is_being_deleted_for_ever_is_lost_with_its_node(cluster: Cluster) -> None:
    api = start("exec sleep 30")
    cluster.pods["pod"]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    with pytest.raises(PodLostError, match="was lost with its node"):
        watch(api).until_ended()


def test_a_pod_that_ends_while_it_is_deleted_has_not_failed(cluster: Cluster) -> None:
    api = start("exec sleep 30")
    terminated = {"exitCode": 143, "reason": "Error"}
    cluster.pods["pod"]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    cluster.pods["pod"]["status"] = {"phase": "Failed", "containerStatuses": [_status({"terminated": terminated})]}
    with pytest.raises(PodLostError, match="was deleted"):
        watch(api).until_ended()


def test_the_process_has_the_memory_limit_of_its_container(cluster: Cluster) -> None:
    limits = {"resources": {"limits": {"memory": "64Mi"}}}
    with pytest.raises(PodFailedError):
        watch(start("python3 -c 'bytearray(200 << 20)'", container=limits)).until_ended()


def test_changes_of_a_pod_can_be_watched(cluster: Cluster) -> None:
    api = start("exec sleep 0.3")
    phases = []
    for event in kubernetes.watch.Watch().stream(api.list_namespaced_pod, "plant", timeout_seconds=10):
        phases.append(event["object"].status.phase)  # pyright: ignore
        if phases[-1] == "Succeeded":
            break
    assert phases == ["Running", "Succeeded"]


@pytest.mark.parametrize(
    "text",
    ["namespace: n", "namespace: n\nspec: {containers: []}", "namespace: n\nspec: {containers: [{name: a}]}"],
)
def test_a_file_that_describes_no_training_pod_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "pod.yaml"
    path.write_text(text)
    with pytest.raises(BadInputError, match="does not describe a training pod"):
        TrainingPod.load(path)


def test_a_whole_processor_is_the_least_that_a_pod_has(tmp_path: Path) -> None:
    def processors(cpu: str) -> int | None:
        container = {"image": "i", "resources": {"limits": {"cpu": cpu}}}
        return TrainingPod(namespace="n", spec={"containers": [container]}).processors

    assert [processors("8"), processors("1500m"), processors("250m")] == [8, 1, 1]


def _status(state: dict[str, Any]) -> dict[str, Any]:
    return {"name": "training", "image": "image", "imageID": "", "restartCount": 0, "ready": False, "state": state}
