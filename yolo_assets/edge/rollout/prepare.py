"""From a request to a slot that may serve: fetch, compare, load, warm, golden frames, shadow run. Switches nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.model import ModelManifest, ReleasedModel
from yolo_assets.edge.config.agent import AgentConfig
from yolo_assets.edge.rollout.cache import ModelCache
from yolo_assets.edge.rollout.controller import ModelControl
from yolo_assets.edge.rollout.evaluation import run_shadow
from yolo_assets.edge.rollout.headroom import check_disk, check_memory
from yolo_assets.edge.rollout.history import SwapAttempt
from yolo_assets.edge.rollout.loading import Loader, check_contract
from yolo_assets.edge.rollout.request import UpdateRequest
from yolo_assets.edge.rollout.tap import LiveTap
from yolo_assets.edge.rollout.thread_priority import at_low_priority
from yolo_assets.edge.serving.loaded_model import LoadedModel
from yolo_assets.edge.serving.slot import Slot
from yolo_assets.edge.serving.slots import Role
from yolo_assets.models.bundle import VerifiedBundle

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReadyModel:
    """A model that has proved itself on this device. ``shadow`` is the outcome of its shadow run, empty without one."""

    slot: Slot[LoadedModel]
    shadow: str = ""


class Preparer:
    """Gets models ready apart from the workers, one at a time.

    Args:
        config: headroom, shadow run, the model's name.
        cache: on the device's own disk, filled from the registry.
        loader: with the configured engine.
        control: the serving model, which a candidate must fit.
        tap: live frames for the shadow run.
    """

    def __init__(
        self,
        config: AgentConfig,
        cache: ModelCache,
        loader: Loader,
        control: ModelControl,
        tap: LiveTap,
    ) -> None:
        self._config = config
        self.cache = cache
        self.loader = loader
        self._control = control
        self.tap = tap

    def fetch(self, request: UpdateRequest, attempt: SwapAttempt) -> VerifiedBundle:
        """The verified bundle, in the cache. See ``ModelCache.fetch`` for the errors.

        Raises:
            NoHeadroomError: too little disk.
        """

        def check(missing: int) -> None:
            check_disk(self._config.room, self._config.state_dir, missing)

        sha256 = request.model.manifest_sha256 if request.model else None
        with attempt.step("fetch"), at_low_priority():
            return self.cache.fetch(self._config.model, request.version, sha256, check)

    def prepare(
        self,
        bundle: VerifiedBundle,
        model: ReleasedModel,
        attempt: SwapAttempt,
        check_requested: Callable[[], None],
        report: Callable[[dict[str, Any]], None],
        role: Role,
    ) -> ReadyModel:
        """Load a fetched bundle and prove it on this device; it takes no lease and no camera.

        Args:
            bundle: verified.
            model: what it is.
            attempt: measures the steps.
            check_requested: raises when something newer was requested.
            report: takes the figures of the shadow run.
            role: a light model may have another input, and is not compared: it is meant to be another one.

        Returns:
            Nothing stays loaded on an error.

        Raises:
            NoHeadroomError: too little memory.
            RefusedError: another contract than the serving model's.
            UnfitError: golden frames or the shadow run.
            UserError: the engine cannot load it.
        """
        self._warn_of_alarms(bundle.manifest)
        serving, shadow = self._control.slots.current, self._config.shadow
        with attempt.step("compare"):
            check_contract(serving.model.manifest if serving else None, bundle.manifest, light=role == "light")
        check_memory(self._config.room, bundle.manifest)
        if serving is not None:
            with at_low_priority():
                self.loader.rehearse(bundle, attempt)
            check_requested()
        with at_low_priority(makes_threads=True):
            loaded = self.loader.load(bundle, model, attempt)
        try:
            slot = Slot(loaded, model.model_version)
            if serving is None:  # a line without any model takes what is ready, and the newer one after it
                return ReadyModel(slot)
            check_requested()
            if shadow is None or role == "light":
                return ReadyModel(slot)
            with attempt.step("shadow"), at_low_priority(makes_threads=True):
                return ReadyModel(slot, run_shadow(shadow, self.tap, serving, loaded, check_requested, report))
        except BaseException:
            loaded.close()
            raise

    def load_cached(self, model: ReleasedModel, attempt: SwapAttempt) -> Slot[LoadedModel]:
        """A model of before, from the cache alone.

        Raises:
            NotCachedError: the cache does not hold it as it was released.
            UnfitError, UserError: it does not work any more.
        """
        with attempt.step("read"):
            bundle = self.cache.load(model.name, model.version, model.manifest_sha256)
        self._warn_of_alarms(bundle.manifest)
        return Slot(self.loader.load(bundle, model, attempt), model.model_version)

    def _warn_of_alarms(self, manifest: ModelManifest) -> None:
        """Before a model serves: alarms that it would silence."""
        for problem in self._config.alarms_without_class(manifest):
            log.warning("%s: %s", manifest.model_version, problem)


def in_words(error: BaseException) -> str:
    """One line; with the type where the text alone would not explain it."""
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) and text else f"{type(error).__name__}: {text}"[:500]
