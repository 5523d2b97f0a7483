"""Train a candidate and evaluate it: the entry points of this package. Torch and ultralytics load in children only.

training/<fingerprint>/job.json        the request, and the version id that it gets; written first
training/<fingerprint>/checkpoint.pt   and best.pt, ran.json, while it runs: another machine resumes from them
training/<fingerprint>/weights.pt      and train.json, progress.ndjson, curve.png, once trained
models/<name>/<version>/…              the bundle
training/<fingerprint>/result.json     written last: the same request again returns it
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from yolo_assets.contracts.errors import BadInputError, IntegrityError, UserError
from yolo_assets.contracts.evaluation import PairedEvaluation
from yolo_assets.contracts.model import MANIFEST, WEIGHTS, ModelManifest
from yolo_assets.contracts.names import parse_model_version, start_weights_key, training_key
from yolo_assets.contracts.times import utc_now
from yolo_assets.learning.dataset import Dataset, read_dataset
from yolo_assets.learning.training_folder import materialise
from yolo_assets.models.bundle import load_bundle_folder
from yolo_assets.models.registry import Registry
from yolo_assets.runtime.files import write_atomic
from yolo_assets.storage import AlreadyExistsError, ObjectNotFoundError, ObjectStore
from yolo_assets.training.job_process import OnEvent, run_child
from yolo_assets.training.jobs import (
    BEST,
    BUNDLE,
    CHECKPOINT,
    COMPARISON,
    CURVE,
    PROGRESS,
    RAN,
    RESULT,
    EvaluateJob,
    ExportJob,
    StoredJob,
    TrainingEvent,
    TrainingResult,
    TrainJob,
    TrainResult,
)
from yolo_assets.training.spec import EvaluateSpec, TrainSpec, fingerprint, library_versions

_TRAINED = "train.json"

UPLOAD_SECONDS = 30.0
"""Between uploads of a checkpoint: what a process that dies without warning may cost."""

KEPT_DAYS = 7
"""Days for which a training that was given up keeps its local folder."""


@dataclass(frozen=True)
class EvaluationResult:
    """A comparison and its plots.

    Attributes:
        comparison: what the gate reads.
        plots: name to PNG file in the work folder.
        stored: name to the key of the same plot in the store; empty for a model without evidence of its own.
    """

    comparison: PairedEvaluation
    plots: Mapping[str, Path]
    stored: Mapping[str, str]


def train_candidate(
    registry: Registry,
    dataset: Dataset,
    spec: TrainSpec,
    work_dir: Path,
    *,
    on_progress: OnEvent | None = None,
    nice: int = 5,
    timeout_seconds: float | None = None,
) -> TrainingResult:
    """Train, export and register a candidate, or return the result that the same inputs gave before.

    Killed at any moment and called again, on this machine or another, it resumes from the last checkpoint.

    Args:
        registry: where the parent lies and the candidate goes.
        dataset: the version to train on.
        spec: what to train.
        work_dir: local folder; a sub-folder by fingerprint is made in it, and removed once the candidate is registered.
        on_progress: called for each event of the training.
        nice: how much the children yield to other processes.
        timeout_seconds: for the training; None: no limit.

    Raises:
        UserError: bad dataset or parent, or the child failed; the message says which.
    """
    store = registry.store
    start = _start_of(registry, dataset, spec)
    key = start.fingerprint
    local = _local_folder(work_dir, key)
    done = _stored_result(registry, key)
    if done is not None:
        shutil.rmtree(local, ignore_errors=True)  # left by a process that was killed at the very end
        return done
    _sweep(work_dir)
    made = _weights(store, start, dataset, spec, work_dir, on_progress, nice, timeout_seconds, exported=True)
    job, folder, training = made.job, made.folder, made.training
    manifest = _exported(made, nice)
    files = {name: folder / BUNDLE / name for name in manifest.files}
    registry.write_bundle(manifest, files)
    result = TrainingResult(
        name=spec.name,
        version=job.version,
        fingerprint=key,
        dataset_sha256=dataset.sha256,
        parent=spec.parent,
        training=training,
    )
    try:
        store.put_if_absent(training_key(key, RESULT), result.to_json())
    except AlreadyExistsError:
        result = _stored_result(registry, key) or result
    else:
        for file in (CHECKPOINT, BEST, RAN):
            store.delete(training_key(key, file))
    shutil.rmtree(local, ignore_errors=True)
    return result


def train_weights(
    registry: Registry, dataset: Dataset, spec: TrainSpec, work_dir: Path, *, on_progress: OnEvent, nice: int = 5
) -> TrainResult:
    """Train and store the weights alone: nothing is exported or registered. A candidate of the same inputs takes them.

    Args:
        registry: where the parent lies.
        dataset: the version to train on.
        spec: what to train.
        work_dir: local folder; the sub-folder of the training is removed once its weights are stored.
        on_progress: called for each event; what it raises ends the training and is raised here.
        nice: how much the child yields to other processes.

    Raises:
        UserError: as for ``train_candidate``.
    """
    start = _start_of(registry, dataset, spec)
    made = _weights(registry.store, start, dataset, spec, work_dir, on_progress, nice, None)
    _forget(registry.store, start.fingerprint, made.folder)
    return made.training


def forget_training(registry: Registry, dataset: Dataset, spec: TrainSpec, work_dir: Path) -> None:
    """Remove what a training that was given up left: its folder here and its checkpoints in the store.

    Args:
        registry: where the parent lies.
        dataset: the version that it trained on.
        spec: what it trained.
        work_dir: local folder, as for ``train_weights``.
    """
    key = _start_of(registry, dataset, spec).fingerprint
    _forget(registry.store, key, _local_folder(work_dir, key))


def evaluate_candidate(
    registry: Registry,
    dataset: Dataset,
    candidate: str,
    champion: str | None,
    work_dir: Path,
    *,
    anchor: str | None = None,
    keep: bool = True,
    spec: EvaluateSpec | None = None,
    nice: int = 5,
    timeout_seconds: float | None = None,
) -> EvaluationResult:
    """Evaluate a registered candidate, champion and anchor on the test split of a dataset version.

    Args:
        registry: where both models lie.
        dataset: its test split is what they are evaluated on.
        candidate: ``<name>/<version>``.
        champion: ``<name>/<version>`` that serves now; None when nothing does.
        work_dir: local folder; of what is copied there the plots alone remain.
        anchor: ``<name>/<version>`` of the best release so far, where it is neither of them.
        keep: whether the store keeps the result as evidence on the candidate.
        spec: engine, threads, level of the intervals.
        nice: how much the child yields; 0 for latencies that are to be compared with a device's.
        timeout_seconds: None: no limit.

    Raises:
        UserError: no such model, an empty test split, or the child failed.
    """
    store = registry.store
    spec = spec or EvaluateSpec()
    name, version = parse_model_version(candidate)
    stamp = hashlib.sha256(f"{dataset.sha256} {candidate} {champion} {anchor}".encode()).hexdigest()[:16]
    folder = work_dir.absolute() / f"evaluate-{stamp}"
    folder.mkdir(parents=True, exist_ok=True)
    models = {"candidate": candidate, "champion": champion, "anchor": anchor}
    out = folder / "out"
    try:
        data = materialise(store, dataset, folder / "data", splits=("test",))
        copies = {role: str(_fetch(registry, model, folder / role)) for role, model in models.items() if model}
        job = EvaluateJob(spec=spec, data=str(data), out=str(out), fresh=_fresh(registry, dataset, champion), **copies)
        run_child("evaluate", job, folder, nice=nice, timeout_seconds=timeout_seconds)
    finally:
        for copied in ("data", *models):
            shutil.rmtree(folder / copied, ignore_errors=True)
    body = (out / COMPARISON).read_bytes()
    comparison = PairedEvaluation.from_json(body, str(out / COMPARISON))
    plots = {path.stem: path for path in sorted(out.glob("*.png"))}
    evidence = registry.read_manifest(name, version, signed=False).manifest.evidence
    stored: dict[str, str] = {}
    if evidence is not None and keep:
        # Kept with the training or import: the evidence for why a candidate was or was not promoted.
        prefix = f"evaluation/{comparison.candidate.test_sha256[:16]}"
        store.put(training_key(evidence, f"{prefix}/{COMPARISON}"), body)
        for stem, path in plots.items():
            stored[stem] = training_key(evidence, f"{prefix}/{stem}.png")
            store.put(stored[stem], path.read_bytes())
    return EvaluationResult(comparison, plots, stored)


def _fresh(registry: Registry, dataset: Dataset, champion: str | None) -> tuple[str, ...]:
    """Test frames that the champion's dataset did not have; none where that cannot be known any more."""
    if champion is None:
        return ()
    name, version = parse_model_version(champion)
    champion_dataset = registry.read_manifest(name, version, signed=False).manifest.dataset_sha256
    if champion_dataset is None:
        return ()
    try:
        trained_on = {item.sha256 for item in read_dataset(registry.store, champion_dataset).manifest.items}
    except (ObjectNotFoundError, IntegrityError):
        return ()
    return tuple(item.sha256 for item in dataset.items("test") if item.sha256 not in trained_on)


