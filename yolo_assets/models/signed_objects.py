"""Objects of a store whose signatures are checked: beside them, or around them as one DSSE envelope.

Manifests and pointers are read by agents, and those of version 0.1 know no envelopes: such an object stays plain JSON,
with DSSE envelopes in ``<key>.dsse`` and signatures as of before in ``<key>.sig``. Both are sets and changed by
compare-and-swap only. Does not belong here: which objects are signed, and by whom (``registry``, ``channels``,
``promotion``).
"""

from __future__ import annotations

import time
from collections.abc import Callable

from yolo_assets.contracts.dsse import EnvelopeSet, PayloadKind
from yolo_assets.contracts.errors import BadInputError, SignatureError
from yolo_assets.contracts.names import envelope_key, signature_key
from yolo_assets.contracts.old_signatures import SignatureSet
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.models.bundle import sha256_of
from yolo_assets.runtime.backoff import Backoff
from yolo_assets.storage.base import CasConflictError, ObjectNotFoundError, ObjectStore

_ATTEMPTS = 100
_FIRST_PAUSE, _LONGEST_PAUSE = 0.005, 0.2


class SignedObjects:
    """A store, and the keys whose signatures count in it."""

    def __init__(self, store: ObjectStore, trusted: TrustedKeys) -> None:
        self.store = store
        self.trusted = trusted

    def verify(self, key: str, data: bytes, kind: PayloadKind) -> None:
        """Check that a good signature of ``data`` by a trusted key lies beside ``key``.

        Raises:
            SignatureError: there is none.
        """
        envelopes = self._beside(envelope_key(key))
        if envelopes is not None:
            try:
                self.trusted.verify_detached(data, kind, key, envelopes=envelopes, signatures=None)
                return
            except SignatureError:
                pass  # perhaps promoted since by a machine of version 0.1
        signatures = self._beside(signature_key(key))
        if envelopes is None and signatures is None:
            raise SignatureError(f"{key} is not signed; only promotion signs, with: yolo-assets models promote")
        self.trusted.verify_detached(data, kind, key, envelopes=envelopes, signatures=signatures)

    def sign(self, key: str, data: bytes, kind: PayloadKind, signer: Signer, *, keep: bytes | None = None) -> None:
        """Add signatures of ``data`` beside ``key``. The object itself does not change. Idempotent.

        A set drops its oldest signatures. Without ``keep``, promotions that die between signing and moving would in
        the end push out the signature of the pointer that is being served.

        Args:
            key: key of the object that is, or soon will be, ``data``.
            data: the bytes to sign.
            kind: what they are.
            signer: holds the private key.
            keep: bytes whose signatures must survive: what readers see under ``key`` now.

        Raises:
            CasConflictError: other processes changed a set at each of a hundred attempts.
        """
        envelope = signer.seal(data, kind)
        detached = signer.sign_detached(data)
        kept_sha256 = sha256_of(keep) if keep is not None else None

        def with_envelope(present: bytes | None) -> bytes | None:
            envelopes = EnvelopeSet.parse(present or b"")
            if envelope in envelopes.envelopes:
                return None
            for kept in envelopes.of_payload(keep) if keep is not None else []:
                envelopes = envelopes.with_envelope(kept)  # moves it to the young end
            return envelopes.with_envelope(envelope).to_bytes()

        def with_signature(present: bytes | None) -> bytes | None:
            signatures = _signature_set(present, key)
            if detached in signatures.signatures:
                return None
            changed = signatures
            for signature in signatures.signatures:
                if signature.sha256 == kept_sha256:
                    changed = changed.with_signature(signature)  # moves it to the young end
            return changed.with_signature(detached).to_json()

        self._change(envelope_key(key), with_envelope)
        self._change(signature_key(key), with_signature)

    def document(self, key: str, kind: PayloadKind) -> bytes:
        """The JSON document that a signed object holds, its signature verified.

        Args:
            key: of the object.
            kind: what it must hold.

        Raises:
            ObjectNotFoundError: there is none.
            BadInputError: not a JSON object.
            SignatureError: not signed by a trusted key.
        """
        return self.trusted.open_document(self.store.get(key), kind, key).payload

    def _beside(self, key: str) -> bytes | None:
        try:
            return self.store.get(key)
        except ObjectNotFoundError:
            return None

    def _change(self, key: str, change: Callable[[bytes | None], bytes | None]) -> None:
        """Replace an object by compare-and-swap, again after losing a race; ``change`` gives None for "as it is"."""
        backoff = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE, jitter=1.0)
        for _ in range(_ATTEMPTS):
            present: bytes | None = None
            etag: str | None = None
            try:
                present, info = self.store.get_with_info(key)
                etag = info.etag
            except ObjectNotFoundError:
                pass
            changed = change(present)
            if changed is None:
                return
            try:
                self.store.compare_and_swap(key, changed, etag)
                return
            except CasConflictError:
                time.sleep(backoff.failed())
        raise CasConflictError(f"{key} keeps being changed by other processes; try again")


def _signature_set(data: bytes | None, key: str) -> SignatureSet:
    """The set of a ``.sig``. One that cannot be parsed proves nothing: it is replaced."""
    try:
        return SignatureSet.from_json(data, signature_key(key)) if data is not None else SignatureSet()
    except BadInputError:
        return SignatureSet()
