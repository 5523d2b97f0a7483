"""The training itself, in the child process: a fresh start, a fine-tune, or the resumption of an interrupted attempt.

work/run/…            what ultralytics writes, not atomically
work/start.pt         the network that is asked for, with what fits of other weights
work/best.pt          copies made atomically after each epoch, the best first;
work/checkpoint.pt    a kill at any moment leaves a pair that can be resumed from
work/ran.json         what is trained really: network, batch, card
work/progress.ndjson  one event a line
work/weights.pt       the best epoch without its optimizer
work/curve.png        losses and accuracy by epoch
work/result.json      written last: the training is done
"""

from __future__ import annotations

import hashlib
import os
import platform
import resource
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.model import WEIGHTS
from yolo_assets.contracts.times import utc_now
from yolo_assets.learning.training_folder import DATA_YAML, read_folder
from yolo_assets.runtime.files import write_atomic
from yolo_assets.training.environment import code_identity, load_ultralytics, quiet_environment
from yolo_assets.training.jobs import (
    BEST,
    CHECKPOINT,
    CURVE,
    PROGRESS,
    RAN,
    RESULT,
    TrainingEvent,
    TrainingRan,
    TrainJob,
    TrainResult,
)
from yolo_assets.training.progress import draw_curve, epochs_of
from yolo_assets.training.spec import DEFAULT_ARCHITECTURE, TrainSpec, library_versions
from yolo_assets.vision.hardware import cpu_model

_LOOK_SECONDS = 0.5
_START = "start.pt"


def train(job: TrainJob, events: int) -> TrainResult:
    """Train, or resume where an earlier attempt stopped, or return the result of a finished training.

    Args:
        job: the training and its folder.
        events: file descriptor for progress lines.

    Raises:
        BadInputError: the dataset or the weights cannot be used.
    """
    work = Path(job.work)
    if (work / RESULT).is_file():
        return TrainResult.from_json((work / RESULT).read_bytes(), str(work / RESULT))
    _check_data(Path(job.data))
    quiet_environment(work / "config", job.spec.threads)
    load_ultralytics()
    import torch

    torch.set_num_threads(job.spec.threads)
    attempt = _TrainingAttempt(job, work, events)
    checkpoint = attempt.checkpoint()
    done = int(checkpoint["epoch"]) + 1 if checkpoint else 0
    started = time.monotonic()
    if done < job.spec.epochs:
        attempt.run(resume=checkpoint is not None, done=done)
    best = _strip(work, attempt)
    ran = _what_ran(work, job.spec)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    result = TrainResult(
        weights_sha256=hashlib.sha256((work / WEIGHTS).read_bytes()).hexdigest(),
        epochs=max(attempt.epoch, done),
        resumed_from=done,
        seconds=round(time.monotonic() - started, 3),
        cpu_seconds=round(usage.ru_utime + usage.ru_stime, 3),
        peak_rss_bytes=usage.ru_maxrss * 1024,
        device=attempt.device,
        metrics={key: float(value) for key, value in best.items() if isinstance(value, int | float)},
        ran=ran,
    )
    attempt.report("finished", epoch=result.epochs)
    draw_curve(epochs_of(work / PROGRESS), work / CURVE)
    write_atomic(work / RESULT, result.to_json())
    return result


def _check_data(folder: Path) -> None:
    manifest = read_folder(folder)
    for split in ("train", "val"):
        if not manifest.counts.get(split):
            raise BadInputError(f"{folder} has no image in the {split} split; label frames from more moments")


def _what_ran(work: Path, spec: TrainSpec) -> TrainingRan | None:
    """What the trainer wrote down.

    Raises:
        UserError: another network than the one that was asked for was trained: a record must not say otherwise.
    """
    path = work / RAN
    if not path.is_file():  # all epochs are those of a version that did not write it
        return None
    ran = TrainingRan.from_json(path.read_bytes(), str(path))
    if spec.architecture is not None and ran.architecture != spec.architecture:
        raise UserError(f"{spec.architecture} was asked for and {ran.architecture} was trained; delete {work}")
    return ran


