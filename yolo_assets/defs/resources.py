"""The one resource of the graph: the settings of this installation, and the stores and keys they name, opened.

I/O goes through here and not through I/O managers: what an asset writes is a contract of its own (keys, commit points),
not a pickle of its return value. S3 clients are ``storage``'s own: dagster-aws' ``S3Resource`` offers no way to set one
attempt, checksums and addressing, without which many S3-compatible servers refuse writes and a dead connection is
noticed late.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from yolo_assets.contracts.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from yolo_assets.archive.archive import Archive
    from yolo_assets.archive.options import ArchiveOptions
    from yolo_assets.archive.service.traffic import Traffic
    from yolo_assets.contracts.device_keys import EnrolledDevices
    from yolo_assets.contracts.signing import Signer, TrustedKeys
    from yolo_assets.defs.links import UiLinks
    from yolo_assets.models.promotion import Promoter
    from yolo_assets.models.registry import Registry
    from yolo_assets.storage import ObjectStore

OURS = "this machine"
"""The name of the archiver here, where archivers are named."""


class Locations(dg.ConfigurableResource):
    """Stores and keys of this installation; see ``contracts.settings`` for the environment variables."""

    values: dict[str, Any] = Field(description="the settings, as contracts.settings resolved them")

    @classmethod
    def from_env(cls) -> Locations:
        """From ``YOLO_ASSETS_*``."""
        return cls(values=Settings.from_env().model_dump(mode="json", exclude_none=True))

    @cached_property
    def settings(self) -> Settings:
        """As the rest of the project knows them."""
        return Settings.model_validate(self.values)

    def archive(self, traffic: Traffic | None = None) -> Archive:
        """The archive root and the keys that may sign its receipts: this machine's, and those of remote archivers.

        Args:
            traffic: writes keep its bandwidth limit and are counted there.
        """
        from yolo_assets.transparency.held import trusted_archive

        self.archiver()  # its pair is made at first use
        store = self._open(self.settings.archive_url, traffic.pace if traffic is not None else None)
        return trusted_archive(store, self.settings.archiver_public_keys(), self.settings)

    def archive_to_read(self, log: Callable[[str], None]) -> Archive:
        """As ``archive``, for assets that read old frames: from the copy where need be, which ``log`` is told."""
        from yolo_assets.archive.archive import Archive
        from yolo_assets.storage.fallback import open_with_copy

        settings, archive = self.settings, self.archive()
        if settings.archive_copy_url is None:
            return archive
        store = open_with_copy(settings.archive_url, settings.archive_copy_url, memory=settings.known_stores, say=log)
        return Archive(store, archive.trusted)

    def _open(self, url: str, pace: Callable[[int], None] | None = None) -> ObjectStore:
        from yolo_assets.storage import open_store

        return open_store(url, memory=self.settings.known_stores, pace=pace)

    def traffic(self, log: Callable[[str], None]) -> Traffic:
        """The operator's bandwidth limit and this machine's upload counters. Changes of the limit go to ``log``."""
        from yolo_assets.archive.service.traffic import Traffic

        return Traffic(self.settings, log)

    def links(self) -> UiLinks:
        """What metadata links to."""
        from yolo_assets.defs.links import UiLinks

        return UiLinks(self.settings)

    def store(self) -> ObjectStore:
        """The store root, open."""
        return self._open(self.settings.store_url)

    def archiver(self) -> Signer:
        """Signs receipts; the key pair is made at first use."""
        from yolo_assets.contracts.signing import Signer

        return Signer.load_or_create(self.settings.archiver_key)

    def promoter(self) -> Signer:
        """Signs releases; only promotion uses it."""
        from yolo_assets.contracts.signing import Signer

        return Signer.load_or_create(self.settings.promotion_key)

    def plant_promoter(self) -> Promoter:
        """The registry with the promotion key, and what plant.yaml says of people and of how long a pointer holds.

        Raises:
            BadInputError: plant.yaml is wrong.
        """
        from yolo_assets.contracts.plant import load_plant
        from yolo_assets.models.promotion import Promoter

        plant = load_plant(self.settings)
        return Promoter.of_plant(self.registry(), self.promoter(), plant.people, plant.rollout)

    def registry(self) -> Registry:
        """The models of the store root; what the promotion key signed counts, or one before it in its time."""
        from yolo_assets.models.registry import Registry

        return Registry(self.store(), self._promotion_keys())

    def devices(self) -> EnrolledDevices:
        """The devices whose keys promotion enrolled."""
        from yolo_assets.custody.enrolment import enrolled_devices

        return enrolled_devices(self.store(), self._promotion_keys())

    def _promotion_keys(self) -> TrustedKeys:
        from yolo_assets.contracts.signing import TrustedKeys

        self.promoter()  # its pair is made at first use
        return TrustedKeys.load(self.settings.promotion_public_keys())

    def archive_options(self) -> ArchiveOptions:
        """How hours are archived here."""
        from yolo_assets.archive.options import ArchiveOptions

        return ArchiveOptions.of(self.settings)

    def archiver_names(self) -> dict[str, str]:
        """A name for each archiver by the id of its key: the name of the file that holds its public key."""
        from yolo_assets.contracts.signing import TrustedKeys

        own = self.archiver().key_id
        names = {
            key: path.stem for path in self.settings.archiver_public_keys() for key in TrustedKeys.load([path]).keys
        }
        return {**names, own: OURS}
