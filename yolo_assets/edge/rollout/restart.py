"""After a restart: serve what served before, from the cache, without a network.

Belongs here: the last known good models and the candidate that the process died with. Does not belong here: anything
new, which ``staging`` brings in.
"""

from __future__ import annotations

import logging

from yolo_assets.edge.config.agent import AgentConfig
from yolo_assets.edge.rollout.controller import ModelControl
from yolo_assets.edge.rollout.prepare import Preparer, in_words
from yolo_assets.edge.rollout.thread_priority import at_low_priority
from yolo_assets.edge.serving.slots import SecondaryRole

log = logging.getLogger(__name__)

ATTEMPTS = 2
"""Starts of a model that may end without a result (power cut, crash) before it is put in quarantine: while it was being
prepared, while it was on trial, or in a secondary role before it had proved itself."""


def restore(control: ModelControl, preparer: Preparer) -> None:
    """Serve what the state names as primary model; when that cannot be loaded any more, the one before it."""
    _check_prepared(control)
    _check_trial(control)
    primary = control.state.primary
    for model in (primary.model, primary.previous):
        if model is None:
            continue
        attempt = control.swaps.begin("start")
        try:
            slot = preparer.load_cached(model, attempt)
        except Exception as error:  # a runtime may raise anything
            reason = f"start from the cache: {in_words(error)}"
            control.end_unchanged(attempt, model.model_version, "failed", reason, model)
            continue
        control.resume(slot, model, attempt)
        return


def warm_previous(control: ModelControl, preparer: Preparer) -> None:
    """Load the previous model too, so that a rollback is at hand again."""
    model, current = control.state.primary.previous, control.slots.current
    if model is None or current is None or model.manifest_sha256 == current.model.identity.manifest_sha256:
        return
    attempt = control.swaps.begin("start")
    try:
        with at_low_priority(makes_threads=True):
            control.slots.keep_as_previous(preparer.load_cached(model, attempt))
    except Exception as error:  # a runtime may raise anything
        log.warning("previous model %s cannot be kept ready: %s", model.model_version, in_words(error))
    finally:
        control.swaps.cancel(attempt)


def warm_secondary(control: ModelControl, preparer: Preparer, config: AgentConfig, role: SecondaryRole) -> None:
    """Bring back what served in a secondary role before the restart, unless it keeps killing the agent."""
    known = control.state.role(role)
    model = known.model
    if model is None or control.slots.current is None:
        return
    settings = config.secondary(role)
    if settings is None:  # the configuration has no such role any more
        control.change_role(role, model=None, attempts=0)
        return
    if known.attempts >= ATTEMPTS:
        reason = f"the agent died {known.attempts} times while this release served as {role} model"
        control.quarantine(model, reason)
        control.change_role(role, model=None, attempts=0)
        control.refuse("start", model.model_version, reason, model)
        return
    cameras = settings.cameras if role == "canary" else ()
    start = known.attempts + 1
    control.change_role(role, attempts=start)  # durable before the load
    attempt = control.swaps.begin("start")
    loaded = None
    try:
        slot = control.warm_slot(model.manifest_sha256)
        if slot is None:
            with at_low_priority(makes_threads=True):
                slot = loaded = preparer.load_cached(model, attempt)
        control.start_secondary(role, slot, model, cameras, attempt, "start from the cache", start=start)
    except Exception as error:  # a runtime may raise anything
        if loaded is not None:
            loaded.retire()
        control.change_role(role, model=None, attempts=0)
        reason = f"start from the cache: {in_words(error)}"
        control.end_unchanged(attempt, model.model_version, "failed", reason, model)


def _check_prepared(control: ModelControl) -> None:
    """A candidate that is still in the state never ended: the process died while it was being prepared."""
    prepared = control.state.prepared
    if prepared is None or prepared.attempts < ATTEMPTS:
        return
    reason = f"the agent died {prepared.attempts} times while this release was being prepared"
    control.quarantine(prepared, reason)
    control.refuse("start", prepared.model_version, reason, prepared)


def _check_trial(control: ModelControl) -> None:
    """A model that is still on trial: the process died before its commit. It gets a second chance, counted first."""
    primary = control.state.primary
    model, previous, deaths = primary.model, primary.previous, primary.attempts
    if model is None or not primary.on_trial:
        return
    if deaths < ATTEMPTS or previous is None:
        control.change_primary(attempts=deaths + 1)
        return
    reason = f"the agent died {deaths} times while this release was on trial"
    control.quarantine(model, reason)
    control.change_primary(model=previous, attempts=0, on_trial=False, previous=None)
    control.swaps.end(
        control.swaps.begin("start"),
        source=model.model_version,
        target=previous.model_version,
        result="reverted",
        reason=reason,
        model=previous,
    )
    log.warning("reverted from %s to %s: %s", model.model_version, previous.model_version, reason)
