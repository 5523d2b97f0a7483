"""Whether a training is due: the plant's policy against what was labelled since the last one. Pure.

Belongs here: counting and deciding. Does not belong here: what Dagster knows of the last training
(``yolo_assets.defs.training_due``).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from yolo_assets.contracts.times import format_time
from yolo_assets.contracts.training_start import TrainingStart
from yolo_assets.learning.records import DatasetManifest

_MOST_QUIET = 6
"""A training waits for silence at most so many times as long as the policy says: somebody may label all day."""


@dataclass(frozen=True)
class NewLabels:
    """What came since the last training.

    Attributes:
        images: that were labelled, or labelled anew.
        first: when the first of them was in a dataset.
        last: when the last of them was.
        drifted: drift stands on a camera that is well.
    """

    images: int
    first: datetime
    last: datetime
    drifted: bool = False


@dataclass(frozen=True)
class StartDecision:
    """Whether a training starts now.

    Attributes:
        due: it does.
        why: one sentence: what started it, or what it waits for.
        look_at: when the answer may change although nothing new comes; None: never.
    """

    due: bool
    why: str
    look_at: datetime | None = None


def count_new(trained_on: DatasetManifest | None, now: DatasetManifest) -> int:
    """Images of a dataset that are new, or have other boxes, since the one of the last training.

    Args:
        trained_on: the dataset of the last training; None before the first.
        now: the newest dataset.
    """
    known = {item.sha256: item.boxes for item in trained_on.items} if trained_on is not None else {}
    return sum(item.sha256 not in known or known[item.sha256] != item.boxes for item in now.items)


def decide_start(policy: TrainingStart, new: NewLabels, now: datetime) -> StartDecision:
    """Whether a training starts.

    Args:
        policy: of the plant.
        new: what came since the last training.
        now: aware.
    """
    counted = f"{new.images} {'image' if new.images == 1 else 'images'} labelled since the last training"
    if not policy.automatic:
        return StartDecision(False, f"{counted}; trainings start by hand (training.automatic is false)")
    if new.images == 0:
        return StartDecision(False, "nothing was labelled since the last training")
    needed = policy.new_labels
    if new.drifted and policy.after_drift is not None:
        needed = min(needed, policy.after_drift)
    dates: list[tuple[datetime, str]] = []
    if policy.longest_wait_hours is not None:
        limit = timedelta(hours=policy.longest_wait_hours)
        dates.append((new.first + limit, f"the first waited {policy.longest_wait_hours:g} hours"))
    if policy.daily_at is not None:
        daily = _next(policy, new.first)
        dates.append((daily, f"it is {policy.daily_at:%H:%M} UTC"))
    at, reason = min(dates, default=(None, ""))
    if new.images >= needed:
        told = f"{counted}, while drift stands" if needed < policy.new_labels else counted
        quiet = timedelta(minutes=policy.quiet_minutes)
        silent = min(new.last + quiet, new.first + _MOST_QUIET * quiet)
        if now >= silent:
            return StartDecision(True, told)
        return StartDecision(False, f"{told}; it waits until {format_time(silent)} for more", silent)
    if at is not None and now >= at:
        return StartDecision(True, f"{counted}, and {reason}")
    latest = f", or at {format_time(at)}" if at is not None else ""
    return StartDecision(False, f"{counted}; a training starts at {needed}{latest}", at)


def _next(policy: TrainingStart, after: datetime) -> datetime:
    """The first moment after another one at which it is the policy's time of day."""
    assert policy.daily_at is not None
    moment = datetime.combine(after.astimezone(UTC).date(), policy.daily_at, UTC)
    return moment if moment >= after else moment + timedelta(days=1)
