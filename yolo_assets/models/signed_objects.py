"""Objects of a store whose signatures are checked: detached in ``<key>.sig``, or embedded in a JSON document.

``<key>.sig`` holds a ``SignatureSet`` and is changed by compare-and-swap only. Does not belong here: which objects are
signed, and by whom (``registry``, ``channels``, ``promotion``).
"""

from __future__ import annotations

import time

import orjson

from yolo_assets.contracts.base import canonical_json, is_json_object
from yolo_assets.contracts.errors import BadInputError, SignatureError
from yolo_assets.contracts.names import signature_key
from yolo_assets.contracts.signing import SignatureSet, Signer, TrustedKeys
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

    def verify(self, key: str, data: bytes) -> None:
        """Check that ``<key>.sig`` holds a good signature of ``data`` by a trusted key.

        Raises:
            SignatureError: there is none, or ``<key>.sig`` cannot be parsed.
        """
        try:
            signatures = SignatureSet.from_json(self.store.get(signature_key(key)), signature_key(key))
        except ObjectNotFoundError:
            raise SignatureError(
                f"{key} is not signed; only promotion signs, with: yolo-assets models promote"
            ) from None
        except BadInputError as error:
            raise SignatureError(str(error)) from None
        self.trusted.verify_detached(data, signatures, key)

    def sign(self, key: str, data: bytes, signer: Signer, *, keep: bytes | None = None) -> None:
        """Add a signature of ``data`` to ``<key>.sig``. The object itself does not change. Idempotent.

        A set drops its oldest signatures. Without ``keep``, promotions that die between signing and moving would in
        the end push out the signature of the pointer that is being served.

        Args:
            key: key of the object that is, or soon will be, ``data``.
            data: the bytes to sign.
            signer: holds the private key.
            keep: bytes whose signatures must survive: what readers see under ``key`` now.

        Raises:
            CasConflictError: other processes changed the set at each of a hundred attempts.
        """
        added = signer.sign_detached(data)
        kept_sha256 = sha256_of(keep) if keep is not None else None
        backoff = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE, jitter=1.0)
        for _ in range(_ATTEMPTS):
            present, etag = self._signatures(key)
            if added in present.signatures:
                return
            changed = present
            for signature in present.signatures:
                if signature.sha256 == kept_sha256:
                    changed = changed.with_signature(signature)  # moves it to the young end
            try:
                self.store.compare_and_swap(signature_key(key), changed.with_signature(added).to_json(), etag)
                return
            except CasConflictError:
                time.sleep(backoff.failed())
        raise CasConflictError(f"{signature_key(key)} keeps being changed by other processes; try again")

    def document(self, key: str, kind: str) -> bytes:
        """A JSON document whose embedded signature verifies, as canonical JSON without that signature.

        Args:
            key: of the document.
            kind: what the errors call it.

        Raises:
            ObjectNotFoundError: there is none.
            BadInputError: not a JSON object.
            SignatureError: not signed by a trusted key.
        """
        try:
            document = orjson.loads(self.store.get(key))
        except orjson.JSONDecodeError:
            raise BadInputError(f"{key} is not JSON") from None
        if not is_json_object(document):
            raise BadInputError(f"{key} is not a {kind}")
        self.trusted.verify_document(document, key)
        del document["signature"]
        return canonical_json(document)

    def _signatures(self, key: str) -> tuple[SignatureSet, str | None]:
        """The set with its etag. One that cannot be parsed proves nothing: it is replaced."""
        try:
            data, info = self.store.get_with_info(signature_key(key))
        except ObjectNotFoundError:
            return SignatureSet(), None
        try:
            return SignatureSet.from_json(data, signature_key(key)), info.etag
        except BadInputError:
            return SignatureSet(), info.etag
