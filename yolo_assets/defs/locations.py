"""The one resource of the graph: where spool, archive, store and keys are, and the open stores behind them.

I/O goes through here and not through I/O managers: what an asset writes is a contract of its own (keys, commit points),
not a pickle of its return value. S3 clients are ``storage``'s own: dagster-aws' ``S3Resource`` offers no way to set one
attempt, checksums and addressing, without which the relatives of S3 refuse writes and a dead line is noticed late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from yolo_assets.contracts.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from yolo_assets.archive.options import ArchiveOptions
    from yolo_assets.archive.service.traffic import Traffic
    from yolo_assets.contracts.signing import Signer, TrustedKeys
    from yolo_assets.storage import ObjectStore


class Locations(dg.ConfigurableResource):
    """Roots and keys of this installation; see ``contracts.settings`` for the environment variables."""

    home: str
    spool: str
    archive_url: str
    store_url: str
    model_name: str
    hot_hours: float
    grace_seconds: float
    class_names: list[str]
    training_recipe: str | None = None
    gate_policy: str | None = None
    retention_days: int = 0
    retention_mode: str = "compliance"
    bandwidth: str = ""
    disk_full_hours: float = 6.0
    runtime: str | None = None

    @classmethod
    def from_env(cls) -> Locations:
        """From ``YOLO_ASSETS_*``."""
        return cls(**Settings.from_env().model_dump(mode="json"))

    @property
    def settings(self) -> Settings:
        """As the rest of the project knows them."""
        return Settings(**{name: getattr(self, name) for name in Settings.model_fields})

    def archive(self, traffic: Traffic | None = None) -> ObjectStore:
        """The archive root, open; what is written to it keeps the pace of ``traffic`` and is counted."""
        return self._open(self.archive_url, traffic.pace if traffic is not None else None)

    def _open(self, url: str, pace: Callable[[int], None] | None = None) -> ObjectStore:
        from yolo_assets.storage.known import open_known_store

        return open_known_store(url, self.settings.known_stores, pace=pace)

    def traffic(self, say: Callable[[str], None]) -> Traffic:
        """The operator's limit and this machine's counters. What changes meanwhile is told to ``say``."""
        from yolo_assets.archive.service.traffic import Traffic

        return Traffic(self.settings, say)

    def store(self) -> ObjectStore:
        """The store root, open."""
        return self._open(self.store_url)

    def archiver(self) -> Signer:
        """Signs receipts; the pair is made at first use."""
        from yolo_assets.contracts.signing import Signer

        return Signer.load_or_create(self.settings.archiver_key)

    def promoter(self) -> Signer:
        """Signs releases; only promotion asks for it."""
        from yolo_assets.contracts.signing import Signer

        return Signer.load_or_create(self.settings.promotion_key)

    def trusted_archivers(self) -> TrustedKeys:
        """Keys whose receipts count: this machine's, and those of the boxes that archive by themselves."""
        from yolo_assets.contracts.signing import TrustedKeys

        self.archiver()  # its pair is made at first use
        return TrustedKeys.load(self.settings.archiver_public_keys())

    def archive_options(self) -> ArchiveOptions:
        """How hours are archived here."""
        from yolo_assets.archive.options import ArchiveOptions

        return ArchiveOptions.of(self.settings)

    def archiver_names(self) -> dict[str, str]:
        """What the boxes are called, by the id of their key: the name of the file that holds its public half."""
        from yolo_assets.contracts.signing import TrustedKeys

        own = self.archiver().key_id
        files = {
            key: path.stem for path in self.settings.archiver_public_keys() for key in TrustedKeys.load([path]).keys
        }
        return {**files, own: "this machine"}
