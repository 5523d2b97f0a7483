"""Checkpoints between the training folder of a machine and the store, so that an evicted training loses little."""

from __future__ import annotations

import time
from pathlib import Path

from yolo_assets.contracts.names import training_key
from yolo_assets.storage import ObjectNotFoundError, ObjectStore
from yolo_assets.training.child import write_atomic
from yolo_assets.training.jobs import BEST, CHECKPOINT, PROGRESS, RESULT

UPLOAD_SECONDS = 30.0
"""Between uploads of a checkpoint: what an eviction may cost."""


class CheckpointUploads:
    """Sends checkpoints to the store now and then, so that an evicted pod's successor has them."""

    def __init__(self, store: ObjectStore, key: str, folder: Path) -> None:
        self._store, self._key, self._folder = store, key, folder
        self._last = time.monotonic()

    def maybe(self) -> None:
        """Upload when it is time. The best first: a checkpoint without it would lose the best epoch."""
        if time.monotonic() - self._last < UPLOAD_SECONDS:
            return
        for file in (BEST, CHECKPOINT, PROGRESS):
            path = self._folder / file
            if path.is_file():
                self._store.put(training_key(self._key, file), path.read_bytes())
        self._last = time.monotonic()


def fetch_checkpoint(store: ObjectStore, key: str, folder: Path) -> None:
    """Bring the last uploaded checkpoint into ``folder``, unless it holds one, or a finished training, of its own."""
    if (folder / CHECKPOINT).is_file() or (folder / RESULT).is_file():
        return
    for file in (PROGRESS, BEST, CHECKPOINT):
        try:
            write_atomic(folder / file, store.get(training_key(key, file)))
        except ObjectNotFoundError:
            continue
