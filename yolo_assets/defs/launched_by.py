"""Who launched a run: the name that the login in front of Dagster's UI passes on becomes a tag of the run.

Dagster's UI has no login. A proxy checks the person and names them in a header; Dagster hands the headers of the
request that launches a run to the run coordinator, and to nothing else. Backfills are launched by the daemon, whoever
requested them, and have no such tag.
"""

from __future__ import annotations

from dagster import DagsterRun, QueuedRunCoordinator
from dagster._core.run_coordinator import SubmitRunContext

HEADER = "X-Remote-User"
"""Set by the proxy for every request, so that a browser cannot name somebody else."""
LAUNCHED_BY_TAG = "yolo_assets/launched_by"
_LONGEST = 80


class NamingRunCoordinator(QueuedRunCoordinator):
    """``run_coordinator`` of ``dagster.yaml``: Dagster's own queue, with the name of who launched a run on it."""

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        """Put a run into the queue; one that a person launched through the proxy has their name."""
        name = " ".join((context.get_request_header(HEADER) or "").split())[:_LONGEST]
        if name.isprintable() and name:
            self._instance.add_run_tags(context.dagster_run.run_id, {LAUNCHED_BY_TAG: name})
        return super().submit_run(context)


def acting_for(run: DagsterRun, asset: str) -> str:
    """Who a run acts for: the person who launched it, else the asset by itself."""
    name = run.tags.get(LAUNCHED_BY_TAG)
    return f"{name} (dagster:{asset})" if name else f"dagster:{asset}"
