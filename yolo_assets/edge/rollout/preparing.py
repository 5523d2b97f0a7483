"""From a notice to a slot that may serve: fetch, compare, load, warm, golden frames, shadow. Switches nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from yolo_assets.contracts.model import ReleasedModel
from yolo_assets.edge.rollout.background import at_low_priority
from yolo_assets.edge.rollout.loading import check_contract
from yolo_assets.edge.rollout.notice import Notice, Role
from yolo_assets.edge.rollout.room import check_disk, check_memory
from yolo_assets.edge.rollout.shadow import run_shadow
from yolo_assets.edge.rollout.staging_parts import StagingParts
from yolo_assets.edge.rollout.swaps import Attempt
from yolo_assets.edge.serving.loaded_model import LoadedModel
from yolo_assets.edge.serving.slot import Slot
from yolo_assets.models.bundle import VerifiedBundle


def fetch(parts: StagingParts, notice: Notice, attempt: Attempt) -> VerifiedBundle:
    """The verified bundle, in the cache. See ``ModelCache.fetch`` for the errors.

    Raises:
        NoRoomError: too little disk.
    """

    def room(missing: int) -> None:
        check_disk(parts.config.room, parts.config.state_dir, missing)

    with attempt.step("fetch"), at_low_priority():
        return parts.cache.fetch(parts.store, parts.name, notice.version, notice.manifest_sha256, room)


def prepare(
    parts: StagingParts,
    bundle: VerifiedBundle,
    ref: ReleasedModel,
    attempt: Attempt,
    still_wanted: Callable[[], None],
    report: Callable[[dict[str, Any]], None],
    role: Role = "box",
) -> tuple[Slot[LoadedModel], str]:
    """Load a fetched bundle and prove it on this device, beside the line.

    Args:
        parts: of the agent.
        bundle: verified.
        ref: what it is.
        attempt: measures the steps.
        still_wanted: raises when something newer is wanted.
        report: takes the figures of the shadow run.
        role: a light model may have another input, and is not compared: it is meant to be another one.

    Returns:
        A slot nobody leases yet, and what the shadow run said (empty without one). Nothing stays loaded on an error.

    Raises:
        NoRoomError: too little memory.
        RefusedError: another contract than the serving model's.
        UnfitError: golden frames or the shadow run.
        UserError: the engine cannot load it.
    """
    serving = parts.control.slots.current
    with attempt.step("compare"):
        check_contract(serving.model.manifest if serving else None, bundle.manifest, light=role == "light")
    check_memory(parts.config.room, bundle.manifest)
    with at_low_priority(makes_threads=True):
        loaded = parts.loader.load(bundle, ref, attempt)
    try:
        if serving is None:  # a line without any model takes what is ready, and the newer one after it
            return Slot(loaded, loaded.identity.model_version), ""
        still_wanted()
        words = ""
        if parts.config.shadow is not None and role != "light":
            with attempt.step("shadow"), at_low_priority(makes_threads=True):
                words = run_shadow(parts.config.shadow, parts.live, serving, loaded, still_wanted, report)
        return Slot(loaded, loaded.identity.model_version), words
    except BaseException:
        loaded.close()
        raise
