"""``python -m yolo_assets.training COMMAND JOB.json``: the child process; the commands are ``COMMANDS``.

Progress events go to standard output, one JSON object a line, everything else to standard error. Exit 0, or 1 with a
last line ``error: …`` for what an operator can put right; anything else is a bug with its traceback.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.runtime.files import locked_file
from yolo_assets.runtime.processes import die_with_parent
from yolo_assets.training.environment import quiet_environment
from yolo_assets.training.jobs import (
    AverageJob,
    ConvertJob,
    EvaluateJob,
    ExportJob,
    QuantizeJob,
    ReferenceJob,
    TrainJob,
)

COMMANDS = ("train", "export", "evaluate", "convert", "average", "reference", "quantize")


def main(arguments: list[str]) -> int:
    """Run one job."""
    parser = argparse.ArgumentParser(prog="python -m yolo_assets.training")
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("job", type=Path, help="JSON file")
    parser.add_argument("--nice", type=int, default=0, help="how much to yield to other processes")
    parser.add_argument("--parent", type=int, default=os.getppid(), help="process id; this process ends with it")
    options = parser.parse_args(arguments)
    events = _events_on_stdout()
    die_with_parent(options.parent)
    os.nice(options.nice)
    try:
        _run(options.command, options.job, events)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


def _run(command: str, path: Path, events: int) -> None:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInputError(f"cannot read the job {path}: {error.strerror}") from None
    if command == "train":
        from yolo_assets.training.trainer import train

        job = TrainJob.from_json(data, str(path))
        folder = Path(job.work)
        with locked_file(folder / ".lock", _busy(folder)):
            trained = train(job, events)
            if job.export is not None:  # torch is loaded here already
                from yolo_assets.training.export import export

                export(job.export.model_copy(update={"metrics": trained.metrics}))
    elif command == "export":
        from yolo_assets.training.export import export

        job = ExportJob.from_json(data, str(path))
        folder = Path(job.out).parent
        with locked_file(folder / ".lock", _busy(folder)):
            export(job)
    elif command == "convert":
        from yolo_assets.training.export import convert

        convert(ConvertJob.from_json(data, str(path)))
    elif command == "average":
        from yolo_assets.training.averaging import average

        average(AverageJob.from_json(data, str(path)))
    elif command == "reference":
        from yolo_assets.training.export import reference

        reference(ReferenceJob.from_json(data, str(path)))
    elif command == "quantize":
        from yolo_assets.training.quantize import quantize

        quantize(QuantizeJob.from_json(data, str(path)))
    else:
        job = EvaluateJob.from_json(data, str(path))
        quiet_environment(Path(job.out) / "config", job.spec.threads)
        from yolo_assets.training.evaluate import evaluate

        evaluate(job)


def _busy(folder: Path) -> str:
    return f"another process is working in {folder}; wait for it, or stop it"


def _events_on_stdout() -> int:
    """Keep standard output for events alone: everything that libraries print goes to standard error.

    Returns:
        A file descriptor that leads to the real standard output.
    """
    sys.stdout.flush()
    events = os.dup(1)
    os.dup2(2, 1)
    return events


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
