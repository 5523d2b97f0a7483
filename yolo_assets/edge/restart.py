"""After a restart: serve what served before, from the cache, without a network.

Belongs here: the last known good model and the candidate that the process died with. Does not belong here: anything
new, which is the stager's.
"""

from __future__ import annotations

import logging

from yolo_assets.edge.loading import LoadedModel
from yolo_assets.edge.slots import Slot
from yolo_assets.edge.staging_parts import StagingParts, in_words
from yolo_assets.edge.state import EdgeState, ModelRef
from yolo_assets.edge.swaps import Attempt

log = logging.getLogger(__name__)

ATTEMPTS = 2
"""Starts of a candidate's staging that may end without a result (power cut, crash) before it is put in quarantine."""


def restore(parts: StagingParts) -> None:
    """Serve what the state names as current; when that cannot be loaded any more, the one before it."""
    state = parts.control.state
    _judge_interrupted(parts, state)
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
    if ref is None or current is None or ref.manifest_sha256 == current.model.ref.manifest_sha256:
        return
    attempt = parts.swaps.begin("start")
    try:
        parts.control.slots.keep_as_previous(_load_cached(parts, ref, attempt))
    except Exception as error:  # a runtime may raise anything
        log.warning("previous model %s cannot be kept ready: %s", ref.label, in_words(error))
    finally:
        parts.swaps.cancel(attempt)


def _load_cached(parts: StagingParts, ref: ModelRef, attempt: Attempt) -> Slot[LoadedModel]:
    with attempt.step("read"):
        bundle = parts.cache.load(ref.name, ref.version, ref.manifest_sha256)
    return parts.slot(parts.loader.load(bundle, ref, attempt))


def _judge_interrupted(parts: StagingParts, state: EdgeState) -> None:
    """A candidate that is still in the state never ended: the process died while it was being prepared."""
    candidate = state.candidate
    if candidate is None or candidate.attempts < ATTEMPTS:
        return
    reason = f"the agent died {candidate.attempts} times while this release was being prepared"
    parts.control.quarantine(candidate, reason)
    parts.control.refuse("start", candidate.label, reason, candidate.release)
