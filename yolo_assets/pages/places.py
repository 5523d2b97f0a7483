"""Where the pages are read from: stores, spool and keys of an installation, opened to read alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from yolo_assets.archive.archive import Archive
from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.models.registry import Registry
from yolo_assets.pages.links import Root
from yolo_assets.storage import ObjectStore, open_store
from yolo_assets.storage.fallback import open_with_copy
from yolo_assets.storage.retrying import RetryBounds
from yolo_assets.transparency.held import trusted_archive


@dataclass(frozen=True)
class Places:
    """What the pages show. Keys are read when they are needed: a device's may be added while the pages are served.

    Attributes:
        settings: of the installation.
        store: the store root.
        archive_root: the archive root.
    """

    settings: Settings
    store: ObjectStore
    archive_root: ObjectStore

    @classmethod
    def of(cls, settings: Settings) -> Places:
        """Those of an installation. A folder that is not there yet is neither made nor remembered."""
        # Tried for a moment only: a person waits for the page.
        bounds, memory = RetryBounds(tries=2, deadline=2), settings.known_stores

        def opened(url: str) -> ObjectStore:
            return open_store(url, create=False, lazy=True, memory=memory, remember=False, retries=bounds)

        copy = settings.archive_copy_url
        archive = (
            opened(settings.archive_url)
            if copy is None
            else open_with_copy(settings.archive_url, copy, memory=memory, retries=bounds)
        )
        return cls(settings, opened(settings.store_url), archive)

    @property
    def spool(self) -> Path:
        """Where frames lie until they are reclaimed; it need not exist."""
        return self.settings.spool

    @property
    def archive(self) -> Archive:
        """The archive root, and who may have signed its receipts."""
        return trusted_archive(self.archive_root, self.settings.archiver_public_keys(), self.settings)

    @property
    def registry(self) -> Registry:
        """The models; what the promotion key did not sign is shown as untrusted."""
        keys = self.settings.promotion_public_keys()
        return Registry(self.store, TrustedKeys.load(keys) if keys else TrustedKeys.of())

    def root(self, name: Root) -> ObjectStore:
        """One of the two roots."""
        return self.store if name == "store" else self.archive_root
