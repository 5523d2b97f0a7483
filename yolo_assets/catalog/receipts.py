"""Receipts out of an archive, in bulk: listed, fetched, verified, and turned into rows of a catalog.

Belongs here: doing many at once in bounded memory, and the columns of a receipt with their types. Does not belong here:
what makes a receipt trusted (``archive``), and writing catalog files (``update``).

A receipt that should exist and does not is listed too, as an untrusted one: that of a part below one that has a
receipt, or one hidden by a delete marker where the store keeps versions.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby, islice
from typing import Any, TypeVar

import pyarrow as pa

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.missing import missing_parts, no_receipt
from yolo_assets.archive.retention import hidden_archives
from yolo_assets.contracts.base import canonical_json
from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.names import ArchiveName, receipts_prefix
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.times import Hour
from yolo_assets.storage.base import ObjectInfo, ObjectNotFoundError, StoreUnavailableError

T = TypeVar("T")

READERS = 8
"""Reads in flight by default; a receipt is two kilobytes, so over a network the delay is what counts."""
MISSING, HIDDEN = "missing", "hidden:"
"""In place of an etag: no receipt is there; a delete marker hides it, whose version id follows."""
BATCH = 2_000
"""Receipts that are in memory at one time."""

_MOMENT = pa.timestamp("us", "UTC")
_TEXTS = pa.list_(pa.string())
_COUNTS = (
    *("file_count", "frame_count", "total_size", "archive_size"),
    *("index_size", "index_footer_size", "bad_records", "records_without_frame"),
)
_KEY: list[tuple[str, pa.DataType]] = [("camera_id", pa.string()), ("hour", _MOMENT), ("part", pa.int32())]
_COPIED: list[tuple[str, pa.DataType]] = [
    ("version_id", pa.string()),
    *((name, _MOMENT) for name in ("start_time", "end_time")),
    *((name, pa.int64()) for name in _COUNTS),
    ("upload_status", pa.string()),
    ("verified_at", _MOMENT),
    ("verified_how", pa.string()),
    ("retention_until", _MOMENT),
    ("retention_mode", pa.string()),
    ("writer_version", pa.string()),
    ("schema_version", pa.int32()),
]
_LISTS = ("model_versions", "device_ids", "batch_ids")
_HASHES = {"md5_checksum": 32, "sha256": 64, "crc32": 8, "index_sha256": 64, "index_footer_sha256": 64}
_HEXADECIMAL = re.compile(r"[0-9a-f]*")

ARCHIVES = pa.schema(
    [
        *_KEY,
        ("receipt_etag", pa.string()),
        ("signed_by", pa.string()),
        *_COPIED,
        *((name, pa.binary()) for name in _HASHES),
        *((name, _TEXTS) for name in _LISTS),
        ("classes", pa.string()),
        ("outside_count", pa.int64()),
        ("outside_first", _MOMENT),
        ("outside_last", _MOMENT),
        ("part_ids", _TEXTS),
        ("sealed_by", pa.string()),
        ("seal_problem", pa.string()),
        ("receipt_sha256", pa.binary()),
        ("etag", pa.string()),
    ]
)
"""The columns of the table ``archives`` in the schema ``stored``, by name; in another order."""
CLASSES = pa.schema([*_KEY, ("class", pa.string()), ("count", pa.int64()), ("max_confidence", pa.float64())])
"""The columns of the table ``classes`` in the schema ``stored``."""


@dataclass(frozen=True)
class VerifiedReceipt:
    """A receipt whose signature by a trusted key was verified, with its key and etag in the archive.

    ``sha256`` is of its bytes as stored.
    """

    key: str
    etag: str
    receipt: Receipt
    sha256: bytes

    @property
    def signed_by(self) -> str:
        """Id of the key that signed it."""
        assert self.receipt.signature is not None  # it was verified
        return self.receipt.signature.key_id


@dataclass(frozen=True)
class ReceiptProblem:
    """An object among the receipts that is no trusted receipt, and why."""

    key: str
    etag: str
    problem: str


def list_receipts(archive: Archive, dates: Collection[str] | None = None) -> Iterator[ObjectInfo]:
    """Every object among the receipts of these dates (``YYYY-MM-DD``), or of all time; and those that are missing.

    One request per thousand receipts: 200 cameras make 4,800 a day; as many again where the store keeps versions.
    """
    for date in [None] if dates is None else sorted(set(dates)):
        hidden = {marker.key: replace(marker, etag=f"{HIDDEN}{marker.version_id}") for marker in _hidden(archive, date)}
        # By hour: the parts of an hour lie in one folder, and a listing of all time does not fit into memory.
        for _, infos in groupby(
            archive.store.list(receipts_prefix(date=date)), key=lambda info: info.key.rpartition("/")[0]
        ):
            hour = {info.key: info for info in infos}
            yield from hour.values()
            for name in missing_parts(_names(hour)):
                if name.receipt_key not in hidden:
                    yield replace(next(iter(hour.values())), key=name.receipt_key, etag=MISSING)
        yield from hidden.values()


def fetch_receipts(
    archive: Archive, listed: Iterable[tuple[str, str]], readers: int = READERS
) -> Iterator[list[VerifiedReceipt | ReceiptProblem]]:
    """Fetch and verify receipts, several at a time, in the order of ``listed``; one batch is in memory at a time.

    One that has been deleted meanwhile is left out; the next run will not list it.

    Args:
        archive: where they lie.
        listed: keys and etags.
        readers: reads in flight.

    Raises:
        StoreUnavailableError: the store failed, which proves nothing about a receipt.
    """

    def fetch(entry: tuple[str, str]) -> VerifiedReceipt | ReceiptProblem | None:
        key, etag = entry
        try:
            name = ArchiveName.parse(key)
            if name.receipt_key != key:
                raise BadInputError(f"{key} is not where the receipt of {name.stem} belongs; it was moved or copied")
            if etag == MISSING:
                return ReceiptProblem(key, etag, no_receipt(name))
            if etag.startswith(HIDDEN):
                marker = etag.removeprefix(HIDDEN)
                return ReceiptProblem(
                    key, etag, f"{key} was deleted: delete marker {marker} hides it; remove the marker"
                )
            data, receipt = archive.read_receipt(name)
            if problem := unstorable(receipt):
                raise BadInputError(f"{key} is not a valid Receipt: {problem}")
        except ObjectNotFoundError:
            return None
        except StoreUnavailableError:
            raise
        except UserError as error:
            return ReceiptProblem(key, etag, str(error))
        return VerifiedReceipt(key, etag, receipt, hashlib.sha256(data).digest())

    with ThreadPoolExecutor(readers, thread_name_prefix="receipts") as pool:
        for batch in batches(listed, BATCH):
            yield [result for result in pool.map(fetch, batch) if result is not None]


def _hidden(archive: Archive, date: str | None) -> Iterator[ObjectInfo]:
    try:
        for _, marker in hidden_archives(archive, date=date):
            yield marker
    except StoreUnavailableError as error:
        if error.transient:
            raise
        # Without the right to list versions, what is hidden stays hidden.


def _names(keys: Iterable[str]) -> Iterator[ArchiveName]:
    for key in keys:
        try:
            name = ArchiveName.parse(key)
        except BadInputError:
            continue
        if name.receipt_key == key:
            yield name


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of up to ``size`` items."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def unstorable(receipt: Receipt) -> str | None:
    """Which value of a receipt does not fit its column, though it may be signed; None when all is well."""
    for name, length in _HASHES.items():
        value = getattr(receipt, name)
        if value is not None and not (len(value) == length and _HEXADECIMAL.fullmatch(value)):
            return f"{name} is not {length} hexadecimal digits"
    for name in (*_COUNTS, "part"):
        limit = 2**31 if name == "part" else 2**63
        if (getattr(receipt, name) or 0) >= limit:
            return f"{name} is too large"
    if receipt.outside_hour is not None and receipt.outside_hour.count >= 2**63:
        return "the count of frames outside the hour is too large"
    if any(summary.count >= 2**63 for summary in receipt.classes.values()):
        return "a count of classes is too large"
    return None


def archive_rows(verified: Sequence[VerifiedReceipt]) -> pa.Table:
    """Rows with the columns ``ARCHIVES``."""
    receipts = [entry.receipt for entry in verified]
    outsides = [receipt.outside_hour for receipt in receipts]
    custodies = [receipt.custody for receipt in receipts]
    columns: dict[str, list[Any]] = {name: [getattr(receipt, name) for receipt in receipts] for name, _ in _COPIED}
    columns |= {name: [_bytes(getattr(receipt, name)) for receipt in receipts] for name in _HASHES}
    columns |= {name: [list(getattr(receipt, name)) for receipt in receipts] for name in _LISTS}
    columns |= {
        "camera_id": [receipt.camera_id for receipt in receipts],
        "hour": [_start(receipt) for receipt in receipts],
        "part": [receipt.part for receipt in receipts],
        "receipt_etag": [entry.etag for entry in verified],
        "signed_by": [entry.signed_by for entry in verified],
        "classes": [
            canonical_json({name: summary.model_dump() for name, summary in receipt.classes.items()}).decode()
            for receipt in receipts
        ],
        "outside_count": [None if outside is None else outside.count for outside in outsides],
        "outside_first": [None if outside is None else outside.first for outside in outsides],
        "outside_last": [None if outside is None else outside.last for outside in outsides],
        "part_ids": [None if receipt.part_ids is None else list(receipt.part_ids) for receipt in receipts],
        "sealed_by": [None if custody is None else custody.key_id for custody in custodies],
        "seal_problem": [None if custody is None else custody.problem for custody in custodies],
        "receipt_sha256": [entry.sha256 for entry in verified],
        "etag": [None if receipt.etag == receipt.md5_checksum else receipt.etag for receipt in receipts],
    }
    return pa.table({name: columns[name] for name in ARCHIVES.names}, schema=ARCHIVES)


def class_rows(verified: Sequence[VerifiedReceipt]) -> pa.Table:
    """Rows with the columns ``CLASSES``."""
    rows = [
        (receipt.camera_id, _start(receipt), receipt.part, name, summary.count, summary.max_confidence)
        for receipt in (entry.receipt for entry in verified)
        for name, summary in receipt.classes.items()
    ]
    columns = list(zip(*rows, strict=True)) if rows else [[] for _ in CLASSES]
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, CLASSES, strict=True)], schema=CLASSES
    )


def _start(receipt: Receipt) -> datetime:
    return Hour.from_key(receipt.hour).start


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)