def _strip(work: Path, attempt: _TrainingAttempt) -> dict[str, Any]:
    """Make ``weights.pt`` from the best epoch and return that epoch's metrics."""
    from ultralytics.utils.torch_utils import strip_optimizer

    best = work / BEST
    if not best.is_file():
        raise UserError(f"training left no checkpoint in {work}; see its log")
    stripped = work / f".{WEIGHTS}.tmp.pt"
    shutil.copyfile(best, stripped)
    saved = strip_optimizer(stripped)
    metrics = saved.get("train_metrics") or {}
    stripped.replace(work / WEIGHTS)
    return {str(key).removesuffix("(B)"): value for key, value in metrics.items()}


class _TrainingAttempt:
    """One run of the trainer: its callbacks, its clock, its progress lines."""

    def __init__(self, job: TrainJob, work: Path, events: int) -> None:
        import psutil

        self.job = job
        self.spec: TrainSpec = job.spec
        self.work = work
        self.device = _device(job.spec.device)
        self.epoch = 0
        self._taken_over = 0.0
        self._start_shapes: dict[str, tuple[int, ...]] = {}
        self._events: int | None = events
        self._started = time.monotonic()
        self._process = psutil.Process()
        self._process.cpu_percent()

    def __getstate__(self) -> dict[str, Any]:
        """For the processes that Ultralytics starts, one a card: they have neither our pipe nor our process."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_events", "_process")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        import psutil

        self.__dict__.update(state)
        self._events = None
        self._process = psutil.Process()

    @contextmanager
    def passing_on(self) -> Iterator[None]:
        """Pass on what the processes of several cards write into the file of events, until they have ended."""
        if "," not in self.device:
            yield
            return
        ended = threading.Event()
        path = self.work / PROGRESS
        thread = threading.Thread(
            target=self._pass_on, args=(path, path.stat().st_size if path.is_file() else 0, ended), daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _pass_on(self, path: Path, position: int, ended: threading.Event) -> None:
        last = False
        while not last:
            last = ended.wait(_LOOK_SECONDS)  # what was written before the end is passed on
            if not path.is_file():
                continue
            with path.open("rb") as file:
                file.seek(position)
                lines = file.read().splitlines(keepends=True)
            for line in lines:
                if not line.endswith(b"\n"):  # it is being written
                    break
                position += len(line)
                event = TrainingEvent.from_json(line, str(path))
                self.epoch = max(self.epoch, event.epoch) if event.event == "epoch" else self.epoch
                if self._events is not None:
                    os.write(self._events, line)

    def checkpoint(self) -> dict[str, Any] | None:
        """The last checkpoint, when training can resume from it.

        A finished one must never be resumed: ultralytics would silently start anew on a data set of its own.
        """
        path = self.work / CHECKPOINT
        if not path.is_file():
            return None
        try:
            saved = load_checkpoint(path)
        except UserError as error:
            self.report("note", message=f"cannot resume, starting again: {error}")
            return None
        if not isinstance(saved.get("epoch"), int) or saved["epoch"] < 0 or saved.get("optimizer") is None:
            self.report("note", message="the checkpoint is not of an unfinished training, starting again")
            return None
        if not (self.work / BEST).is_file():
            shutil.copyfile(path, self.work / BEST)
        return saved

    def run(self, *, resume: bool, done: int) -> None:
        from ultralytics import YOLO

        run = self.work / "run"
        if resume:
            (run / "weights").mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.work / BEST, run / "weights" / "best.pt")
            start: str = str(self.work / CHECKPOINT)
        else:
            shutil.rmtree(run, ignore_errors=True)
            start = self._start()
        model = YOLO(start, task="detect")
        model.add_callback("on_train_start", self._on_train_start)
        model.add_callback("on_train_epoch_start", self._on_epoch_start)
        model.add_callback("on_train_epoch_end", self._on_epoch_end)
        model.add_callback("on_model_save", self._on_model_save)
        self.report("resumed" if resume else "started", epoch=done)
        trainer = None
        batch: int | str = self.spec.batch
        if batch == "auto":
            before = _what_ran(self.work, self.spec) if resume else None
            batch, trainer = (before.batch, None) if before is not None else (-1, _auto_batch_trainer())
        arguments = _arguments(self.spec, self.device) | {
            "data": str(Path(self.job.data).absolute() / DATA_YAML),
            "save_dir": str(run.absolute()),
            "pretrained": self.job.weights is not None,
            "batch": batch,
            "nbs": max(batch, 1),
        }
        if resume:
            arguments["resume"] = True
        with self.passing_on():
            model.train(trainer=trainer, **arguments)

    def _start(self) -> str:
        """What Ultralytics starts from: the description of a network, or a checkpoint with the network asked for.

        A checkpoint alone keeps its own network, whatever ``model`` says; so another one is built and saved first, with
        what fits of the weights. A file, because the processes of several cards read it again.
        """
        asked = self.spec.architecture
        if self.job.weights is None:
            return asked or DEFAULT_ARCHITECTURE
        saved = load_checkpoint(Path(self.job.weights))
        weights = (saved.get("ema") or saved["model"]).float()
        self._start_shapes = {name: tuple(tensor.shape) for name, tensor in weights.state_dict().items()}
        if asked is None or asked == architecture_of(weights):
            return self.job.weights
        import torch
        from ultralytics.nn.tasks import DetectionModel

        names = dict(enumerate(read_folder(Path(self.job.data)).class_names))
        network = DetectionModel(asked, nc=len(names), verbose=False)
        network.names = names  # class rows are found by their names
        network.load(weights, verbose=False)
        torch.save({"model": network, "train_args": {}, "epoch": -1}, self.work / _START)
        return str(self.work / _START)

    def report(self, event: str, **fields: Any) -> None:
        """Append an event to the file and send it to the parent."""
        line = TrainingEvent.model_validate(
            {
                "at": utc_now(),
                "event": event,
                "epochs": self.spec.epochs,
                "seconds": round(time.monotonic() - self._started, 3),
                **fields,
            }
        )
        data = line.to_json() + b"\n"
        with (self.work / PROGRESS).open("ab") as file:
            file.write(data)
        if self._events is not None:
            os.write(self._events, data)

    def _on_train_start(self, trainer: Any) -> None:
        network = getattr(trainer.model, "module", trainer.model)
        numbers = {name: tensor.numel() for name, tensor in network.named_parameters()}
        shapes = {name: tuple(tensor.shape) for name, tensor in network.named_parameters()}
        fits = sum(size for name, size in numbers.items() if self._start_shapes.get(name) == shapes[name])
        self._taken_over = fits / sum(numbers.values())
        if self.device == "cpu":
            import torch

            # Ultralytics sets one thread fewer than there are cores: half of a machine with two.
            torch.set_num_threads(self.spec.threads)
            model = trainer.model.to(memory_format=torch.channels_last)
            if self.spec.bf16 and torch.backends.mkldnn.is_available() and torch.cpu._is_amx_tile_supported():
                # ultralytics refuses bfloat16 on processors, where the same context halves the time of an epoch. With
                # avx512_bf16 alone, without AMX, a step takes 1.7 times as long as in 32 bits.
                # Validation and checkpoints use the averaged weights and stay at 32 bits.
                forward = model.forward

                def run(*args: Any, **kwargs: Any) -> Any:
                    with torch.autocast("cpu", torch.bfloat16):
                        return forward(*args, **kwargs)

                model.forward = run

    def _on_epoch_start(self, trainer: Any) -> None:
        number = trainer.epoch + 1
        trainer.args.val = number % self.spec.val_every == 0 or number >= trainer.epochs

    def _on_epoch_end(self, trainer: Any) -> None:
        if self.spec.max_seconds and time.monotonic() - self._started > self.spec.max_seconds:
            trainer.stop = True
        if not (trainer.args.val or trainer.stop):
            # The figure of an earlier epoch would pass this one off as the best.
            trainer.fitness = None

    def _on_model_save(self, trainer: Any) -> None:
        self.epoch = trainer.epoch + 1
        if trainer.best.is_file():
            _copy_atomic(trainer.best, self.work / BEST)
        write_atomic(self.work / RAN, self._ran(trainer).to_json())  # again: memory may end the first batch size
        _copy_atomic(trainer.last, self.work / CHECKPOINT)
        validated = trainer.args.val or trainer.stop
        losses = {str(key): float(value) for key, value in (trainer.tloss or {}).items()}
        metrics = {str(k).removesuffix("(B)"): float(v) for k, v in trainer.metrics.items()} if validated else {}
        self.report(
            "epoch",
            epoch=self.epoch,
            losses=losses,
            metrics=metrics,
            lr=float(trainer.optimizer.param_groups[0]["lr"]),
            cpu_percent=self._process.cpu_percent(),
            rss_bytes=self._process.memory_info().rss,
            gpu_bytes=int(trainer._get_memory() * 2**30) if self.device != "cpu" else None,
        )

    def _ran(self, trainer: Any) -> TrainingRan:
        """What is trained in this moment, out of the trainer."""
        network = getattr(trainer.model, "module", trainer.model)
        path = self.work / RAN
        before = TrainingRan.from_json(path.read_bytes(), str(path)) if path.is_file() else None
        resumed = before is not None and not self._start_shapes  # it starts from its own checkpoint
        return TrainingRan(
            architecture=architecture_of(network),
            parameters=sum(tensor.numel() for tensor in network.parameters()),
            taken_over=round(before.taken_over if before is not None and resumed else self._taken_over, 4),
            imgsz=self.spec.imgsz,
            batch=trainer.batch_size,
            device=self.device,
            hardware=_hardware(self.device),
            libraries={**library_versions(), "python": platform.python_version()},
            code=code_identity(),
        )


def architecture_of(network: Any) -> str:
    """The name of a network's description, which Ultralytics keeps with it; empty where it does not."""
    described = getattr(network, "yaml", None) or {}
    return Path(str(described.get("yaml_file", ""))).name