def keep_start_weights(store: ObjectStore, checkpoint: Path) -> str:
    """Put a checkpoint into the store, where a training on any machine finds it.

    Returns:
        Its SHA-256, for ``TrainSpec.weights``.

    Raises:
        BadInputError: it cannot be read.
    """
    try:
        data = checkpoint.read_bytes()
    except OSError as error:
        raise BadInputError(f"cannot read the weights {checkpoint} of the training recipe: {error.strerror}") from None
    digest = hashlib.sha256(data).hexdigest()
    try:
        store.put_if_absent(start_weights_key(digest), data)
    except AlreadyExistsError:
        pass  # the same bytes, by their name
    return digest


def _local_folder(work_dir: Path, key: str) -> Path:
    return work_dir.absolute() / key[:16]


def _sweep(work_dir: Path) -> None:
    """Remove folders of trainings and evaluations that nobody touched for long: their checkpoints are in the store."""
    oldest = time.time() - KEPT_DAYS * 86_400
    for folder in work_dir.glob("*/"):
        if folder.stat().st_mtime < oldest:
            shutil.rmtree(folder, ignore_errors=True)


def _forget(store: ObjectStore, key: str, folder: Path) -> None:
    """Remove what only an unfinished training needs: its checkpoints in the store, and its folder."""
    shutil.rmtree(folder, ignore_errors=True)
    for file in (CHECKPOINT, BEST, RAN):
        store.delete(training_key(key, file))


