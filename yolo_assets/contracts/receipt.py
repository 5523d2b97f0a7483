"""The receipt of one archive: the source of truth, of which the catalog is only an index.

It lies in the store as a DSSE envelope: one object is the commit point and proves itself.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import ConfigDict, Field

from yolo_assets.contracts.base import Record, Time
from yolo_assets.contracts.signing import SignedRecord


def _unknown(value: object) -> bool:
    return value is None


class ClassSummary(Record):
    """Detections of one class in an archive."""

    count: int = Field(ge=0)
    max_confidence: float = Field(ge=0, le=1)


class OutsideHour(Record):
    """Frames that were captured outside the hour of their folder, each counted once, and when.

    By the time in their name, else by that in their record. Those without a kept picture count too.
    """

    count: int = Field(ge=0)
    first: Time | None = None
    last: Time | None = None

    def touches(self, start: datetime, end: datetime) -> bool:
        """Whether one of them may have been captured in ``[start, end)``."""
        return self.first is not None and self.last is not None and self.first < end and self.last >= start


class Custody(Record):
    """What the device sealed when it closed the hour, and whether the archive holds that.

    Without ``trouble`` the key named here signed the statement, and the list of files is the one that it is about.
    Whether that key is the plant's must be known from outside.
    """

    statement_sha256: str = Field(description="of the bytes that the device signed")
    root: str | None = Field(default=None, description="Merkle root over the files of the hour, as they were sealed")
    files: int | None = Field(default=None, ge=0, description="how many files were sealed")
    key_id: str | None = Field(default=None, description="key that signed")
    missing: int = Field(default=0, ge=0, description="sealed files that neither this part nor an earlier one holds")
    differing: int = Field(default=0, ge=0, description="files that are not what was sealed")
    examples: tuple[str, ...] = Field(default=(), description="names of some of them")
    trouble: str | None = Field(default=None, description="why the statement proves nothing")
    sealed_at: Time | None = Field(default=None, exclude_if=_unknown, description="when, as the device says")

    @property
    def problem(self) -> str | None:
        """What does not fit, in a sentence; None when the archive holds what was sealed."""
        if self.trouble is not None:
            return self.trouble
        if not self.missing and not self.differing:
            return None
        parts = [f"{self.missing} are missing"] * bool(self.missing)
        parts += [f"{self.differing} are not what was sealed"] * bool(self.differing)
        return f"of {self.files} files that the device sealed {' and '.join(parts)}: {', '.join(self.examples)}"


class IndexGroup(Record):
    """A piece of the member index that can be read, and proven, by itself."""

    start: int = Field(ge=0, description="its first byte in the index")
    length: int = Field(gt=0, description="in bytes")
    rows: int = Field(gt=0, description="how many members it lists")
    sha256: str = Field(description="of these bytes, hexadecimal")
    first: str = Field(description="the lowest name in it")
    last: str = Field(description="the highest name in it")


class Receipt(SignedRecord):
    """One archive of one camera-hour, uploaded and verified."""

    model_config = ConfigDict(protected_namespaces=())

    schema_version: Literal[1] = 1
    archive_key: str
    version_id: str | None = Field(default=None, description="the store's version, where it keeps versions")
    camera_id: str
    hour: str = Field(pattern=r"^\d{8}_\d{2}$")
    part: int = Field(ge=1)
    start_time: Time
    end_time: Time
    file_count: int = Field(ge=0, description="members: frames, record files, seal")
    frame_count: int = Field(ge=0)
    total_size: int = Field(ge=0, description="bytes of the members")
    archive_size: int = Field(ge=0, description="bytes of the archive")
    md5_checksum: str
    sha256: str
    crc32: str | None = Field(default=None, description="of the archive, as stores compute it: eight digits")
    index_key: str
    index_sha256: str
    index_size: int | None = Field(default=None, ge=0, description="bytes of the index; with the next two, one member")
    index_footer_size: int | None = Field(default=None, ge=0, description="is found without reading all of it:")
    index_footer_sha256: str | None = Field(default=None, description="the footer holds the hash of each row group")
    model_versions: tuple[str, ...] = ()
    device_ids: tuple[str, ...] = ()
    batch_ids: tuple[str, ...] = ()
    classes: dict[str, ClassSummary] = Field(default_factory=dict)
    bad_records: int = Field(default=0, ge=0, description="records that could not be read; their bytes are archived")
    upload_status: Literal["verified"] = "verified"
    verified_at: Time
    verified_how: Literal["head", "full"]
    etag: str
    retention_until: Time | None = Field(default=None, description="write-once until then, as the store confirmed")
    retention_mode: Literal["compliance", "governance"] | None = None
    writer_version: str
    # What earlier versions did not write is left out where it is not known: their receipts keep their bytes.
    records_without_frame: int | None = Field(
        default=None,
        ge=0,
        exclude_if=_unknown,
        description="records of frames that neither this part nor an earlier one holds, although they were kept",
    )
    outside_hour: OutsideHour | None = Field(
        default=None, exclude_if=_unknown, description="frames captured outside the hour: found by their own time"
    )

    custody: Custody | None = Field(
        default=None,
        exclude_if=_unknown,
        description="what the device sealed; absent: no signature of a device is in this part",
    )
    part_ids: tuple[str, ...] | None = Field(
        default=None,
        exclude_if=_unknown,
        description="workpieces that its records name; absent: not known, or more than a receipt lists",
    )
    index_groups: tuple[IndexGroup, ...] | None = Field(
        default=None,
        exclude_if=_unknown,
        description="pieces of an index that is not read at once; absent: it is short, or its footer names them",
    )

    @property
    def name(self) -> str:
        """``<camera> <hour> part <n>``, for people."""
        return f"{self.camera_id} {self.hour}" + (f" part {self.part}" if self.part > 1 else "")
