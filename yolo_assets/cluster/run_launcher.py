"""dagster-k8s' launcher, with processor and memory limits for each asset.

A run is a pod, and its limits are those of the hungriest of its assets. Dagster reads limits from tags of the run
alone: those on an asset count only where each step has a pod of its own, and a hand or a backfill sets no tags.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dagster import DagsterRun, Field, Map, Noneable
from dagster._serdes import ConfigurableClassData
from dagster_k8s import K8sRunLauncher
from dagster_k8s.container_context import K8sContainerContext
from kubernetes.utils import parse_quantity

RESOURCES = ("cpu", "memory")
Limits = Mapping[str, str]


class AssetRunLauncher(K8sRunLauncher):
    """``run_launcher`` of ``dagster.yaml``: the configuration of ``K8sRunLauncher``, and ``asset_limits``."""

    def __init__(
        self,
        inst_data: ConfigurableClassData | None = None,
        asset_limits: Mapping[str, Limits] | None = None,
        **of_the_base: Any,
    ) -> None:
        self._asset_limits = asset_limits or {}
        super().__init__(inst_data=inst_data, **of_the_base)

    @classmethod
    def config_type(cls) -> Any:
        """For Dagster, which checks ``dagster.yaml`` with it."""
        limits = Field(
            Noneable(Map(str, Map(str, str))),
            is_required=False,
            description="asset to its limits, like {archive_catalog: {cpu: '1', memory: 2Gi}}",
        )
        return {**K8sRunLauncher.config_type(), "asset_limits": limits}

    def get_container_context_for_run(self, dagster_run: DagsterRun) -> K8sContainerContext:
        """The pod of a run, as the base makes it, with the limits of its assets."""
        context = super().get_container_context_for_run(dagster_run)
        names = [key.to_user_string() for key in dagster_run.asset_selection or ()]
        if not names or "dagster-k8s/config" in dagster_run.tags:  # what somebody wrote for this run counts
            return context
        limits = largest(self._asset_limits[name] for name in names if name in self._asset_limits)
        if not limits:
            return context
        # Memory is asked for as a whole: a node that promised too much evicts the run that needs it.
        requests = {"memory": limits["memory"]} if "memory" in limits else {}
        return context.merge(K8sContainerContext(resources={"limits": limits, "requests": requests}))


def largest(limits: Iterable[Limits]) -> dict[str, str]:
    """The largest processor and the largest memory limit of several, as Kubernetes writes quantities."""
    given = list(limits)
    return {
        name: max((one[name] for one in given if name in one), key=parse_quantity)
        for name in RESOURCES
        if any(name in one for one in given)
    }