@dataclass(frozen=True)
class _Start:
    """What a training starts from, and by what it is known."""

    fingerprint: str
    weights: bytes | None
    weights_sha256: str | None
    libraries: dict[str, str]


@dataclass(frozen=True)
class _Weights:
    """Trained weights in a local folder."""

    job: StoredJob
    folder: Path
    training: TrainResult
    export: ExportJob


def _start_of(registry: Registry, dataset: Dataset, spec: TrainSpec) -> _Start:
    weights = _start_weights(registry, spec)
    sha256 = hashlib.sha256(weights).hexdigest() if weights is not None else None
    libraries = library_versions()
    return _Start(fingerprint(spec, dataset.sha256, sha256, versions=libraries), weights, sha256, libraries)


def _weights(
    store: ObjectStore,
    start: _Start,
    dataset: Dataset,
    spec: TrainSpec,
    work_dir: Path,
    on_progress: OnEvent | None,
    nice: int,
    timeout_seconds: float | None,
    *,
    exported: bool = False,
) -> _Weights:
    key = start.fingerprint
    job = _stored_job(store, key, spec, dataset, start.weights_sha256, start.libraries)
    folder = _local_folder(work_dir, key)
    folder.mkdir(parents=True, exist_ok=True)
    data = materialise(store, dataset, folder / "data")
    export = ExportJob(
        spec=job.spec,
        data=str(data),
        weights=str(folder / WEIGHTS),
        out=str(folder / BUNDLE),
        version=job.version,
        dataset_sha256=job.dataset_sha256,
        fingerprint=key,
        created_at=job.started_at,
    )
    train = TrainJob(spec=job.spec, data=str(data), work=str(folder), export=export if exported else None)
    run = _RunFiles(store, key, folder)
    training = _train(run, train, start.weights, on_progress=on_progress, nice=nice, timeout_seconds=timeout_seconds)
    return _Weights(job, folder, training, export.model_copy(update={"metrics": training.metrics}))


def _start_weights(registry: Registry, spec: TrainSpec) -> bytes | None:
    """What training starts from: the parent's weights, a checkpoint of the plant, or None for random ones."""
    if spec.parent is not None:
        return registry.read_bundle(*parse_model_version(spec.parent), signed=False, only=[WEIGHTS]).files[WEIGHTS]
    if spec.weights is None:
        return None
    key = start_weights_key(spec.weights)
    data = registry.store.get(key)
    if hashlib.sha256(data).hexdigest() != spec.weights:
        raise IntegrityError(f"{key} was changed; delete it, and train again where the recipe's file is")
    return data


def _stored_result(registry: Registry, key: str) -> TrainingResult | None:
    name = training_key(key, RESULT)
    try:
        result = TrainingResult.from_json(registry.store.get(name), name)
        registry.read_manifest(result.name, result.version, signed=False)
    except ObjectNotFoundError:
        return None
    return result.model_copy(update={"reused": True})


