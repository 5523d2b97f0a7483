"""What is stored signed: envelopes, the older forms, and the records in them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from yolo_assets.contracts.audit import AuditClaim, AuditRecord
from yolo_assets.contracts.base import Record
from yolo_assets.contracts.device_audit import AuditHead, AuditLine
from yolo_assets.contracts.dsse import EnvelopeSet
from yolo_assets.contracts.fleet import Heartbeat
from yolo_assets.contracts.model import ChannelPointer
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.signing import Signer, TrustedKeys, is_signed, unverified_content
from yolo_assets.models.bundle import parse_manifest
from yolo_assets_tests.fuzz.law import refused_or
from yolo_assets_tests.fuzz.odd_json import mutate as mutate

KINDS: tuple[type[Record], ...] = (
    *(Receipt, ChannelPointer, Heartbeat),
    *(AuditClaim, AuditRecord, AuditLine, AuditHead),
)


@cache
def _signer() -> Signer:
    return Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))), "0123456789abcdef")


@cache
def _trusted() -> TrustedKeys:
    return TrustedKeys.of(_signer())


def _receipt() -> Receipt:
    moment = datetime(2024, 10, 15, 14, tzinfo=UTC)
    return Receipt(
        archive_key="archives/camera=c/date=2024-10-15/yolo_c_20241015_14.tar.gz",
        camera_id="c",
        hour="20241015_14",
        part=1,
        start_time=moment,
        end_time=moment,
        file_count=1,
        frame_count=1,
        total_size=1,
        archive_size=1,
        md5_checksum="0" * 32,
        sha256="0" * 64,
        index_key="index/date=2024-10-15/yolo_c_20241015_14.index.parquet",
        index_sha256="0" * 64,
        verified_at=moment,
        verified_how="full",
        etag="x",
        writer_version="1",
    )


def seeds() -> Iterator[bytes]:
    """A receipt, in an envelope and bare, with and without a signature that is one."""
    payload = _receipt().payload()
    yield payload
    yield _signer().seal(payload, "receipt").to_json()
    yield _signer().seal(payload, "receipt").to_json() + b"\n" + _signer().seal(b"{}", "channel-pointer").to_json()
    yield payload[:-1] + b',"signature":{"key_id":"0123456789abcdef","value":"AAAA"}}'
    yield b'{"name":"line","version":"1","manifest_sha256":"' + b"0" * 64 + b'","release":1}'


def check(data: bytes) -> None:
    """Nothing is believed that was not signed; what was signed comes back byte for byte."""
    signer, trusted = _signer(), _trusted()
    refused_or(lambda: is_signed(data, "x"))
    content = refused_or(lambda: unverified_content(data, "x"))
    if content is not None:
        refused_or(lambda: content.record(Receipt, "x"))
    opened = refused_or(lambda: trusted.open_document(data, "receipt", "x"))
    if opened is not None:
        assert refused_or(lambda: opened.record(Receipt, "x")) in (None, opened.record(Receipt, "x"))
        assert opened.payload == _receipt().payload(), "nobody signed that"
    held = EnvelopeSet.parse(data)
    assert EnvelopeSet.parse(held.to_bytes()) == held
    refused_or(lambda: trusted.verify_detached(b"x", "receipt", "x", envelopes=data, signatures=data))
    refused_or(lambda: parse_manifest(data, "x"))
    for kind in KINDS:
        record = refused_or(lambda kind=kind: kind.from_json(data, "x"))
        if record is not None:
            assert kind.from_json(record.to_json()).to_json() == record.to_json()
    sealed = signer.seal(data, "receipt")
    assert trusted.open(sealed, "receipt", "x").payload == data
