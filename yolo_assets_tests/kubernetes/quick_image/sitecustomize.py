"""An image whose trainings take a moment, and whose first two attempts wait, after an epoch, until they are ended.

Python imports this at its start when the folder is on its path, as the image of the quick test has it.
"""

import sys

if "yolo_assets.training.pipes" in sys.orig_argv or "execute_run" in sys.orig_argv:
    import time
    from pathlib import Path
    from typing import Any

    from yolo_assets.training import candidates
    from yolo_assets.training.jobs import BEST, CHECKPOINT, RESULT, TrainingEvent, TrainJob, TrainResult
    from yolo_assets_tests.support.quick_training import EVALUATED_AT, quick_child

    def _child(command: str, job: Any, folder: Path, *, on_event: Any = None, **options: Any) -> None:
        done = len((folder / CHECKPOINT).read_bytes()) if (folder / CHECKPOINT).exists() else 0  # a byte an epoch
        if isinstance(job, TrainJob) and done < 2:
            (folder / BEST).write_bytes(b"best")
            (folder / CHECKPOINT).write_bytes(b"e" * (done + 1))
            on_event(TrainingEvent(at=EVALUATED_AT, event="epoch", epoch=done + 1, epochs=3, seconds=0.1))
            time.sleep(120)
            raise AssertionError("nobody ended it")
        quick_child(command, job, folder, on_event=on_event, **options)
        if isinstance(job, TrainJob):
            result = TrainResult.from_json((folder / RESULT).read_bytes())
            (folder / RESULT).write_bytes(
                result.model_copy(update={"resumed_from": done, "epochs": done + 1}).to_json()
            )

    candidates.run_child = _child
