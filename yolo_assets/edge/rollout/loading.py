"""From verified bytes to a model that has proved on this device that it works.

Belongs here: the checks of a bundle on this device (contract, load, warm-up, golden frames), and on which engine it
runs. Does not belong here: where the bytes came from (``cache``), what happens to the model then (``controller``).
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import asdict, replace
from pathlib import Path

from pydantic import Field

from yolo_assets.contracts.base import Record, canonical_json
from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.model import ONNX, ModelManifest, ReleasedModel
from yolo_assets.edge.config.agent import Engine
from yolo_assets.edge.rollout.history import SwapAttempt
from yolo_assets.edge.rollout.request import RefusedError, UnfitError
from yolo_assets.edge.serving.loaded_model import LoadedModel
from yolo_assets.edge.types import Picture
from yolo_assets.models.bundle import VerifiedBundle
from yolo_assets.spool.files import SpoolFullError, write_atomic
from yolo_assets.vision.contract import differences
from yolo_assets.vision.engines.interface import EngineSetup, EngineSpec
from yolo_assets.vision.engines.opening import open_engine
from yolo_assets.vision.engines.subprocess import ChildGoneError, ChildHungError
from yolo_assets.vision.hardware import fingerprint
from yolo_assets.vision.model import Model, verified_file
from yolo_assets.vision.onnx_file import read_onnx
from yolo_assets.vision.pictures import decode_image
from yolo_assets.vision.selection import EngineOptions, EngineSelection, select_engine

log = logging.getLogger(__name__)
_CHOICES_KEPT = 32
_REHEARSAL_S = 120.0
"""For one inference in idle time."""


def check_contract(serving: ModelManifest | None, candidate: ModelManifest, *, light: bool = False) -> None:
    """Refuse a candidate whose classes, task, input or output differ from the serving model's.

    Args:
        serving: None when none serves: then anything fits.
        candidate: what is to serve.
        light: it serves beside the serving model: only classes and task must be the same.

    Raises:
        RefusedError: with every difference in words.
    """
    if serving is None:
        return
    differing = differences(serving, candidate, answers_only=light)
    if differing:
        raise RefusedError(f"{candidate.model_version} does not fit {serving.model_version}: {'; '.join(differing)}")


class Loader:
    """Loads models on the engine that was configured, or measured to be the best for the first model of this run.

    A model that arrives later is not measured while frames are inferred: it takes what is remembered for it, else what
    the model before it got, and is measured at the next start.
    """

    def __init__(self, engine: Engine, folder: Path) -> None:
        """Read nothing yet.

        Args:
            engine: the section of the configuration.
            folder: for what was measured, and for what engines compiled.
        """
        self._wanted = engine.wanted()
        self._setup = engine.setup(folder)
        self._rehearses = engine.rehearse and not engine.process
        self._rehearsed: tuple[str, EngineSpec, int] | None = None
        self._choices = RememberedEngines(folder / "choices.json", self._wanted, self._setup)
        self.choice: EngineSelection | None = None
        """With the table it was made from; None when the configuration leaves nothing to choose."""

    def rehearse(self, bundle: VerifiedBundle, attempt: SwapAttempt) -> None:
        """Try a model in a process of its own that takes only idle time, before it is loaded beside the serving one.

        There it is compiled, warmed and compared with all its golden frames, and a crash ends only that process. What
        was compiled is then loaded from the cache. A machine too busy to end this in time loads the model without it.

        Raises:
            UnfitError: the golden frames come out wrong, or the model ended the process.
            BadInputError, UserError: the file cannot be loaded.
        """
        spec, batch = self._decide(bundle, attempt)
        if not self._rehearses or spec.device == "cuda":
            return
        setup = replace(self._setup, batch=batch, process=True, idle=True, timeout_s=_REHEARSAL_S)
        version = bundle.manifest.model_version
        with attempt.step("rehearse"):
            try:
                model = Model.load(bundle.manifest, bundle.files, engine=spec, setup=setup)
                try:
                    problems = model.check_golden(bundle.files)
                finally:
                    model.close()
            except ChildHungError as error:
                log.warning("%s is loaded without a rehearsal, the machine is too busy for one: %s", version, error)
                return
            except ChildGoneError as error:
                raise UnfitError(f"{version} cannot be rehearsed: {error}") from None
        if not problems:
            self._rehearsed = bundle.manifest.files[ONNX].sha256, spec, batch
        elif spec.precision == "f32" or self._wanted.precision != "auto":
            raise _unfit(bundle.manifest, problems)

    def load(self, bundle: VerifiedBundle, identity: ReleasedModel, attempt: SwapAttempt) -> LoadedModel:
        """Load, warm and check against the golden frames; nothing stays in memory when a step fails.

        A model whose golden frames fail in a shorter precision is tried in float32 before it is given up.

        Raises:
            UnfitError: the golden frames do not come out as they did where the model was built.
            BadInputError, UserError: the file cannot be loaded, or gives NaN.
        """
        spec, batch = self._decide(bundle, attempt)
        try:
            return self._load(bundle, identity, attempt, spec, batch)
        except UnfitError as error:
            if spec.precision == "f32" or self._wanted.precision != "auto":
                raise
            log.warning("%s is run in f32 here: %s", identity.model_version, error)
            return self._load(bundle, identity, attempt, replace(spec, precision="f32"), batch)

    def _load(
        self, bundle: VerifiedBundle, identity: ReleasedModel, attempt: SwapAttempt, spec: EngineSpec, batch: int
    ) -> LoadedModel:
        manifest = bundle.manifest
        rehearsed = self._rehearsed == (manifest.files[ONNX].sha256, spec, batch)
        with attempt.step("load"):
            model = Model.load(manifest, bundle.files, engine=spec, setup=replace(self._setup, batch=batch))
        try:
            if not rehearsed:
                with attempt.step("warm"):
                    try:
                        model.warm_up()
                    except UserError as error:
                        raise UnfitError(str(error)) from None
            with attempt.step("golden"):
                problems = model.check_golden(bundle.files, frames=1 if rehearsed else None)
            if problems:
                raise _unfit(manifest, problems)
        except BaseException:
            model.close()
            raise
        return LoadedModel(model, manifest, identity, model.engine_name, batch)

    def _decide(self, bundle: VerifiedBundle, attempt: SwapAttempt) -> tuple[EngineSpec, int]:
        """How to run this model, and how many frames at once."""
        onnx = verified_file(bundle.manifest, bundle.files, ONNX)
        free = read_onnx(onnx).free_batch
        specs = self._wanted.specs()
        if len(specs) == 1 and not (free and self._wanted.batch > 1):
            return specs[0], 1
        sha256 = bundle.manifest.files[ONNX].sha256
        choice = self._choices.recall(sha256)
        if choice is not None and not _opens(onnx, bundle.manifest, choice, self._setup):
            self._choices.forget(sha256)
            choice = None
        if choice is None and self.choice is not None:
            return self.choice.chosen.spec, self.choice.batch if free else 1
        if choice is None:
            with attempt.step("measure"):
                choice = select_engine(onnx, bundle.manifest, self._wanted, self._setup, _golden_pictures(bundle))
            self._choices.keep(sha256, choice)
            log.info("engines measured with %s:\n%s", choice.model_version, choice.table())
        self.choice = self.choice or choice
        return choice.chosen.spec, choice.batch if free else 1


def _unfit(manifest: ModelManifest, problems: list[str]) -> UnfitError:
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return UnfitError(f"{manifest.model_version} fails its golden frames here: {problems[0]}{more}")


def _opens(onnx: bytes, manifest: ModelManifest, choice: EngineSelection, setup: EngineSetup) -> bool:
    """Whether the engine that was chosen before can still be opened: a driver may be gone since."""
    try:
        open_engine(onnx, manifest, choice.chosen.spec, replace(setup, batch=choice.batch)).close()
    except UserError as error:
        log.warning("%s cannot be used any more and engines are measured again: %s", choice.chosen.spec, error)
        return False
    return True


def _golden_pictures(bundle: VerifiedBundle) -> list[Picture]:
    frames = bundle.manifest.golden_frames
    return [decode_image(verified_file(bundle.manifest, bundle.files, frame.file), frame.file) for frame in frames]


class _ChoicesFile(Record):
    choices: dict[str, EngineSelection] = Field(default_factory=dict)


class RememberedEngines:
    """Which engine was measured to be the best, kept so that a restart serves at once; its loss costs one measurement.

    By model, device, library versions and everything that was configured. One process writes.
    """

    def __init__(self, file: Path, wanted: EngineOptions, setup: EngineSetup) -> None:
        """Read nothing yet.

        Args:
            file: where they are kept.
            wanted: what the configuration allows; another one needs another measurement.
            setup: what engines may use; another one needs another measurement, too.
        """
        self._file = file
        self._configured = {"wanted": asdict(wanted), "setup": {**asdict(setup), "cache": None}}

    def recall(self, model_sha256: str) -> EngineSelection | None:
        """What was chosen for just this before; None when nothing was, or the file cannot be read."""
        choice = self._read().get(self._key(model_sha256))
        return choice.model_copy(update={"remembered": True}) if choice is not None else None

    def keep(self, model_sha256: str, choice: EngineSelection) -> None:
        """Remember; the oldest are forgotten. A folder that cannot be written is logged, and is no error."""
        choices = {**self._read(), self._key(model_sha256): choice}
        self._write(dict(sorted(choices.items(), key=lambda item: item[1].measured_at)[-_CHOICES_KEPT:]))

    def forget(self, model_sha256: str) -> None:
        """It does not work any more."""
        forgotten = self._key(model_sha256)
        self._write({key: choice for key, choice in self._read().items() if key != forgotten})

    def _key(self, model_sha256: str) -> str:
        facts = {"model": model_sha256, "machine": fingerprint(), **self._configured}
        return hashlib.sha256(canonical_json(facts)).hexdigest()

    def _read(self) -> dict[str, EngineSelection]:
        try:
            return _ChoicesFile.from_json(self._file.read_bytes(), str(self._file)).choices
        except FileNotFoundError:
            return {}
        except (OSError, BadInputError) as error:
            log.warning("engines are measured again: %s", error)
            return {}

    def _write(self, choices: dict[str, EngineSelection]) -> None:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self._file, _ChoicesFile(choices=choices).to_json())
        except (OSError, SpoolFullError) as error:
            log.warning("what was measured cannot be kept in %s: %s", self._file, error)