def _hardware(device: str) -> str:
    """The name of the card, or of the processor."""
    import torch

    if device in ("cpu", "mps"):
        return cpu_model()
    return ", ".join(torch.cuda.get_device_name(int(number)) for number in device.split(","))


def _auto_batch_trainer() -> Any:
    """Ultralytics' trainer, whose nominal batch is the one that it finds: no step waits for several batches."""
    from ultralytics.models.yolo.detect import DetectionTrainer

    class AutoBatchTrainer(DetectionTrainer):
        def auto_batch(self, *arguments: Any, **options: Any) -> int:
            found = super().auto_batch(*arguments, **options)
            self.args.nbs = found
            return found

    return AutoBatchTrainer


def _arguments(spec: TrainSpec, device: str) -> dict[str, Any]:
    return {
        "epochs": spec.epochs,
        "imgsz": max(spec.sides),
        "rect": spec.rect,
        "multi_scale": spec.multi_scale,
        "freeze": list(spec.freeze) if isinstance(spec.freeze, tuple) else spec.freeze or None,
        "cls_pw": spec.class_weights,
        "seed": spec.seed,
        "optimizer": spec.optimizer,
        "lr0": spec.lr0,
        "lrf": spec.lrf,
        "cos_lr": True,
        "warmup_epochs": spec.warmup_epochs,
        "weight_decay": spec.weight_decay,
        "patience": spec.patience or spec.epochs + 1,
        # On a GPU "bf16" needs no check model, which would be downloaded; on a processor see _on_train_start.
        "amp": "bf16" if spec.bf16 and device not in ("cpu", "mps") else False,
        "device": device,
        "workers": 0 if device in ("cpu", "mps") else 2,
        "cache": "ram",
        "deterministic": True,
        "plots": False,
        "verbose": False,
        "erasing": 0.0,
        "exist_ok": True,
        **spec.augmentation.model_dump(),
    }


def _device(requested: str) -> str:
    import torch

    if requested == "auto":
        return "0" if torch.cuda.is_available() else "cpu"
    if requested == "mps":
        if not torch.backends.mps.is_available():
            raise UserError("device mps was requested and this is no Mac with a GPU; use cpu or auto")
    elif requested != "cpu":
        cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if missing := [number for number in requested.split(",") if int(number) >= cards]:
            here = f"{cards} here, counted from 0" if cards else "no GPU here"
            raise UserError(f"device {requested} was requested and there is {here}; {missing[0]} is none of them")
    return requested


def load_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint, its pickle restricted to classes of models.

    Raises:
        BadInputError: it is not one, or its pickle would run code.
    """
    from ultralytics.nn.tasks import torch_safe_load

    try:
        saved = torch_safe_load(path, safe_only=True)[0]
    except Exception as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BadInputError(f"{path} is not a safe YOLO checkpoint: {first}") from None
    if not isinstance(saved, dict) or (saved.get("model") is None and saved.get("ema") is None):
        raise BadInputError(f"{path} holds no YOLO model")
    return saved


def _copy_atomic(source: Path, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.copyfile(source, temporary)
    temporary.replace(target)
