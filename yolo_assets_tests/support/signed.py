"""Signed objects for tests: forged, read without trust, or as version 0.1 signed them. No test lives here."""

from __future__ import annotations

import base64
from typing import Any

import orjson

from yolo_assets.contracts.base import canonical_json
from yolo_assets.contracts.dsse import PayloadKind
from yolo_assets.contracts.signing import Signer, unverified_content


def sealed(signer: Signer, document: dict[str, Any], kind: PayloadKind) -> bytes:
    """A document in an envelope, as its object holds it."""
    return signer.seal(canonical_json(document), kind).to_json()


def content(data: bytes) -> dict[str, Any]:
    """What a signed object holds, whoever signed it."""
    return orjson.loads(unverified_content(data.rstrip(b"\n"), "it").payload)


def with_content(data: bytes, document: dict[str, Any]) -> bytes:
    """Another content in the same envelope, under its old signature: what can be done without a key."""
    payload = base64.b64encode(canonical_json(document)).decode()
    return canonical_json(orjson.loads(data) | {"payload": payload})


def signed_by_0_1(signer: Signer, document: dict[str, Any]) -> dict[str, Any]:
    """A document with its signature inside, as version 0.1 wrote it."""
    body = {key: value for key, value in document.items() if key != "signature"}
    value = base64.b64encode(signer.private.sign(canonical_json(body))).decode()
    return {**body, "signature": {"algorithm": "ed25519", "key_id": signer.key_id, "value": value}}
