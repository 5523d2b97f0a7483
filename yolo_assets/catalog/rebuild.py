"""The catalog out of nothing but the receipts: what makes losing it harmless."""

from __future__ import annotations

from yolo_assets.catalog.publish import CatalogVersion, publish
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.storage.base import ObjectStore


def rebuild(store: ObjectStore, archive: ObjectStore, *, trusted: TrustedKeys) -> CatalogVersion:
    """Read and verify every receipt, write a new catalog and publish it, whatever is published now.

    Cost: one request per receipt, several at a time; the tables of the store are only listed.

    Args:
        store: store root.
        archive: archive root; read only.
        trusted: public keys of the archivers.
    """
    return publish(store, archive, trusted=trusted, from_receipts=True)
