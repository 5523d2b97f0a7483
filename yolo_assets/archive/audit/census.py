"""Which archives there are, from listings alone: cheap enough for every audit, and it shows which have disappeared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.audit.verification import VerifyReport, hidden_line
from yolo_assets.archive.listing import listed_archives
from yolo_assets.archive.missing import missing_parts
from yolo_assets.archive.retention import hidden_archives
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import ARCHIVES, INDEXES, ArchiveName
from yolo_assets.contracts.times import utc_now
from yolo_assets.storage.base import ObjectInfo

UNFINISHED = timedelta(days=1)
"""So long an archive may lie without a receipt: it is on its way, or its archiver comes back. Then it is a problem."""


@dataclass(frozen=True)
class Census:
    """The archives there should be, also one that was deleted and can be brought back; and unfinished ones.

    Attributes:
        sizes: bytes of each archive by its stem; 0 where the archive is gone.
        gone: what is missing, a line each, by stem.
        unfinished: archives without a receipt since a short while: on their way, or left by a crash.
    """

    sizes: dict[str, int]
    gone: dict[str, str]
    unfinished: int

    @property
    def size(self) -> int:
        """Bytes of all archives."""
        return sum(self.sizes.values())

    def with_lost(self, lost: Mapping[str, str]) -> Census:
        """This census, and archives of which nothing is left: a line each, by stem."""
        return Census({**self.sizes, **dict.fromkeys(lost, 0)}, {**self.gone, **lost}, self.unfinished)

    @property
    def names(self) -> list[ArchiveName]:
        """The archives by hour, camera and part."""
        names = map(ArchiveName.parse, self.sizes)
        return sorted(names, key=lambda name: (name.hour, name.camera_id, name.part))

    def completed(self, reports: Iterable[VerifyReport]) -> Iterator[VerifyReport]:
        """These reports, each with what only the listings show: a marker hides a receipt that is still readable."""
        for report in reports:
            if report.name in self.gone and not report.problems:
                report.problems.append(self.gone[report.name])
            yield report


def take_census(archive: Archive, *, camera_id: str | None = None, now: datetime | None = None) -> Census:
    """List receipts, archives and indexes.

    Receipts first: they are written last, so what a listed receipt names was there before the other listings begin.

    Args:
        archive: the archive.
        camera_id: only of this one.
        now: the present; for tests.

    Raises:
        BadInputError: not a camera id.
    """
    names = list(listed_archives(archive, camera_id=camera_id))
    hidden = list(hidden_archives(archive))
    prefix = ARCHIVES if camera_id is None else f"{ARCHIVES}camera={camera_id}/"
    with ThreadPoolExecutor(2, thread_name_prefix="census") as pool:
        archives_listed = pool.submit(lambda: _listed(archive.store.list(prefix), camera_id))
        indexes_listed = pool.submit(lambda: _listed(archive.store.list(INDEXES), camera_id))
        archives, indexes = archives_listed.result(), indexes_listed.result()
    sizes: dict[str, int] = {}
    gone: dict[str, str] = {}
    for name in names:
        missing = [name.archive_key] if name.archive_key not in archives else []
        missing += [name.index_key] if name.index_key not in indexes else []
        sizes[name.stem] = archives.get(name.archive_key, (0, 0.0))[0]
        if missing:
            gone[name.stem] = f"{missing[0]} is not listed in the store: it was deleted, or a delete marker hides it"
    for name, marker in hidden:
        if camera_id in (None, name.camera_id):
            sizes[name.stem] = archives.get(name.archive_key, (0, 0.0))[0]
            gone[name.stem] = hidden_line(name, marker)
    newest = _without_receipt(archives, indexes, sizes)
    others = {name: modified for name, modified in newest.items() if camera_id in (None, name.camera_id)}
    limit = ((now or utc_now()) - UNFINISHED).timestamp()
    old = [name for name, modified in others.items() if modified < limit]
    for name in (*missing_parts(names), *old):
        sizes.setdefault(name.stem, archives.get(name.archive_key, (0, 0.0))[0])
        gone.setdefault(name.stem, f"{name.receipt_key} is not listed in the store: it was deleted")
    return Census(sizes, gone, len(others) - len(old))


def _listed(listing: Iterable[ObjectInfo], camera_id: str | None) -> dict[str, tuple[int, float]]:
    """Size and time of each object by its key, as numbers: there may be millions."""
    begins = f"/yolo_{camera_id}_"
    return {
        info.key: (info.size, info.modified_at.timestamp())
        for info in listing
        if camera_id is None or begins in info.key
    }


def _without_receipt(
    archives: Mapping[str, tuple[int, float]], indexes: Mapping[str, tuple[int, float]], known: Mapping[str, int]
) -> dict[ArchiveName, float]:
    """When what lies of an archive that is not known was last written: archive, index or both."""
    newest: dict[ArchiveName, float] = {}
    for listing, ending in ((archives, ".tar.gz"), (indexes, ".index.parquet")):
        for key, (_, modified) in listing.items():
            if key.rpartition("/")[2].removesuffix(ending) in known:
                continue  # nearly all: not worth parsing
            try:
                name = ArchiveName.parse(key)
            except BadInputError:
                continue
            if key in (name.archive_key, name.index_key):
                newest[name] = max(modified, newest.get(name, modified))
    return newest
