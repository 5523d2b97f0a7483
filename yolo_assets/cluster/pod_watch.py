"""Waiting for a pod that may be evicted, deleted, never scheduled or lost with its node, and never for ever.

dagster-k8s' own wait goes on for a day after its pod was deleted (dagster-io/dagster#22453), and also while an evicted
pod has no container any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kubernetes.client.exceptions import ApiException

from yolo_assets.contracts.errors import UserError

Api = Any
"""``kubernetes.client.CoreV1Api``: its annotations say that every answer may be a thread or None."""
Pod = Any
"""``kubernetes.client.V1Pod``, likewise."""
_LOST = frozenset({"Evicted", "NodeLost", "NodeShutdown", "Preempting", "Shutdown", "Terminated"})
"""Reasons of a failed pod that was not at fault."""
_NEVER_STARTS = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError"})
_PATIENCE = 120.0
"""Seconds for an image or a Secret that is not there yet, and beyond its grace for a pod that is being deleted."""


class PodLostError(UserError):
    """The pod was taken away while it worked: the same work goes on in another one."""

    may_pass = True


class PodNotStartedError(UserError):
    """No node has room for the pod now."""

    may_pass = True


class PodFailedError(UserError):
    """The pod ended by itself, with an error, or cannot start as it is described."""


@dataclass(frozen=True)
class PodPatience:
    """How long to wait.

    Attributes:
        poll_seconds: between two looks at the pod.
        start_seconds: until it runs: a GPU may be busy.
        longest_seconds: until it has ended; None: as long as it takes.
    """

    poll_seconds: float
    start_seconds: float
    longest_seconds: float | None


class PodWatch:
    """One pod, from its creation to its end."""

    def __init__(self, api: Api, namespace: str, name: str, patience: PodPatience) -> None:
        self._api, self._namespace, self._name = api, namespace, name
        self._patience = patience
        self._created = time.monotonic()

    def until_started(self) -> None:
        """Until its container runs, or has run.

        Raises:
            PodLostError: it was taken away before.
            PodNotStartedError: no node took it.
            PodFailedError: it cannot start as it is described.
        """
        while True:
            pod = self._read()
            if pod.status.phase in ("Running", "Succeeded", "Failed"):
                return
            waited = time.monotonic() - self._created
            reason = _waiting_reason(pod)
            if reason in _NEVER_STARTS and waited > min(_PATIENCE, self._patience.start_seconds):
                raise PodFailedError(f"the training pod {self._name} cannot start: {reason}; see kubectl describe pod")
            if waited > self._patience.start_seconds:
                raise PodNotStartedError(
                    f"the training pod {self._name} did not start within {waited:.0f} s: {_why_pending(pod)}"
                )
            time.sleep(self._patience.poll_seconds)

    def until_ended(self, alive: Callable[[], None] = lambda: None) -> None:
        """Until it has succeeded.

        Args:
            alive: called at each look.

        Raises:
            PodLostError: it was evicted, deleted or lost with its node.
            PodFailedError: it failed, or took too long.
        """
        while True:
            alive()
            pod = self._read()
            if pod.status.phase == "Succeeded":
                return
            if pod.status.phase == "Failed":
                raise self._failure(pod)
            if _overdue(pod):
                raise PodLostError(f"the training pod {self._name} was lost with its node")
            longest = self._patience.longest_seconds
            if longest is not None and time.monotonic() - self._created > longest:
                raise PodFailedError(f"the training pod {self._name} took longer than {longest:.0f} s")
            time.sleep(self._patience.poll_seconds)

    def _read(self) -> Pod:
        try:
            return self._api.read_namespaced_pod(self._name, self._namespace)
        except ApiException as error:
            if error.status == 404:
                raise PodLostError(f"the training pod {self._name} was deleted") from None
            raise

    def _failure(self, pod: Pod) -> UserError:
        if pod.metadata.deletion_timestamp is not None:  # it ended because it was told to
            return PodLostError(f"the training pod {self._name} was deleted")
        reason = pod.status.reason or ""
        conditions = pod.status.conditions or ()
        disrupted = [one for one in conditions if one.type == "DisruptionTarget" and one.status == "True"]
        if reason in _LOST or disrupted:
            return PodLostError(f"the training pod {self._name} was evicted: {reason or disrupted[0].reason}")
        if reason == "DeadlineExceeded":
            return PodFailedError(
                f"the training pod {self._name} reached its limit of time; raise the chart's "
                "training.deadlineSeconds, or lower max_seconds in the recipe"
            )
        ended = [one.state.terminated for one in pod.status.container_statuses or () if one.state.terminated]
        if any(one.reason == "OOMKilled" for one in ended):
            return PodFailedError(
                f"the training pod {self._name} needed more memory than its limit; raise the chart's "
                "training.resources, or lower batch in the recipe"
            )
        codes = ", ".join(str(one.exit_code) for one in ended) or "none"
        return PodFailedError(f"the training pod {self._name} failed (exit code {codes}); its log is in the run's log")


def remove_pods(api: Api, namespace: str, selector: str, patience: PodPatience) -> None:
    """Delete the pods with these labels and wait until they are gone, so that one training at a time writes its files.

    Args:
        api: of the cluster.
        namespace: of the pods.
        selector: label selector.
        patience: how often to look.

    Raises:
        PodNotStartedError: one of them is still there after its grace.
    """
    started = time.monotonic()
    grace = 0.0
    while pods := api.list_namespaced_pod(namespace, label_selector=selector).items:
        for pod in pods:
            grace = max(grace, float(pod.spec.termination_grace_period_seconds or 30))
            if pod.metadata.deletion_timestamp is None:
                _delete(api, namespace, pod.metadata.name)
        if time.monotonic() - started > grace + _PATIENCE:
            raise PodNotStartedError(
                f"an earlier pod of this training, {pods[0].metadata.name}, does not end; its node may be lost"
            )
        time.sleep(patience.poll_seconds)


def _delete(api: Api, namespace: str, name: str) -> None:
    try:
        api.delete_namespaced_pod(name, namespace)
    except ApiException as error:
        if error.status != 404:
            raise


def _waiting_reason(pod: Pod) -> str | None:
    statuses: Iterable[Any] = pod.status.container_statuses or ()
    return next((one.state.waiting.reason for one in statuses if one.state and one.state.waiting), None)


def _why_pending(pod: Pod) -> str:
    for condition in pod.status.conditions or ():
        if condition.type == "PodScheduled" and condition.status != "True":
            return condition.message or condition.reason or "it is not scheduled"
    return _waiting_reason(pod) or "Kubernetes does not say why"


def _overdue(pod: Pod) -> bool:
    """Whether it should have been deleted long ago: its node does not answer any more."""
    deleted = pod.metadata.deletion_timestamp
    if deleted is None:
        return False
    grace = float(pod.metadata.deletion_grace_period_seconds or 30)
    return (datetime.now(UTC) - deleted).total_seconds() > grace + _PATIENCE
