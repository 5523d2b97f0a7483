"""Detached signatures beside objects: ``<key>.sig`` holds a ``SignatureSet``, changed by compare-and-swap only."""

from __future__ import annotations

import random
import time

from yolo_assets.contracts.errors import BadInputError, SignatureError
from yolo_assets.contracts.names import signature_key
from yolo_assets.contracts.signing import SignatureSet, Signer, TrustedKeys
from yolo_assets.models.bundle import sha256_of
from yolo_assets.storage.base import CasConflictError, ObjectNotFoundError, ObjectStore

_ATTEMPTS = 100


def sign_object(store: ObjectStore, key: str, data: bytes, signer: Signer, *, keep: bytes | None = None) -> None:
    """Add a signature of ``data`` to ``<key>.sig``; the object itself is not touched. Doing it again changes nothing.

    A set forgets its oldest signatures. Without ``keep``, promotions that die between signing and moving would in
    the end push out the signature of the pointer that is being served.

    Args:
        store: where the object lies.
        key: key of the object that is, or soon will be, ``data``.
        data: the bytes to sign.
        signer: who signs.
        keep: bytes whose signatures must survive: what readers see under ``key`` now.

    Raises:
        CasConflictError: others kept changing the set, a hundred times over.
    """
    added = signer.sign_detached(data)
    kept_sha256 = sha256_of(keep) if keep is not None else None
    for attempt in range(_ATTEMPTS):
        present, etag = _read(store, key)
        if added in present.signatures:
            return
        wanted = present
        for signature in present.signatures:
            if signature.sha256 == kept_sha256:
                wanted = wanted.with_signature(signature)  # moves it to the young end
        try:
            store.compare_and_swap(signature_key(key), wanted.with_signature(added).to_json(), etag)
            return
        except CasConflictError:
            time.sleep(random.uniform(0, min(0.2, 0.005 * (attempt + 1))))
    raise CasConflictError(f"{signature_key(key)} is being changed by others all the time; try again")


def verify_object(store: ObjectStore, key: str, data: bytes, trusted: TrustedKeys) -> None:
    """Check that ``<key>.sig`` holds a good signature of ``data`` by a trusted key.

    Raises:
        SignatureError: there is none, or ``<key>.sig`` is not readable as signatures.
    """
    try:
        signatures = SignatureSet.from_json(store.get(signature_key(key)), signature_key(key))
    except ObjectNotFoundError:
        raise SignatureError(f"{key} is not signed; only promotion signs, with: yolo-assets models promote") from None
    except BadInputError as error:
        raise SignatureError(str(error)) from None
    trusted.verify_detached(data, signatures, key)


def _read(store: ObjectStore, key: str) -> tuple[SignatureSet, str | None]:
    """The set as it is, with its etag. One that cannot be parsed vouches for nothing: it is replaced, not obeyed."""
    try:
        data, info = store.get_with_info(signature_key(key))
    except ObjectNotFoundError:
        return SignatureSet(), None
    try:
        return SignatureSet.from_json(data, signature_key(key)), info.etag
    except BadInputError:
        return SignatureSet(), info.etag
