"""The part of Dagster's daemon that carries out backfills, in this process, over an instance on disk.

Runs execute at once, one after the other, where the daemon would queue them. It is the daemon's own code otherwise.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from dagster._core.definitions.reconstruct import ReconstructableJob
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.backfill import execute_backfill_iteration

AT_ONCE = """
telemetry:
  enabled: false
run_coordinator:
  module: dagster._core.run_coordinator
  class: DefaultRunCoordinator
run_launcher:
  module: dagster._core.launcher.sync_in_memory_run_launcher
  class: SyncInMemoryRunLauncher
"""


def make_instance(home: Path) -> Path:
    """``DAGSTER_HOME`` of an instance that executes a run in the process that submits it."""
    dagster_home = home / "dagster"
    dagster_home.mkdir(parents=True, exist_ok=True)
    (dagster_home / "dagster.yaml").write_text(AT_ONCE)
    return dagster_home


@dataclass
class BackfillDaemon:
    """Over one instance; ``YOLO_ASSETS_*`` must be set as for the commands."""

    instance: dg.DagsterInstance

    def __post_init__(self) -> None:
        module = LoadableTargetOrigin(module_name="yolo_assets.definitions")
        origin = InProcessCodeLocationOrigin(module, location_name="yolo_assets")
        self.workspace = WorkspaceProcessContext(self.instance, InProcessWorkspaceLoadTarget(origin))
        for cached in (ReconstructableJob.get_definition, ReconstructableJob.get_repository_definition):
            cached.cache_clear()  # else a run has the settings of the daemon before it
        logging.getLogger("dagster").setLevel(logging.CRITICAL)

    def __enter__(self) -> BackfillDaemon:
        return self

    def __exit__(self, *_: object) -> None:
        self.workspace.__exit__(None, None, None)

    def iterate(self) -> None:
        """One look at every backfill."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            errors = [
                error
                for error in execute_backfill_iteration(self.workspace, logging.getLogger("dagster.quiet"))
                if error is not None
            ]
        assert not errors, errors

    def finish(self, most: int = 20) -> dict[str, str]:
        """Until no backfill is open. Returns the status of each."""
        for _ in range(most):
            self.iterate()
            backfills = self.instance.get_backfills()
            if all(backfill.status in BULK_ACTION_TERMINAL_STATUSES for backfill in backfills):
                return {backfill.backfill_id: backfill.status.value for backfill in backfills}
        raise AssertionError(f"still open after {most} iterations: {self.instance.get_backfills()}")
