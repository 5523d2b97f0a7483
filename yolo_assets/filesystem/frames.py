"""Archived frames as a dataset for PyTorch's loaders, without importing torch. Decoding is the caller's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from yolo_assets.filesystem.archive_files import ArchiveFileSystem


class ArchivedFrames:
    """A map-style dataset over paths of an archive; a ``DataLoader`` takes it as it is, with any number of workers.

    Batches are fetched together. A worker opens the archive itself, however it was started.
    """

    def __init__(
        self,
        files: ArchiveFileSystem,
        paths: Sequence[str],
        transform: Callable[[str, bytes], Any] | None = None,
    ) -> None:
        """Describe the dataset; nothing is read yet.

        Args:
            files: the archive.
            paths: ``<camera>/<YYYYMMDD_HH>/<frame>``, as ``glob`` and the tables' ``image_path`` give them.
            transform: from path and bytes to what the loader collates, a function of a module where workers are
                spawned; None: path and bytes.
        """
        self.files = files
        self.paths = list(paths)
        self.transform = transform or _as_they_are

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        path = self.paths[index]
        return self.transform(path, self.files.cat_file(path))

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """The items of a batch; PyTorch's loader asks for them at once where a dataset has this method."""
        paths = [self.paths[index] for index in indices]
        frames: Any = self.files.cat_ranges(paths, None, None, on_error="raise")
        return [self.transform(path, data) for path, data in zip(paths, frames, strict=True)]


def _as_they_are(path: str, data: bytes) -> tuple[str, bytes]:
    return path, data