def _stored_job(
    store: ObjectStore, key: str, spec: TrainSpec, dataset: Dataset, parent_sha: str | None, libraries: dict[str, str]
) -> StoredJob:
    """The job as first written: a resumed training keeps its version id and its date."""
    now: datetime = utc_now()
    job = StoredJob(
        spec=spec,
        dataset_sha256=dataset.sha256,
        parent_weights_sha256=parent_sha,
        libraries=libraries,
        version=f"{now:%Y%m%d}-{key[:8]}",
        started_at=now,
    )
    name = training_key(key, "job.json")
    try:
        store.put_if_absent(name, job.to_json())
    except AlreadyExistsError:
        stored = StoredJob.from_json(store.get(name), name)
        # Where it runs is this call's choice, not the first attempt's.
        here = {"device": spec.device, "threads": spec.threads}
        return stored.model_copy(update={"spec": stored.spec.model_copy(update=here)})
    return job


class _RunFiles:
    """The files of one training run: in the local folder, and in the store, where another machine finds them."""

    def __init__(self, store: ObjectStore, key: str, folder: Path) -> None:
        self._store, self._key, self.folder = store, key, folder
        self._uploaded = time.monotonic()

    def fetch_trained(self) -> TrainResult | None:
        """The result and ``weights.pt`` of a training that another machine finished; None when none has."""
        stored, weights_key = training_key(self._key, _TRAINED), training_key(self._key, WEIGHTS)
        if self._store.head(stored) is None:
            return None
        result = TrainResult.from_json(self._store.get(stored), stored)
        weights = self._store.get(weights_key)
        if hashlib.sha256(weights).hexdigest() != result.weights_sha256:
            raise IntegrityError(f"{weights_key} was changed; delete {stored} to train again")
        write_atomic(self.folder / WEIGHTS, weights)
        return result

    def upload_trained(self) -> TrainResult:
        """Store what the child has left in the folder; the result last."""
        body = (self.folder / RESULT).read_bytes()
        result = TrainResult.from_json(body, str(self.folder / RESULT))
        for file in (PROGRESS, CURVE, WEIGHTS):
            if (self.folder / file).is_file():
                self._store.put(training_key(self._key, file), (self.folder / file).read_bytes())
        self._store.put(training_key(self._key, _TRAINED), body)
        return result

    def fetch_checkpoint(self) -> None:
        """Bring the last uploaded checkpoint, unless the folder holds one, or a finished training, of its own."""
        if (self.folder / CHECKPOINT).is_file() or (self.folder / RESULT).is_file():
            return
        for file in (PROGRESS, BEST, RAN, CHECKPOINT):
            try:
                write_atomic(self.folder / file, self._store.get(training_key(self._key, file)))
            except ObjectNotFoundError:
                continue

    def upload_checkpoint_if_due(self) -> None:
        """Every ``UPLOAD_SECONDS``."""
        if time.monotonic() - self._uploaded >= UPLOAD_SECONDS:
            self.upload_checkpoint()

    def upload_checkpoint(self) -> None:
        """Store what the last epoch left. The best first: a checkpoint without it would lose the best epoch."""
        for file in (BEST, RAN, CHECKPOINT, PROGRESS):
            path = self.folder / file
            if path.is_file():
                self._store.put(training_key(self._key, file), path.read_bytes())
        self._uploaded = time.monotonic()


def _train(
    run: _RunFiles,
    job: TrainJob,
    parent: bytes | None,
    *,
    on_progress: OnEvent | None,
    nice: int,
    timeout_seconds: float | None,
) -> TrainResult:
    """``weights.pt`` and the result in the run's folder, by training or from the store when another machine trained."""
    trained = run.fetch_trained()
    if trained is not None:
        return trained
    parent_file = run.folder / "parent.pt"
    if parent is not None:
        write_atomic(parent_file, parent)
    run.fetch_checkpoint()

    def on_event(event: TrainingEvent) -> None:
        if event.event == "epoch":
            run.upload_checkpoint_if_due()
        if on_progress is not None:
            on_progress(event)

    job = job.model_copy(update={"weights": str(parent_file) if parent is not None else None})
    try:
        run_child("train", job, run.folder, on_event=on_event, nice=nice, timeout_seconds=timeout_seconds)
    except (KeyboardInterrupt, SystemExit):  # told to stop: an eviction shall not cost the epochs since the last upload
        run.upload_checkpoint()
        raise
    except UserError:
        if not (run.folder / RESULT).is_file():
            raise
        # Trained, and not exported: the weights are stored, and the export is tried again in a process of its own.
    return run.upload_trained()


def _exported(made: _Weights, nice: int) -> ModelManifest:
    """The manifest of the bundle; exported here where the training was another process's, or its export failed."""
    out = Path(made.export.out)
    if not (out / MANIFEST).is_file():
        run_child("export", made.export, made.folder, nice=nice)
    return load_bundle_folder(out).manifest


def _fetch(registry: Registry, model: str, out: Path) -> Path:
    if not (out / MANIFEST).is_file():
        registry.export_bundle(*parse_model_version(model), out, signed=False)
    return out
