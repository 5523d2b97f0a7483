"""The catalog out of nothing but the receipts: what makes losing it harmless."""

from __future__ import annotations

from pathlib import Path

from yolo_assets.catalog.look import Report
from yolo_assets.catalog.publish import CatalogVersion, publish
from yolo_assets.catalog.receipts import READERS
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.storage.base import ObjectStore


def rebuild(
    store: ObjectStore,
    archive: ObjectStore,
    *,
    trusted: TrustedKeys,
    cache: Path | None = None,
    readers: int = READERS,
    report: Report = lambda done, total: None,
) -> CatalogVersion:
    """Read and verify every receipt, write a new catalog and publish it, whatever is published now.

    Cost: one request per receipt, ``readers`` at a time; the tables of the store are only listed.

    Args:
        store: store root.
        archive: archive root; read only.
        trusted: public keys of the archivers.
        cache: see ``publish``.
        readers: receipts read at one time.
        report: told of each batch of receipts read.
    """
    return publish(store, archive, trusted=trusted, from_receipts=True, cache=cache, readers=readers, report=report)
