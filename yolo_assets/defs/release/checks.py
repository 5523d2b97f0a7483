"""Checks of the release stage: their specs, and how each is decided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from yolo_assets.contracts.evaluation import Evaluation

EXPORTED_FILE_EVALUATED = dg.AssetCheckSpec(
    "exported_file_evaluated",
    asset="trained_weights",
    blocking=True,
    description="The exported file was run on the test split and found at least one class of it.",
)
GATE_PASSED = dg.AssetCheckSpec(
    "gate_passed", asset="promoted_model", description="The gate's decision on the newest candidate."
)
EVERY_LIVE_DEVICE_CURRENT = dg.AssetCheckSpec(
    "every_live_device_current",
    asset="deployed_model",
    description="Within 2 minutes of its promotion every device whose heartbeat is recent runs what the channel asks.",
)


def exported_file_evaluated(candidate: Evaluation) -> dg.AssetCheckResult:
    """Failed when the model found no class at all; classes that were never found are named."""
    from yolo_assets.models.gate_status import problem_before_gate

    missing = sorted(name for name, figures in candidate.classes.items() if figures.recall == 0)
    return dg.AssetCheckResult(
        check_name=EXPORTED_FILE_EVALUATED.name,
        passed=problem_before_gate(candidate) is None,
        description=f"never found: {', '.join(missing)}" if missing else "every class is found",
    )


def gate_passed(passed: bool, summary: str) -> dg.AssetCheckResult:
    """The gate's decision as a check."""
    return dg.AssetCheckResult(check_name=GATE_PASSED.name, passed=passed, description=summary)


def every_live_device_current(waiting: Sequence[str]) -> dg.AssetCheckResult:
    """A warning that names the live devices that do not run the channel's version yet."""
    return dg.AssetCheckResult(
        check_name=EVERY_LIVE_DEVICE_CURRENT.name,
        passed=not waiting,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"not within 2 minutes: {', '.join(waiting)}" if waiting else "every live device runs it",
    )
