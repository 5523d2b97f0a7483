"""Federated form: checkpoints of several sites averaged into one candidate, weight by weight (FedAvg).

The average is a checkpoint like any other: it is imported, and the same gate judges it. Nothing here protects what a
site trained on: weights can tell of their data. Does not belong here: importing (``importing``), judging (``verdict``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.training.environment import load_ultralytics, quiet_environment
from yolo_assets.training.job_process import run_child
from yolo_assets.training.jobs import AverageJob
from yolo_assets.training.trainer import load_checkpoint


def averaged_checkpoint(files: Sequence[Path], shares: Sequence[float], work: Path) -> Path:
    """Average checkpoints in a process that runs no code of them.

    Args:
        files: of the same architecture and classes, at least two.
        shares: the part of each; without any, equal parts.
        work: folder for the result, which is named after what went in.

    Returns:
        The checkpoint.

    Raises:
        BadInputError: one cannot be read, or the shares do not fit them.
        UserError: they do not fit each other; the line, which is the child's, names the file.
    """
    if len(files) < 2:
        raise BadInputError("give the checkpoints of at least two sites")
    if shares and len(shares) != len(files):
        raise BadInputError(f"{len(files)} checkpoints and {len(shares)} shares; give one share for each, or none")
    parts = tuple(shares) or (1.0,) * len(files)
    try:
        digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    except OSError as error:
        raise BadInputError(f"cannot read {error.filename}: {error.strerror}") from None
    if len(set(digests)) < len(digests):
        raise BadInputError("two of the checkpoints are the same file; a site counts once")
    name = hashlib.sha256(" ".join([*digests, *map(str, parts)]).encode()).hexdigest()[:12]
    out = work / f"average-of-{len(files)}-{name}.pt"
    job = AverageJob(
        weights=tuple(str(file.absolute()) for file in files), shares=parts, out=str(out), work=str(work)
    )  # fmt: skip
    run_child("average", job, work, nice=0)
    return out


def average(job: AverageJob) -> None:
    """Write the average of the checkpoints: every floating-point number of the networks, BatchNorm's figures too.

    Raises:
        BadInputError: they are of different architectures or classes; the line names the file.
    """
    quiet_environment(Path(job.work) / "config", job.threads)
    load_ultralytics()
    import torch

    saved = [load_checkpoint(Path(file)) for file in job.weights]
    networks: list[Any] = [one["ema"] if one.get("ema") is not None else one["model"] for one in saved]
    states = [network.float().state_dict() for network in networks]
    first, total = networks[0], sum(job.shares)
    for file, network, state in zip(job.weights[1:], networks[1:], states[1:], strict=True):
        if dict(network.names) != dict(first.names):
            raise BadInputError(f"{file} has other classes, or in another order, than {job.weights[0]}")
        if {key: tensor.shape for key, tensor in state.items()} != {k: t.shape for k, t in states[0].items()}:
            raise BadInputError(f"{file} is of another architecture than {job.weights[0]}; average what is alike")
    parts = [share / total for share in job.shares]
    mean = {key: _mean([state[key] for state in states], parts) for key in states[0]}
    first.load_state_dict(mean)
    kept = {name: saved[0].get(name) for name in ("train_args", "version", "date", "license")}
    out = Path(job.out)
    partial = out.with_name(f".{out.name}.partial")
    torch.save({**kept, "model": first, "ema": None, "optimizer": None, "epoch": -1, "best_fitness": None}, partial)
    partial.replace(out)


def _mean(tensors: Sequence[Any], parts: Sequence[float]) -> Any:
    """The weighted mean in double precision; counters, which are whole numbers, are the first site's."""
    if not tensors[0].is_floating_point():
        return tensors[0]
    mean: Any = sum(part * tensor.double() for part, tensor in zip(parts, tensors, strict=True))
    return mean.to(tensors[0].dtype)
