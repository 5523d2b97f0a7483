"""From verified bytes to a model that has proved on this device that it works.

Belongs here: the steps between a fetched bundle and a slot: compare, load, warm, golden frames. Does not belong here:
where the bytes came from (``model_cache``) and what happens to the model afterwards (``control``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.model import ModelManifest
from yolo_assets.edge.config import Engine
from yolo_assets.edge.sources.base import Picture
from yolo_assets.edge.state import ModelRef
from yolo_assets.edge.swaps import Attempt
from yolo_assets.inference.boxes import Boxes
from yolo_assets.inference.contract import differences
from yolo_assets.inference.engine import EngineChoice
from yolo_assets.inference.model import Model
from yolo_assets.release.bundle import VerifiedBundle


class RefusedError(UserError):
    """The candidate is sound but must not replace the model that serves."""


class UnfitError(UserError):
    """The candidate does not work on this device."""


class Predictor(Protocol):
    """What the agent needs of a model."""

    def predict(self, bgr: Picture) -> Boxes:
        """Boxes of one frame; safe to call from several threads."""
        ...

    def close(self) -> None:
        """Free it."""
        ...


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory with what the agent must know about it."""

    predictor: Predictor
    manifest: ModelManifest
    ref: ModelRef
    engine: str

    def close(self) -> None:
        """Free the engine's memory."""
        self.predictor.close()


def check_contract(serving: ModelManifest | None, candidate: ModelManifest) -> None:
    """Refuse a candidate whose classes, task, input or output differ from the serving model's.

    Raises:
        RefusedError: with every difference in words.
    """
    if serving is None:
        return
    found = differences(serving, candidate)
    if found:
        raise RefusedError(f"{candidate.model_version} does not fit {serving.model_version}: {'; '.join(found)}")


class Loader:
    """Loads models with the configured engine. ``auto`` measures at the first load and stays with the winner."""

    def __init__(self, engine: Engine) -> None:
        self._settings = engine
        self._engine: EngineChoice = engine.kind
        self.timings: dict[str, float | str] = {}

    def load(self, bundle: VerifiedBundle, ref: ModelRef, attempt: Attempt) -> LoadedModel:
        """Load, warm and check against the golden frames; nothing stays in memory when a step fails.

        Raises:
            UnfitError: the golden frames do not come out as they did where the model was built.
            BadInputError, UserError: the file cannot be loaded, or gives NaN.
        """
        manifest = bundle.manifest
        with attempt.step("load"):
            model = Model.load(
                manifest,
                bundle.files,
                engine=self._engine,
                threads=self._settings.threads,
                parallel=self._settings.workers,
            )
        try:
            with attempt.step("warm"):
                try:
                    model.warm_up()
                except UserError as error:
                    raise UnfitError(str(error)) from None
            with attempt.step("golden"):
                problems = model.check_golden(bundle.files)
            if problems:
                more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
                raise UnfitError(f"{manifest.model_version} fails its golden frames here: {problems[0]}{more}")
        except BaseException:
            model.close()
            raise
        if self._engine == "auto":
            self._engine = model.engine_name  # type: ignore[assignment]
            self.timings = model.timings
        return LoadedModel(model, manifest, ref, model.engine_name)
