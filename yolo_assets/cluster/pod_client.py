"""Dagster's Pipes client for Kubernetes, with an end to its waiting."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from dagster import AssetExecutionContext, OpExecutionContext, PipesClientCompletedInvocation
from dagster_k8s import PipesK8sClient
from dagster_k8s.client import DagsterKubernetesClient
from dagster_k8s.pipes import PipesK8sPodLogsMessageReader
from kubernetes.client import CoreV1Api
from kubernetes.client.exceptions import ApiException

from yolo_assets.cluster.pod_watch import Api, PodLostError, PodPatience, PodWatch, remove_pods
from yolo_assets.cluster.training_pod import TrainingPod

RESTARTS = 5
"""How often a training goes on in a new pod within one step; after that the step fails, and is retried as any other."""
LABEL = "yolo-assets/training"
_LAST_LINES = 30.0
"""Seconds for the end of the log after the pod has ended."""


class TrainingPodClient(PipesK8sClient):
    """Starts the training pod, passes its messages on, and starts another one when it was taken away."""

    def __init__(
        self,
        pod: TrainingPod,
        patience: PodPatience,
        listened: Callable[[PipesK8sPodLogsMessageReader], PipesK8sPodLogsMessageReader] = lambda reader: reader,
    ) -> None:
        """Of a pod's description.

        Args:
            pod: its description.
            patience: how long is waited for what.
            listened: a reader of Dagster's, with somebody who hears the messages while they come.
        """
        super().__init__(poll_interval=patience.poll_seconds, message_reader=listened(PipesK8sPodLogsMessageReader()))
        self._pod = pod
        self._patience = patience

    def train(
        self,
        context: AssetExecutionContext | OpExecutionContext,
        command: list[str],
        extras: dict[str, Any],
        label: str,
    ) -> PipesClientCompletedInvocation:
        """Run a command in the training pod to its end, in another pod again after an eviction.

        Args:
            context: of the step; progress goes to its log.
            command: speaks Pipes.
            extras: for the command.
            label: the same for every pod that works on the same thing: earlier ones are removed first.

        Raises:
            PodLostError: it was taken away more than ``RESTARTS`` times.
            PodNotStartedError: no node takes it.
            PodFailedError: it failed by itself.
        """
        self._load_k8s_config()
        api: Api = CoreV1Api()
        selector = f"{LABEL}={label}"
        meta = {**self._pod.metadata, **self._owner(api)}
        meta["labels"] = {**meta.get("labels", {}), LABEL: label}
        lost = 0
        while True:
            remove_pods(api, self._pod.namespace, selector, self._patience)
            try:
                return self.run(
                    context=context,
                    extras=extras,
                    command=command,
                    namespace=self._pod.namespace,
                    base_pod_meta=meta,
                    base_pod_spec=self._pod.spec,
                    delete_pod_on_completion=False,  # it would fail where the pod is gone already
                )
            except PodLostError as error:
                lost += 1
                if lost > RESTARTS:
                    raise
                context.log.warning(f"{error}; the training goes on in a new pod, from its last checkpoint")
            finally:
                remove_pods(api, self._pod.namespace, selector, self._patience)

    @contextmanager
    def consume_pod_logs(
        self,
        context: OpExecutionContext | AssetExecutionContext,
        client: DagsterKubernetesClient,
        namespace: str,
        pod_name: str,
        enable_multi_container_logs: bool = False,
        ignore_containers: set[str] | None = None,
    ) -> Iterator[None]:
        """In place of the base's: reads the log beside the wait, which ends with the pod, whatever ends that."""
        watch = PodWatch(client.core_api, namespace, pod_name, self._patience)
        watch.until_started()
        reader = self.message_reader
        assert isinstance(reader, PipesK8sPodLogsMessageReader)
        thread = threading.Thread(
            target=_quietly(reader.consume_pod_logs),
            args=(context, client.core_api, pod_name, namespace),
            name="training pod's log",
            daemon=True,
        )
        thread.start()
        try:
            watch.until_ended()
        finally:
            thread.join(_LAST_LINES)
        yield

    def _owner(self, api: Api) -> dict[str, Any]:
        """In a cluster the training pod belongs to the pod of the run: Kubernetes deletes it with that one."""
        name = socket.gethostname()
        with suppress(ApiException):
            run = api.read_namespaced_pod(name, self._pod.namespace)
            owner = {"api_version": "v1", "kind": "Pod", "name": name, "uid": run.metadata.uid}
            return {"owner_references": [owner]}
        return {}


def _quietly(read: Any) -> Any:
    """A log that breaks off is no failure of the training: its result lies in the store."""

    def reading(*arguments: Any) -> None:
        with suppress(ApiException, OSError):
            read(*arguments)

    return reading
