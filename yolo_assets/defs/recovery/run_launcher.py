"""Dagster's own launcher of runs as processes of the code server, and whether those processes are still there.

The code server reports a run worker that died. When it is killed together with its workers, as systemd does, nobody
does: the run would hold its place until its longest time is over, and its hours with it.
"""

from __future__ import annotations

import json

import psutil
from dagster import DagsterEventType, DagsterRun, DefaultRunLauncher
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_CLOCK_SECONDS = 60.0
"""A process that began later than this after its run has a number that was used again."""


class WatchedRunLauncher(DefaultRunLauncher):
    """``run_launcher`` of ``dagster.yaml`` on one machine: run monitoring sees by it which processes are gone."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """For the daemon, which asks for every run that has started."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """``NOT_FOUND`` when the process of a run is gone; ``RUNNING`` when it is there, or is another machine's."""
        address = json.loads(run.tags.get(GRPC_INFO_TAG, "{}"))
        if "socket" not in address and address.get("host") not in _LOOPBACK:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "it is not a process of this machine")
        for entry in self._instance.all_logs(run.run_id, of_type=DagsterEventType.ENGINE_EVENT):
            number = entry.get_dagster_event().engine_event_data.metadata.get("pid")
            if number is not None:  # the first that is told is the worker's own
                if _is_there(int(str(number.value)), entry.timestamp):
                    return CheckRunHealthResult(WorkerStatus.RUNNING)
                return CheckRunHealthResult(WorkerStatus.NOT_FOUND, f"its process {number.value} is gone")
        return CheckRunHealthResult(WorkerStatus.RUNNING, "it has not told its process")


def _is_there(number: int, told_at: float) -> bool:
    try:
        process = psutil.Process(number)
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() < told_at + _CLOCK_SECONDS
    except psutil.NoSuchProcess:
        return False
