"""Commits an archive that is in the store and verified: index first, then the signed receipt.

Until the receipt is there the archive does not exist for any reader, and nothing is deleted locally. Where retention is
requested, the store must confirm it for each of the three objects.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from yolo_assets import __version__
from yolo_assets.archive.archive import Archive
from yolo_assets.archive.options import ArchiveOptions
from yolo_assets.archive.packing.index import footer_size, index_bytes, listed_groups, parse_index
from yolo_assets.archive.packing.pack import IndexRow, Packing
from yolo_assets.archive.part import SMALL_INDEX
from yolo_assets.archive.retention import protect
from yolo_assets.contracts.errors import IntegrityError
from yolo_assets.contracts.names import ArchiveName, frame_time, is_frame
from yolo_assets.contracts.receipt import ClassSummary, Custody, OutsideHour, Receipt
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour, in_calendar, utc_now
from yolo_assets.spool.frames import frame_stem
from yolo_assets.spool.records import BadRecord, FrameRecord
from yolo_assets.storage.base import AlreadyExistsError, ObjectInfo, ObjectStore, Retention

MOST_PARTS = 2000
"""Workpieces that a receipt lists. Of an hour with more, the records themselves are asked."""


@dataclass
class RecordSummary:
    """What a receipt says about frames and records of an archive, so that the catalog answers without opening it.

    Attributes:
        frames: pictures in the archive, by name.
        outside: when frames were captured that lie outside the hour, by their name without ending.
        missing: for each name without ending that no picture has, how many records say that it was kept.
        custody: what the device sealed, and whether the archive holds that.
        complete: whether all parts that may hold these pictures could be looked at.
    """

    model_versions: set[str] = field(default_factory=set[str])
    device_ids: set[str] = field(default_factory=set[str])
    batch_ids: set[str] = field(default_factory=set[str])
    part_ids: set[str] = field(default_factory=set[str])
    counts: dict[str, int] = field(default_factory=dict[str, int])
    highest: dict[str, float] = field(default_factory=dict[str, float])
    bad_records: int = 0
    frames: int = 0
    outside: dict[str, datetime] = field(default_factory=dict[str, datetime])
    missing: Counter[str] = field(default_factory=Counter[str])
    custody: Custody | None = None
    complete: bool = True

    @classmethod
    def of(cls, hour: Hour, frames: Collection[str], records: Iterable[FrameRecord | BadRecord]) -> RecordSummary:
        """Read the stream to its end.

        Args:
            hour: of the archive.
            frames: file names of its pictures.
            records: in its record files.
        """
        summary = cls(frames=len(frames))
        stems = {frame_stem(name) for name in frames}
        for name in frames:
            summary._place(hour, frame_stem(name), frame_time(name))
        for found in records:
            if isinstance(found, BadRecord):
                summary.bad_records += 1
                continue
            record, stem = found.record, frame_stem(found.frame)
            summary._place(hour, stem, frame_time(found.frame) or record.captured_at)
            if stem not in stems and record.image_saved is not False:
                summary.missing[stem] += 1
            summary.model_versions.add(record.model_version)
            summary.device_ids.add(record.device_id)
            if record.batch_id is not None:
                summary.batch_ids.add(record.batch_id)
            if record.part_name is not None and len(summary.part_ids) <= MOST_PARTS:
                summary.part_ids.add(record.part_name)
            for detection in record.detections:
                name = detection.class_name
                summary.counts[name] = summary.counts.get(name, 0) + 1
                summary.highest[name] = max(summary.highest.get(name, 0.0), detection.confidence)
        return summary

    def _place(self, hour: Hour, stem: str, moment: datetime | None) -> None:
        if moment is not None and moment not in hour and in_calendar(moment):
            self.outside.setdefault(stem, moment)

    def found_earlier(self, names: Iterable[str]) -> None:
        """Take note of the file names in an earlier part: records may be of pictures in it."""
        for name in names:
            if is_frame(name):
                self.missing.pop(frame_stem(name), None)

    def outside_hour(self) -> OutsideHour:
        """How many frames were captured outside the hour, and when."""
        moments = self.outside.values()
        return OutsideHour(count=len(moments), first=min(moments, default=None), last=max(moments, default=None))

    def classes(self) -> dict[str, ClassSummary]:
        """Per class: how many, and the highest confidence."""
        return {
            name: ClassSummary(count=count, max_confidence=self.highest[name])
            for name, count in sorted(self.counts.items())
        }


def commit(
    store: ObjectStore,
    signer: Signer,
    name: ArchiveName,
    packing: Packing,
    info: ObjectInfo,
    summary: RecordSummary,
    options: ArchiveOptions,
) -> Receipt:
    """Write index and receipt, and return the receipt as it lies in the store.

    Raises:
        IntegrityError: another index or receipt lies under the name.
        UserError: the store does not keep the retention that was asked for.
    """
    archive = Archive(store, TrustedKeys.of(signer))  # whatever others signed is not what was written here
    retention = options.retention()
    confirmed = None if retention is None else protect(store, name.archive_key, info.version_id, retention)
    index, index_version = _put_index(store, name, packing.rows)
    if confirmed is not None:  # which may be longer than what is asked for, by a default of the bucket
        protect(store, name.index_key, index_version, confirmed)
    footer = index[-footer_size(index, name.index_key) :]
    receipt = Receipt(
        archive_key=name.archive_key,
        version_id=info.version_id,
        camera_id=name.camera_id,
        hour=name.hour.key,
        part=name.part,
        start_time=name.hour.start,
        end_time=name.hour.end,
        file_count=len(packing.rows),
        frame_count=summary.frames,
        total_size=packing.total,
        archive_size=packing.size,
        md5_checksum=packing.md5,
        sha256=packing.sha256,
        crc32=packing.crc32,
        index_key=name.index_key,
        index_sha256=hashlib.sha256(index).hexdigest(),
        index_size=len(index),
        index_footer_size=len(footer),
        index_footer_sha256=hashlib.sha256(footer).hexdigest(),
        model_versions=tuple(sorted(summary.model_versions)),
        device_ids=tuple(sorted(summary.device_ids)),
        batch_ids=tuple(sorted(summary.batch_ids)),
        classes=summary.classes(),
        bad_records=summary.bad_records,
        verified_at=utc_now(),
        verified_how=options.verify,
        etag=info.etag,
        retention_until=None if confirmed is None else confirmed.until,
        retention_mode=None if confirmed is None else confirmed.mode,
        writer_version=__version__,
        part_ids=tuple(sorted(summary.part_ids)) if len(summary.part_ids) <= MOST_PARTS else None,
        records_without_frame=summary.missing.total() if summary.complete else None,
        outside_hour=summary.outside_hour(),
        custody=summary.custody,
        index_groups=None if len(index) <= SMALL_INDEX else listed_groups(index, name.index_key),
    )
    data = signer.seal(receipt.payload(), "receipt").to_json()
    try:
        written = store.put_if_absent(name.receipt_key, data)
        if confirmed is not None:
            protect(store, name.receipt_key, written.version_id, confirmed)
    except AlreadyExistsError:
        stored = archive.receipt(name)
        if stored.sha256 != receipt.sha256:
            raise IntegrityError(
                f"{name.receipt_key} is taken by another archive; run again for the next part"
            ) from None
        ensure_protected(archive, stored, options)
        return stored
    return archive.receipt(name)


def _put_index(store: ObjectStore, name: ArchiveName, rows: Sequence[IndexRow]) -> tuple[bytes, str | None]:
    """Write the index; return it as it lies in the store, and its version."""
    data = index_bytes(rows)
    try:
        return data, store.put_if_absent(name.index_key, data).version_id
    except AlreadyExistsError:
        # A run that crashed before its receipt; another version of the Parquet writer may say the same in other bytes.
        data, info = store.get_with_info(name.index_key)
        if parse_index(data, name.index_key) != list(rows):
            raise IntegrityError(f"{name.index_key} is taken by the index of another archive") from None
        return data, info.version_id


def ensure_protected(archive: Archive, receipt: Receipt, options: ArchiveOptions) -> None:
    """What ``commit`` asks of the store, again, for an archive of a run that ended right after its receipt.

    Raises:
        UserError: see ``protect``.
    """
    if receipt.retention_until is None or receipt.retention_mode is None or options.retention() is None:
        return  # it was written without, or it is not asked for now
    promised = Retention(receipt.retention_until, receipt.retention_mode)
    if promised.until <= utc_now():
        return
    part = archive.part(receipt)
    for original in (part.original_index(), archive.original_receipt(part.name)):
        if original is not None:
            protect(archive.store, original[1].key, original[1].version_id, promised)
