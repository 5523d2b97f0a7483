"""An image whose trainings take a moment, and whose first attempt waits until it is evicted.

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
        resumed = (folder / CHECKPOINT).exists()
        if isinstance(job, TrainJob) and not resumed:
            (folder / BEST).write_bytes(b"the best of one epoch")
            (folder / CHECKPOINT).write_bytes(b"one epoch")
            on_event(TrainingEvent(at=EVALUATED_AT, event="epoch", epoch=1, epochs=2, seconds=0.1))
            time.sleep(120)
            raise AssertionError("nobody evicted it")
        quick_child(command, job, folder, on_event=on_event, **options)
        if isinstance(job, TrainJob):
            result = TrainResult.from_json((folder / RESULT).read_bytes())
            (folder / RESULT).write_bytes(result.model_copy(update={"resumed_from": 1, "epochs": 2}).to_json())

    candidates.run_child = _child
