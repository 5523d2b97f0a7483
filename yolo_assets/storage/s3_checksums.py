"""CRC-32 as S3 carries it: the form of the header, and what may be asked of one multipart upload.

A store takes these checksums when the client's ``request_checksum_calculation`` is ``when_supported``; who decides that
is ``s3_client``. What a store makes of an upload's checksums it says in the answer to Create and to ListParts; nothing
is assumed: Ceph 16.2 ignores them, ministack 1.5 knows no full-object CRC of a multipart object.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Literal

from isal import isal_zlib

UploadChecksum = Literal["none", "composite", "full"]
"""What an upload keeps: nothing; a CRC a part, joined into one that no reader can compute; or the object's own."""


def crc_text(value: int) -> str:
    """As in records and in ``ObjectInfo``: eight hexadecimal digits."""
    return f"{value:08x}"


def crc_header(value: int) -> str:
    """As in ``x-amz-checksum-crc32``: base64 of four bytes, the highest first."""
    return base64.b64encode(value.to_bytes(4, "big")).decode()


def header_of(data: bytes | memoryview) -> str:
    """The header of some bytes."""
    return crc_header(isal_zlib.crc32(data))


def text_of(header: str | None) -> str | None:
    """``crc_text`` of a header; None without one, and for a composite, whose value ends in ``-<parts>``."""
    try:
        raw = base64.b64decode(header or "", validate=True)
    except binascii.Error:
        return None
    return raw.hex() if len(raw) == 4 else None


def header_from(text: str) -> str:
    """The header of a ``crc_text``."""
    return crc_header(int(text, 16))


def full_object_crc(answer: Mapping[str, Any]) -> str | None:
    """The CRC-32 of the whole object, where a HEAD, GET or PUT answers with one."""
    return text_of(answer.get("ChecksumCRC32")) if answer.get("ChecksumType") == "FULL_OBJECT" else None


def upload_checksum(answer: Mapping[str, Any]) -> UploadChecksum:
    """What the answer to Create or to ListParts says about the upload's checksums."""
    if answer.get("ChecksumAlgorithm") == "CRC32":
        return "full" if answer.get("ChecksumType") == "FULL_OBJECT" else "composite"
    # ministack's list names no algorithm, but each part's value.
    return "composite" if any("ChecksumCRC32" in part for part in answer.get("Parts", ())) else "none"
