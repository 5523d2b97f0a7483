"""Which archives there are, from listings alone: cheap enough for every audit, and it finds what is gone altogether."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from yolo_assets.archive.reading.bulk import archives_between
from yolo_assets.archive.retry import retry
from yolo_assets.archive.verifying.verify import hidden_line
from yolo_assets.archive.write_once.protect import hidden_archives
from yolo_assets.contracts.names import ARCHIVES, INDEXES
from yolo_assets.storage.base import ObjectStore


@dataclass(frozen=True)
class Census:
    """The archives that have a receipt, also one that was deleted and can be brought back; and what lies beside it.

    Attributes:
        sizes: bytes of each archive by its stem; 0 where the archive is gone.
        gone: what is missing, a line each, by stem.
        unfinished: archives without a receipt: on their way, or left by a crash; no reader sees them.
    """

    sizes: dict[str, int]
    gone: dict[str, str]
    unfinished: int

    @property
    def size(self) -> int:
        """Bytes of all archives."""
        return sum(self.sizes.values())


def take_census(archive: ObjectStore) -> Census:
    """List receipts, archives and indexes.

    Receipts first: they are written last, so what a listed receipt names was there before the other listings begin.
    """
    names = list(archives_between(archive))
    hidden = retry(lambda: list(hidden_archives(archive)))
    with ThreadPoolExecutor(2, thread_name_prefix="census") as pool:
        archives_listed = pool.submit(retry, lambda: dict(_sizes(archive, ARCHIVES)))
        indexes_listed = pool.submit(retry, lambda: {key for key, _ in _sizes(archive, INDEXES)})
        archives, indexes = archives_listed.result(), indexes_listed.result()
    sizes: dict[str, int] = {}
    gone: dict[str, str] = {}
    for name in names:
        missing = [name.archive_key] if name.archive_key not in archives else []
        missing += [name.index_key] if name.index_key not in indexes else []
        sizes[name.stem] = archives.pop(name.archive_key, 0)
        if missing:
            gone[name.stem] = f"{missing[0]} is not listed in the store: it is gone, or a delete marker hides it"
    for name, marker in hidden:
        sizes[name.stem] = archives.pop(name.archive_key, 0)
        gone[name.stem] = hidden_line(name, marker)
    return Census(sizes, gone, sum(key.endswith(".tar.gz") for key in archives))


def _sizes(archive: ObjectStore, prefix: str) -> Iterator[tuple[str, int]]:
    for info in archive.list(prefix):
        yield info.key, info.size
