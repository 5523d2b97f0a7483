"""From verified bytes to a model that has proved on this device that it works.

Belongs here: the steps between a fetched bundle and a slot: compare, load, warm, golden frames. Does not belong here:
where the bytes came from (``model_cache``) and what happens to the model afterwards (``control``).
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.model import ONNX, ModelManifest, ReleasedModel
from yolo_assets.edge.config.agent import Engine
from yolo_assets.edge.rollout.engine_memory import EngineMemory
from yolo_assets.edge.rollout.swaps import Attempt
from yolo_assets.edge.serving.loaded_model import LoadedModel
from yolo_assets.edge.types import Picture
from yolo_assets.models.bundle import VerifiedBundle
from yolo_assets.vision.contract import differences
from yolo_assets.vision.engines.interface import EngineSetup, EngineSpec
from yolo_assets.vision.engines.opening import open_engine
from yolo_assets.vision.model import Model, verified_file
from yolo_assets.vision.onnx_file import read_onnx
from yolo_assets.vision.pictures import decode_image
from yolo_assets.vision.selection import EngineSelection, select_engine

log = logging.getLogger(__name__)


class RefusedError(UserError):
    """The candidate is sound but must not replace the model that serves."""


class UnfitError(UserError):
    """The candidate does not work on this device."""


def check_contract(serving: ModelManifest | None, candidate: ModelManifest, *, light: bool = False) -> None:
    """Refuse a candidate whose classes, task, input or output differ from the serving model's.

    Args:
        serving: None when none serves: then anything fits.
        candidate: what is to serve.
        light: beside the serving model, for what it gives alone: only classes and task must be the same.

    Raises:
        RefusedError: with every difference in words.
    """
    if serving is None:
        return
    found = differences(serving, candidate, answers_only=light)
    if found:
        raise RefusedError(f"{candidate.model_version} does not fit {serving.model_version}: {'; '.join(found)}")


class Loader:
    """Loads models on the engine that was configured, or measured to be the best for the first model of this run.

    A model that arrives later is not measured while the line works: it takes what is remembered for it, else what the
    model before it got, and is measured at the next start.
    """

    def __init__(self, engine: Engine, folder: Path) -> None:
        """Read nothing yet.

        Args:
            engine: the section of the configuration.
            folder: for what was measured, and for engines that TensorRT built.
        """
        self._wanted = engine.wanted()
        self._setup = engine.setup(folder / "tensorrt")
        self._memory = EngineMemory(folder / "choices.json", self._wanted, self._setup)
        self.choice: EngineSelection | None = None
        """With the table it was made from; None when the configuration leaves nothing to choose."""

    def load(self, bundle: VerifiedBundle, ref: ReleasedModel, attempt: Attempt) -> LoadedModel:
        """Load, warm and check against the golden frames; nothing stays in memory when a step fails.

        A model whose golden frames fail in a shorter precision is tried in float32 before it is given up.

        Raises:
            UnfitError: the golden frames do not come out as they did where the model was built.
            BadInputError, UserError: the file cannot be loaded, or gives NaN.
        """
        spec, batch = self._decide(bundle, attempt)
        try:
            return self._load(bundle, ref, attempt, spec, batch)
        except UnfitError as error:
            if spec.precision == "f32" or self._wanted.precision != "auto":
                raise
            log.warning("%s is run in f32 here: %s", ref.model_version, error)
            return self._load(bundle, ref, attempt, replace(spec, precision="f32"), batch)

    def _load(
        self, bundle: VerifiedBundle, ref: ReleasedModel, attempt: Attempt, spec: EngineSpec, batch: int
    ) -> LoadedModel:
        manifest = bundle.manifest
        with attempt.step("load"):
            model = Model.load(manifest, bundle.files, engine=spec, setup=replace(self._setup, batch=batch))
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
        return LoadedModel(model, manifest, ref, model.engine_name, batch)

    def _decide(self, bundle: VerifiedBundle, attempt: Attempt) -> tuple[EngineSpec, int]:
        """How to run this model, and how many frames at once."""
        onnx = verified_file(bundle.manifest, bundle.files, ONNX)
        free = read_onnx(onnx).free_batch
        specs = self._wanted.specs()
        if len(specs) == 1 and not (free and self._wanted.batch > 1):
            return specs[0], 1
        sha256 = bundle.manifest.files[ONNX].sha256
        choice = self._memory.recall(sha256)
        if choice is not None and not _opens(onnx, bundle.manifest, choice, self._setup):
            self._memory.forget(sha256)
            choice = None
        if choice is None and self.choice is not None:
            return self.choice.chosen.spec, self.choice.batch if free else 1
        if choice is None:
            with attempt.step("measure"):
                choice = select_engine(onnx, bundle.manifest, self._wanted, self._setup, _golden_pictures(bundle))
            self._memory.keep(sha256, choice)
            log.info("engines measured with %s:\n%s", choice.model_version, choice.table())
        self.choice = self.choice or choice
        return choice.chosen.spec, choice.batch if free else 1


def _opens(onnx: bytes, manifest: ModelManifest, choice: EngineSelection, setup: EngineSetup) -> bool:
    """Whether what was chosen before can still be opened: a driver may be gone since."""
    try:
        open_engine(onnx, manifest, choice.chosen.spec, replace(setup, batch=choice.batch)).close()
    except UserError as error:
        log.warning("%s cannot be used any more and engines are measured again: %s", choice.chosen.spec, error)
        return False
    return True


def _golden_pictures(bundle: VerifiedBundle) -> list[Picture]:
    frames = bundle.manifest.golden_frames
    return [decode_image(verified_file(bundle.manifest, bundle.files, frame.file), frame.file) for frame in frames]
