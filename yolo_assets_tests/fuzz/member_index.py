"""The index of an archive's members: our own reader of the Parquet that we write."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from yolo_assets.archive.packing.index import footer_size, index_bytes, parse_footer, parse_group, parse_index
from yolo_assets.archive.packing.pack import IndexRow
from yolo_assets_tests.fuzz.law import refused_or


def _rows(count: int) -> list[IndexRow]:
    digest = hashlib.sha256(b"").digest()
    return [IndexRow(f"20241015_14{number:04d}_000.jpg", number * 99, 99, 40, digest) for number in range(count)]


def seeds() -> Iterator[bytes]:
    """Small indexes."""
    for count in (0, 1, 3, 40):
        yield index_bytes(_rows(count))


def check(data: bytes) -> None:
    """Whole, and in pieces as one look-up reads it."""
    rows = refused_or(lambda: parse_index(data, "x"))
    if rows is not None and all(len(row.sha256) == 32 for row in rows):
        assert parse_index(index_bytes(rows), "x") == rows
    size = refused_or(lambda: footer_size(data, "x"))
    if size is None:
        return
    footer = data[-size:]
    for group in refused_or(lambda: parse_footer(footer, len(data), "x")) or ():
        assert group is not None
    refused_or(lambda: parse_group(footer, len(data), 0, 0, data, "x"))
    refused_or(lambda: parse_group(footer, len(data), 0, 4, data[4:], "x"))
