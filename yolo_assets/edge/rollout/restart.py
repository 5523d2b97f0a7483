"""After a restart: serve what served before, from the cache, without a network.

Belongs here: the last known good model and the candidate that the process died with. Does not belong here: anything
new, which is the stager's.
"""

from __future__ import annotations

import logging

from yolo_assets.contracts.model import ReleasedModel
from yolo_assets.edge.rollout import beside
from yolo_assets.edge.rollout.background import at_low_priority
from yolo_assets.edge.rollout.staging_parts import StagingParts, in_words
from yolo_assets.edge.rollout.swaps import Attempt
from yolo_assets.edge.serving.loaded_model import LoadedModel
from yolo_assets.edge.serving.slot import Slot
from yolo_assets.edge.serving.slots import SecondaryRole

log = logging.getLogger(__name__)

ATTEMPTS = 2
"""Starts of a model that may end without a result (power cut, crash) before it is put in quarantine: while it was being
prepared, while it was on trial, or beside the box's model before it had proved itself."""


def restore(parts: StagingParts) -> None:
    """Serve what the state names as current; when that cannot be loaded any more, the one before it."""
    _judge_interrupted(parts)
    _judge_trial(parts)
    state = parts.control.state
    for ref in (state.current, state.previous):
        if ref is None:
            continue
        attempt = parts.swaps.begin("start")
        try:
            slot = _load_cached(parts, ref, attempt)
        except Exception as error:  # a runtime may raise anything
            parts.end(attempt, ref, "failed", f"start from the cache: {in_words(error)}")
            continue
        parts.control.resume(slot, ref, attempt)
        return


def warm_previous(parts: StagingParts) -> None:
    """Load the previous model too, so that a rollback is at hand again."""
    ref, current = parts.control.state.previous, parts.control.slots.current
    if ref is None or current is None or ref.manifest_sha256 == current.model.identity.manifest_sha256:
        return
    attempt = parts.swaps.begin("start")
    try:
        with at_low_priority(makes_threads=True):
            parts.control.slots.keep_as_previous(_load_cached(parts, ref, attempt))
    except Exception as error:  # a runtime may raise anything
        log.warning("previous model %s cannot be kept ready: %s", ref.model_version, in_words(error))
    finally:
        parts.swaps.cancel(attempt)


def _load_cached(parts: StagingParts, ref: ReleasedModel, attempt: Attempt) -> Slot[LoadedModel]:
    with attempt.step("read"):
        bundle = parts.cache.load(ref.name, ref.version, ref.manifest_sha256)
    loaded = parts.loader.load(bundle, ref, attempt)
    return Slot(loaded, loaded.identity.model_version)


def warm_beside(parts: StagingParts, role: SecondaryRole) -> None:
    """Bring back what ran beside the box's model before the restart, unless it keeps killing the agent."""
    control, known = parts.control, parts.control.state.beside(role)
    if known is None or control.slots.current is None:
        return
    if not parts.has(role):
        control.change(**{role: None})  # the configuration has none any more
        return
    if known.attempts >= ATTEMPTS:
        reason = f"the agent died {known.attempts} times while this release served beside the box's model"
        control.quarantine(known, reason)
        control.change(**{role: None})
        control.refuse("start", known.model_version, reason, known.release)
        return
    cameras = parts.canary_cameras if role == "canary" else ()
    control.change(**{role: known.model_copy(update={"attempts": known.attempts + 1})})  # durable before the load
    attempt = parts.swaps.begin("start")
    ref, loaded = ReleasedModel(**known.model_dump(exclude={"attempts"})), None
    try:
        slot = control.warm_slot(ref.manifest_sha256)
        if slot is None:
            with at_low_priority(makes_threads=True):
                slot = loaded = _load_cached(parts, ref, attempt)
        beside.start(control, role, slot, ref, cameras, attempt, "start from the cache", again=known.attempts + 1)
    except Exception as error:  # a runtime may raise anything
        if loaded is not None:
            loaded.retire()
        control.change(**{role: None})
        parts.end(attempt, known, "failed", f"start from the cache: {in_words(error)}")


def _judge_interrupted(parts: StagingParts) -> None:
    """A candidate that is still in the state never ended: the process died while it was being prepared."""
    candidate = parts.control.state.candidate
    if candidate is None or candidate.attempts < ATTEMPTS:
        return
    reason = f"the agent died {candidate.attempts} times while this release was being prepared"
    parts.control.quarantine(candidate, reason)
    parts.control.refuse("start", candidate.model_version, reason, candidate.release)


def _judge_trial(parts: StagingParts) -> None:
    """A model that is still on trial: the process died before its commit. It gets a second chance, counted first."""
    trial, previous = parts.control.state.trial, parts.control.state.previous
    if trial is None:
        return
    if trial.attempts < ATTEMPTS or previous is None:
        parts.control.change(trial=trial.model_copy(update={"attempts": trial.attempts + 1}))
        return
    reason = f"the agent died {trial.attempts} times while this release was on trial"
    parts.control.quarantine(trial, reason)
    parts.control.change(current=previous, previous=None, trial=None)
    parts.swaps.end(
        parts.swaps.begin("start"),
        source=trial.model_version,
        target=previous.model_version,
        result="reverted",
        reason=reason,
        release=previous.release,
    )
    log.warning("reverted from %s to %s: %s", trial.model_version, previous.model_version, reason)
