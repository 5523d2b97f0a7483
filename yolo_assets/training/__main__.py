"""``python -m yolo_assets.training train|export|evaluate JOB.json``: the child process.

Progress lines go to standard output, everything else to standard error. Exit 0, or 1 with a last line ``error: …`` for
what a person can put right; anything else is a bug with its traceback.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.training import child
from yolo_assets.training.jobs import EvaluateJob, ExportJob, TrainJob

USAGE = "usage: python -m yolo_assets.training train|export|evaluate JOB.json [--nice N]"


def main(arguments: list[str]) -> int:
    """Run one job."""
    nice = 0
    if len(arguments) == 4 and arguments[2] == "--nice" and arguments[3].isdigit():
        nice = int(arguments[3])
        arguments = arguments[:2]
    if len(arguments) != 2 or arguments[0] not in {"train", "export", "evaluate"}:
        print(USAGE, file=sys.stderr)
        return 2
    command, path = arguments
    events = child.events_on_stdout()
    child.die_with_parent()
    os.nice(nice)
    try:
        _run(command, Path(path), events)
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
        with child.sole_owner(Path(job.work)):
            train(job, events)
    elif command == "export":
        from yolo_assets.training.export import export

        job = ExportJob.from_json(data, str(path))
        with child.sole_owner(Path(job.out).parent):
            export(job)
    else:
        job = EvaluateJob.from_json(data, str(path))
        child.quiet_environment(Path(job.out) / "config", job.spec.threads)
        from yolo_assets.training.evaluate import evaluate

        evaluate(job)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
